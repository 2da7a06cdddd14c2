"""What a batch came to: counts, what failed and why, and the items themselves."""

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TextIO

import attrs

from refold_async._batch.models import BatchItem, BatchOutcome
from refold_async._checks import plain
from refold_async._errors import ConfigError, RefoldError, clip
from refold_async._models import Out_co, OutputError

_SLOWEST = 5
"""Items that `slowest` names."""
_SHOWN = 10
"""Groups of failures that a summary shows."""


@attrs.frozen(kw_only=True)
class FailureGroup:
    """Items that did not succeed for the same reason.

    Attributes:
        outcome: how they ended.
        error: the name of the error's class.
        node: the node their runs failed at, where the service told.
        count: how many there are.
        example: the first of them.
    """

    outcome: BatchOutcome
    error: str
    node: str | None
    count: int
    example: BatchItem

    def __str__(self) -> str:
        where = f" at node {self.node!r}" if self.node else ""
        why = f", e.g. {self.example.key}: {clip(self.example.error, 200)}"
        return f"{self.count:,} {self.outcome}: {self.error}{where}{why}"


@attrs.define(eq=False)
class Summary:
    """What a report says of its items, gathered one by one."""

    counts: Counter[BatchOutcome] = attrs.field(factory=Counter)
    resumed: int = 0
    slowest: list[BatchItem] = attrs.field(factory=list)
    reasons: dict[tuple[BatchOutcome, str, str | None], tuple[int, BatchItem]] = attrs.field(
        factory=dict
    )

    def take(self, item: BatchItem) -> None:
        """Count an item."""
        self.counts[item.outcome] += 1
        self.resumed += item.resumed
        is_slow = len(self.slowest) < _SLOWEST or _time(item) > _time(self.slowest[-1])
        if item.handle is not None and not item.resumed and is_slow:
            self.slowest = sorted([*self.slowest, item], key=lambda each: -_time(each))
            del self.slowest[_SLOWEST:]
        if item.error is not None:
            reason = (item.outcome, type(item.error).__name__, item.failed_node)
            count, first = self.reasons.get(reason, (0, item))
            self.reasons[reason] = count + 1, min(first, item, key=lambda each: each.index)


def _time(item: BatchItem) -> float:
    return item.seconds or 0.0


@attrs.define(frozen=True, kw_only=True, slots=False, repr=False, eq=False)
class BatchReport(Generic[Out_co]):
    """What a batch came to; `print(report)` shows it as a table.

    Attributes:
        all_items: every item, in input order; none if the results went to a file (`out`).
        out: the file the results went to, if they did.
        duration: seconds the batch took.
        requests: requests the client made meanwhile, by operation; other calls of the same client
            are counted too.
        input_error: what the input raised, if it did; the items before it are in the report.
        input_ended: whether the input was read to its end. Not if it raised, nor if the batch was
            stopped, unless it is a list or a tuple: what was not read is not in the report.
        journal_error: why the journal could not be written any more, if so.
        out_error: why the file of results could not be written any more, if so.
        stopped: why nothing more was sent from some point on, if so.
    """

    all_items: Sequence[BatchItem[Out_co]]
    duration: float = 0.0
    requests: Mapping[str, int] = attrs.field(factory=dict)
    input_error: Exception | None = None
    input_ended: bool = True
    journal_error: Exception | None = None
    stopped: str | None = None
    out: str | None = None
    out_error: OSError | None = None
    _gathered: Summary | None = None

    @cached_property
    def _summary(self) -> Summary:
        if self._gathered is not None:
            return self._gathered
        summary = Summary()
        for item in self.all_items:
            summary.take(item)
        return summary

    @property
    def _counts(self) -> Counter[BatchOutcome]:
        return self._summary.counts

    @property
    def total(self) -> int:
        """Items of the input."""
        return self._counts.total()

    @property
    def succeeded(self) -> int:
        """Items that succeeded (`BatchOutcome` says what that means)."""
        return self._counts[BatchOutcome.SUCCEEDED]

    @property
    def failed(self) -> int:
        """Items whose run failed."""
        return self._counts[BatchOutcome.FAILED]

    @property
    def unknown(self) -> int:
        """Items that may have run."""
        return self._counts[BatchOutcome.UNKNOWN]

    @property
    def rejected(self) -> int:
        """Items that were refused."""
        return self._counts[BatchOutcome.REJECTED]

    @property
    def unsent(self) -> int:
        """Items that never left."""
        return self._counts[BatchOutcome.UNSENT]

    @property
    def resumed(self) -> int:
        """Items whose run was started by an earlier process."""
        return self._summary.resumed

    @property
    def slowest(self) -> tuple[BatchItem[Out_co], ...]:
        """The items whose runs were started now and took longest; five at most, slowest first."""
        return tuple(self._summary.slowest)

    @cached_property
    def failures(self) -> tuple[FailureGroup, ...]:
        """Why items did not succeed, by outcome, error and failing node; the largest group first.

        Those that were never sent are among them, and those that succeeded and whose output does
        not fit its type (`OutputError`) or could not be read.
        """
        found = (
            FailureGroup(outcome=outcome, error=error, node=node, count=count, example=first)
            for (outcome, error, node), (count, first) in self._summary.reasons.items()
        )
        return tuple(sorted(found, key=lambda group: -group.count))

    def items(self, outcome: BatchOutcome | str | None = None) -> list[BatchItem[Out_co]]:
        """Give the items in input order, those of one outcome or all.

        Raises:
            ConfigError: there is no such outcome, or the items went to a file.
        """
        self._check_kept()
        try:
            wanted = None if outcome is None else BatchOutcome(outcome)
        except ValueError:
            known = ", ".join(BatchOutcome)
            raise ConfigError(f"is one of {known}, not {outcome!r:.40}", field="outcome") from None
        return [item for item in self.all_items if wanted in {None, item.outcome}]

    def raise_for_failures(self) -> None:
        """Raise if anything did not succeed.

        Raises:
            ExceptionGroup: the error of each item that has one, with the item's key as a note, what
                the input raised, if it did, and that it was not read to its end. Where the items
                went to a file, one error for each reason.
        """
        failed = [item for item in self.all_items if item.error is not None]
        if self.out is not None:
            failed = [group.example for group in self.failures]
        errors = [_noted(item) for item in failed]
        others: list[Exception] = [
            e for e in (self.input_error, self.journal_error, self.out_error) if e is not None
        ]
        if self.input_error is None and not self.input_ended:
            others.append(RefoldError(f"the input was not read to its end: {self.stopped}"))
        if errors or others:
            groups = self.failures
            ran = [g for g in groups if g.outcome is BatchOutcome.SUCCEEDED]
            without = sum(g.count for g in ran)
            misfits = sum(g.count for g in ran if g.error == OutputError.__name__)
            failed_ones = sum(g.count for g in groups) - without
            words = f"{failed_ones:,} of {self.total:,} items did not succeed"
            if misfits:
                words += f"; the output of {misfits:,} others, which ran, does not fit its type"
            if unread := without - misfits:
                words += f"; the output of {unread:,} others, which ran, could not be read"
            raise ExceptionGroup(words, [*errors, *others])

    def to_jsonl(self, path_or_file: str | os.PathLike[str] | TextIO) -> None:
        """Write one JSON object per item and line, in input order (`BatchItem.document`).

        Args:
            path_or_file: a file that is made or replaced, or a text file that is open.

        Raises:
            OSError: the file can't be written.
            ConfigError: the items went to a file already.
        """
        self._check_kept()
        lines = (json.dumps(item.document()) + "\n" for item in self.all_items)
        if isinstance(path_or_file, str | os.PathLike):
            with Path(plain(os.fspath(path_or_file))).open("w", encoding="utf-8") as file:
                file.writelines(lines)
        else:
            path_or_file.writelines(lines)

    def _check_kept(self) -> None:
        if self.out is not None:
            raise ConfigError(
                f"the items are not kept; they are in {self.out}, one JSON line each", field="out"
            )

    def __str__(self) -> str:
        pace = f", {self.total / self.duration:,.1f} per second" if self.duration > 0 else ""
        lines = [f"{self.total:,} items in {self.duration:,.1f} s{pace}"]
        lines += [f"  {outcome:<10} {self._counts[outcome]:>9,}" for outcome in BatchOutcome]
        if self.resumed:
            lines.append(f"  resumed    {self.resumed:>9,}")
        made = ", ".join(f"{count:,} {name}" for name, count in sorted(self.requests.items()))
        lines.append(f"  requests   {sum(self.requests.values()):>9,}  {made}".rstrip())
        lines += [f"  {group}" for group in self.failures[:_SHOWN]]
        if len(self.failures) > _SHOWN:
            lines.append(f"  and {len(self.failures) - _SHOWN:,} other kinds of failure")
        slow = [f"{item.key} {item.seconds:,.1f} s" for item in self.slowest]
        if slow:
            lines.append("  slowest: " + ", ".join(slow))
        trouble = {
            "input": self.input_error,
            "journal": self.journal_error,
            "out": self.out_error,
        }
        lines += [f"  {what}: {clip(why)}" for what, why in trouble.items() if why is not None]
        if self.stopped:
            rest = "" if self.input_ended else "; the input was not read to its end"
            lines.append(f"  stopped: {self.stopped}{rest}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        counts = " ".join(f"{outcome}={self._counts[outcome]}" for outcome in BatchOutcome)
        return f"<BatchReport {counts}>"


def _noted(item: BatchItem) -> Exception:
    """Give the item's error with its key, once however often it is asked."""
    error: Any = item.error
    note = f"batch item {item.key}"
    if note not in getattr(error, "__notes__", ()):
        error.add_note(note)
    return error  # type: ignore[no-any-return]
