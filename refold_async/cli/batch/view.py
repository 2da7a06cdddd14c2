"""How a batch looks: while it goes on, and what it came to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
from rich.console import Group
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from refold_async import BatchOutcome, BatchProgress, BatchReport, BudgetStats
from refold_async.cli._terminal import clean, clipped, duration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console, RenderableType

COLOURS: dict[str, str] = {
    BatchOutcome.SUCCEEDED: "green",
    BatchOutcome.FAILED: "red",
    BatchOutcome.UNKNOWN: "magenta",
    BatchOutcome.REJECTED: "red",
    BatchOutcome.UNSENT: "yellow",
}
_GROUPS = 10
"""Groups of failures that are shown."""
_NARROW = 60


@attrs.frozen(kw_only=True)
class Standing:
    """How far a batch is.

    Attributes:
        name: what the input is called.
        total: how many items it has.
        progress: the batch's own figures.
        budget: what paces it.
        seconds: since it began.
        stopping: whether nothing more is sent.
        wait: whether the runs are waited for.
    """

    name: str
    total: int
    progress: BatchProgress
    budget: BudgetStats
    seconds: float
    stopping: bool = False
    wait: bool = True

    @property
    def eta(self) -> float | None:
        """Seconds that are left, or None if nothing tells yet.

        The rest has to begin, and the last to begin has to end: ends follow starts after the time
        that runs take just now. How fast items *end* says little before the first have ended. And
        each start and each result is a request, for which the budget has to have room.
        """
        now = self.progress
        to_start = 0 if self.stopping else max(self.total - now.done - now.running, 0)
        if not now.done or (to_start and not now.start_rate):
            return None
        if not to_start:
            left = max(now.lag - now.since_start, 0.0) if now.running else 0.0
        else:
            left = to_start / now.start_rate + now.lag
        requests = to_start + (to_start + now.running if self.wait else 0)
        return max(left, requests / self.budget.rate) if self.budget.rate else left

    @property
    def percentage(self) -> float:
        """How much of it is done."""
        return 100 * self.progress.done / max(self.total, 1)

    def counts(self) -> list[tuple[BatchOutcome, int]]:
        """Give the outcomes there are so far; success and failure always."""
        always = {BatchOutcome.SUCCEEDED, BatchOutcome.FAILED}
        counted = [(outcome, getattr(self.progress, outcome)) for outcome in BatchOutcome]
        return [(outcome, count) for outcome, count in counted if count or outcome in always]

    def pace(self) -> str:
        """Say what the budget does."""
        budget = self.budget
        if budget.rate is None:
            words = "no limit on requests/s"
        elif budget.ceiling is None or budget.rate >= budget.ceiling:
            words = f"{budget.rate:.3g} requests/s"
        else:
            words = f"{budget.rate:.3g} of {budget.ceiling:.3g} requests/s"
        if budget.refused:
            words += f", {budget.refused:,} refused"
        if budget.stopped_for > 0:
            words += f", stopped by Retry-After for {duration(budget.stopped_for)}"
        return words

    def document(self) -> dict[str, Any]:
        """Give it as a JSON object."""
        return {
            "progress": {
                "total": self.total,
                **attrs.asdict(self.progress),
                "seconds": self.seconds,
                "eta": self.eta,
                "requests_per_second": self.budget.rate,
                "refused": self.budget.refused,
                "stopped_for": self.budget.stopped_for,
                "stopping": self.stopping,
            }
        }

    def line(self) -> str:
        """Say it in one line."""
        counts = ", ".join(f"{count:,} {outcome}" for outcome, count in self.counts())
        parts = [
            f"{self.progress.done:,} of {self.total:,} done ({self.percentage:.0f} %): {counts}",
            f"{self.progress.running:,} running",
            f"{self.progress.rate:.1f} items/s",
        ]
        if self.eta is not None:
            parts.append(f"about {duration(self.eta)} left")
        return "; ".join([*parts, self.pace()])


def standing_view(now: Standing, console: Console) -> RenderableType:
    """Draw how far a batch is, in four lines."""
    progress = now.progress
    head = Table.grid(padding=(0, 2), expand=True)
    head.add_column(no_wrap=True, max_width=console.width // 4, overflow="ellipsis")
    head.add_column(ratio=1)
    head.add_column(no_wrap=True, justify="right")
    bar = ProgressBar(total=max(now.total, 1), completed=progress.done)
    figures = f"{progress.done:,} of {now.total:,}  {now.percentage:3.0f} %"
    head.add_row(Text(clean(now.name), "bold"), bar, Text(figures))
    counts = Text(" ")
    for outcome, count in now.counts():
        counts.append(f" {count:,} {outcome} ", COLOURS[outcome] if count else "dim")
    counts.append(f"  {progress.running:,} running", "cyan")
    pace = f"  {progress.rate:.1f} items/s, {duration(now.seconds)}"
    if now.eta is not None and progress.done < now.total:
        pace += f", about {duration(now.eta)} left"
    words = "  stopping: nothing more is sent" if now.stopping else f"  {now.pace()}"
    lines = [counts, Text(pace), Text(words, "yellow" if _is_slowed(now) else "dim")]
    for line in lines:
        line.no_wrap, line.overflow = True, "ellipsis"
    return Group(head, *lines)


def _is_slowed(now: Standing) -> bool:
    budget = now.budget
    slowed = budget.rate is not None and budget.ceiling is not None and budget.rate < budget.ceiling
    return slowed or budget.stopped_for > 0 or now.stopping


def report_view(report: BatchReport, console: Console) -> RenderableType:
    """Draw what a batch came to."""
    rate = f", {report.total / report.duration:.1f} items/s" if report.duration > 0 else ""
    made = sum(report.requests.values())
    head = f"{_items(report.total)} in {duration(report.duration)}{rate}, {made:,} requests"
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1))
    table.add_column(justify="right", min_width=7)
    table.add_column()
    for outcome in BatchOutcome:
        count = getattr(report, outcome)
        table.add_row(
            Text(f"{count:,}", f"bold {COLOURS[outcome]}" if count else "dim"),
            Text(outcome, "" if count else "dim"),
        )
    parts: list[RenderableType] = [Text(head, "bold"), table]
    if report.resumed:
        parts.append(Text(f"{_items(report.resumed)} had been started by an earlier process"))
    if report.failures:
        reasons = [
            Reason(g.outcome, g.error, g.node, g.count, str(g.example.error), g.example.key)
            for g in report.failures
        ]
        parts += [Text(""), failures_table(reasons, console)]
    slow = [f"{clipped(item.key, 40)} {duration(item.seconds or 0)}" for item in report.slowest]
    if slow:
        parts += [Text(""), Text(f"slowest: {', '.join(slow)}", "dim")]
    return Group(*parts)


@attrs.frozen
class Reason:
    """Why some items did not succeed: as `FailureGroup` and `JournalFailures` have it."""

    outcome: str
    error: str
    node: str | None
    count: int
    message: str
    key: str


def failures_table(reasons: Sequence[Reason], console: Console) -> Table:
    """Draw why items did not succeed."""
    narrow = console.width < _NARROW
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 1))
    table.add_column("", justify="right", min_width=7)
    table.add_column("Outcome", no_wrap=True)
    table.add_column("Why", ratio=1, overflow="fold")
    if not narrow:
        table.add_column("First item", max_width=24, overflow="fold")
    for each in reasons[:_GROUPS]:
        why = Text(each.error)
        if each.node:
            why.append(f" at node '{clipped(each.node, 80)}'")
        why.append(f"\n{clipped(each.message, 300)}", "dim")
        row = [Text(f"{each.count:,}"), Text(each.outcome, COLOURS[each.outcome]), why]
        table.add_row(*(row if narrow else [*row, Text(clipped(each.key, 80))]))
    if len(reasons) > _GROUPS:
        table.add_row("", "", Text(f"and {len(reasons) - _GROUPS:,} other kinds", "dim"))
    return table


def _items(count: int) -> str:
    return "1 item" if count == 1 else f"{count:,} items"
