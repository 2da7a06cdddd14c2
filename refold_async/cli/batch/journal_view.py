"""How a journal looks: what its batch has come to, and what runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table
from rich.text import Text

from refold_async import BatchOutcome, JournalItem, JournalReport
from refold_async.cli._terminal import clean, clipped, duration
from refold_async.cli._views import local
from refold_async.cli.batch.view import COLOURS, Reason, failures_table

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

_SHOWN = 20
"""Items under way that are shown, the oldest."""
_NARROW = 60
_STATES = ("starting", "running", *BatchOutcome)


def journal_view(report: JournalReport, console: Console) -> RenderableType:
    """Draw what a journal tells."""
    standing = "a batch is at it" if report.in_use else "no batch is at it"
    head = Text(f"{report.total:,} items have begun; {standing}", "bold")
    facts = [] if report.created_at is None else [f"since {local(report.created_at)}"]
    facts += [clean(fact) for fact in (report.base_url, report.linked_account_id) if fact]
    if not report.is_exact:
        facts.append("read while it was written: figures may be off by some")
    parts: list[RenderableType] = [head, Text(", ".join(facts), "dim"), _counts(report)]
    if report.failures:
        reasons = [
            Reason(g.outcome, g.error, g.node, g.count, g.example.message or "", g.example.key)
            for g in report.failures
        ]
        parts += [Text(""), failures_table(reasons, console)]
    if report.running:
        parts += [Text(""), _running(report, console)]
    if report.slowest:
        slow = [f"{clipped(item.key, 40)} {duration(item.seconds)}" for item in report.slowest]
        parts += [Text(""), Text(f"slowest: {', '.join(slow)}", "dim")]
    return Group(*parts)


def _counts(report: JournalReport) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1))
    table.add_column(justify="right", min_width=7)
    table.add_column()
    for state in _STATES:
        count = report.counts.get(state, 0)
        words = "may have begun" if state == "starting" and not report.in_use else state
        table.add_row(
            Text(f"{count:,}", f"bold {COLOURS.get(state, 'cyan')}" if count else "dim"),
            Text(words, "" if count else "dim"),
        )
    return table


def _running(report: JournalReport, console: Console) -> Table:
    narrow = console.width < _NARROW
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 1))
    table.add_column("Runs now", max_width=30, overflow="fold")
    table.add_column("Execution", no_wrap=True, overflow="fold", min_width=24)
    table.add_column("For", justify="right", no_wrap=True)
    if not narrow:
        table.add_column("Account", max_width=24, overflow="fold")
    for item in report.running[:_SHOWN]:
        row = [
            Text(clipped(item.key, 80)),
            Text(clean(item.execution_id or "(not known)")),
            Text(duration(item.seconds)),
        ]
        table.add_row(*(row if narrow else [*row, Text(clipped(_account(item), 60))]))
    left = len(report.running) - _SHOWN
    if left > 0:
        table.add_row(Text(f"and {left:,} more", "dim"))
    return table


def _account(item: JournalItem) -> str:
    return item.linked_account_id or ""
