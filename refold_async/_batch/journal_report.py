"""What a journal tells of its batch: how many, what runs, and why items failed."""

import json
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from heapq import heappush, heappushpop
from typing import Any

import attrs

from refold_async._batch.journal_rows import Row
from refold_async._batch.reading import read

_SLOWEST = 5
_RUNNING = 1_000
"""Items under way that a report names."""

_STARTING, _RUNS = "starting", "running"


@attrs.frozen(kw_only=True)
class JournalItem:
    """One item of a batch, as its journal knows it.

    Attributes:
        key: the request's `key`, or its index as text.
        index: its place in the input, from 0.
        state: `starting` (its start was written down, and no answer yet: where no batch is at it
            any more, it may have run), `running`, or how it ended, as a `BatchOutcome`.
        workflow_id: what it runs.
        linked_account_id: for whom.
        instance_tag: the tag its run carries.
        execution_id: its run, where one is known.
        began_at: when its start was written down, by the clock of the machine that did.
        seconds: from then to its end; of an item without an end, until now.
        error: why it did not succeed: the class of the error.
        message: its words.
        node: the node its run failed at, where the service told.
    """

    key: str
    index: int
    state: str
    workflow_id: str
    linked_account_id: str | None
    instance_tag: str | None
    execution_id: str | None
    began_at: datetime
    seconds: float
    error: str | None = None
    message: str | None = None
    node: str | None = None

    def document(self) -> dict[str, Any]:
        """Give it as a JSON object."""
        document = attrs.asdict(self)
        document["began_at"] = self.began_at.isoformat()
        document["seconds"] = round(self.seconds, 3)
        return document


@attrs.frozen(kw_only=True)
class JournalFailures:
    """Items that did not succeed for the same reason.

    Attributes:
        outcome: how they ended, as a `BatchOutcome`.
        error: the name of the error's class.
        node: the node their runs failed at, where the service told.
        count: how many there are.
        example: one of them.
    """

    outcome: str
    error: str
    node: str | None
    count: int
    example: JournalItem


@attrs.frozen(kw_only=True)
class JournalReport:
    """What a journal knows of its batch. Items that have not begun are not in it.

    Attributes:
        path: the file.
        in_use: whether a batch is at it just now.
        is_exact: whether all of it is of one moment; a batch that writes all the time may leave
            none to read it in, and then counts can be off by what was written meanwhile.
        created_at: when the journal was made.
        base_url: the service it speaks of.
        linked_account_id: the account of the client that made it.
        keeps_payloads: whether it keeps what items ask for, if they did not succeed.
        workflow_ids: what its items run.
        counts: items by `JournalItem.state`.
        slowest: the items that took longest to end; five at most, slowest first.
        failures: why items did not succeed, the largest group first.
        running: items that are starting or running, the oldest first; a thousand at most.
    """

    path: str
    in_use: bool
    is_exact: bool
    created_at: datetime | None
    base_url: str | None
    linked_account_id: str | None
    keeps_payloads: bool
    workflow_ids: frozenset[str]
    counts: Mapping[str, int]
    slowest: tuple[JournalItem, ...]
    failures: tuple[JournalFailures, ...]
    running: tuple[JournalItem, ...]

    @property
    def total(self) -> int:
        """Items that have begun, in whatever way."""
        return sum(self.counts.values())


def read_journal(path: str | os.PathLike[str]) -> JournalReport:
    """Say how a batch with a journal stands, from the journal alone: no request, no input.

    It reads all of the file, some 100,000 items a second, and blocks meanwhile: in a service, call
    it by `asyncio.to_thread`. Nothing is changed, and a batch that has the journal open goes on.

    Raises:
        ConfigError: the path is none.
        JournalError: there is no journal, it can't be read, or a batch of this very process has it
            open: that one's `progress` tells.
    """
    facts, summary = read(path, _Summary)
    created = facts.meta.get("created_at")
    return JournalReport(
        path=facts.path,
        in_use=facts.in_use,
        is_exact=facts.is_exact,
        created_at=None if created is None else datetime.fromtimestamp(float(created), UTC),
        base_url=facts.meta.get("base_url"),
        linked_account_id=facts.meta.get("linked_account_id"),
        keeps_payloads=summary.keeps_payloads,
        workflow_ids=frozenset(summary.workflow_ids),
        counts=summary.counts,
        slowest=tuple(item for *_, item in sorted(summary.slowest, reverse=True)),
        failures=tuple(summary.groups()),
        running=tuple(item for *_, item in sorted(summary.oldest, reverse=True)),
    )


@attrs.define(eq=False)
class _Summary:
    """What a report says, gathered row by row in a memory that does not grow with them."""

    keeps_payloads: bool = True
    workflow_ids: set[str] = attrs.field(factory=set)
    counts: Counter[str] = attrs.field(factory=Counter)
    slowest: list[tuple[float, int, JournalItem]] = attrs.field(factory=list)
    oldest: list[tuple[float, int, JournalItem]] = attrs.field(factory=list)
    _reasons: dict[tuple[str, str, str | None], tuple[int, JournalItem]] = attrs.field(factory=dict)
    _now: float = attrs.field(factory=time.time)

    def take(self, row: Row) -> None:
        item = _item(row, self._now)
        self.counts[item.state] += 1
        self.workflow_ids.add(item.workflow_id)
        if row.outcome != "succeeded":
            self.keeps_payloads = self.keeps_payloads and row.request is not None
        if row.state != "settled":
            _keep(self.oldest, (-row.intended_at, -item.index, item), _RUNNING)
        elif item.execution_id is not None:
            _keep(self.slowest, (item.seconds, -item.index, item), _SLOWEST)
        if item.error is not None:
            reason = (item.state, item.error, item.node)
            count, example = self._reasons.get(reason, (0, item))
            first = min(example, item, key=lambda each: each.index)
            self._reasons[reason] = count + 1, first

    def groups(self) -> Iterator[JournalFailures]:
        """Give the reasons of failures, the most frequent first."""
        by_count = sorted(self._reasons.items(), key=lambda reason: -reason[1][0])
        for (outcome, error, node), (count, example) in by_count:
            yield JournalFailures(
                outcome=outcome, error=error, node=node, count=count, example=example
            )


def _keep(
    heap: list[tuple[float, int, JournalItem]], one: tuple[float, int, JournalItem], most: int
) -> None:
    """Keep the largest ones; the place in the input makes each differ from all others."""
    if len(heap) < most:
        heappush(heap, one)
    else:
        heappushpop(heap, one)


def _item(row: Row, now: float) -> JournalItem:
    state = {"intended": _STARTING, "started": _RUNS}.get(row.state) or row.outcome or row.state
    error = json.loads(row.error) if row.error is not None else {}
    node = error.get("node") or {}
    until = row.settled_at if row.state == "settled" else None
    return JournalItem(
        key=row.key.removeprefix("#"),
        index=row.position,
        state=state,
        workflow_id=row.workflow_id,
        linked_account_id=row.account,
        instance_tag=row.tag,
        execution_id=row.execution_id,
        began_at=datetime.fromtimestamp(row.intended_at, UTC),
        seconds=max((now if until is None else until) - row.intended_at, 0.0),
        error=error.get("type"),
        message=error.get("message"),
        node=node.get("name") or node.get("node_id"),
    )
