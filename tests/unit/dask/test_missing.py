"""What a lost worker had: when it is looked for, and what is proof enough to send it again."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import TYPE_CHECKING, Any, cast

import attrs
import pytest

from refold_async import ExecutionOutcomeUnknownError, RetryPolicy, ServerError
from refold_async._protocol import execute_request
from refold_async._starting import Found, Reconciler, Sightings
from refold_async._transport import Finding
from refold_async.dask.missing import Missing
from refold_async.dask.orders import Desk, Order
from tests.support.clock import FakeClock

if TYPE_CHECKING:
    from refold_async._starting import Submission

READ, SETTLE, OVER_AT = 30.0, 1.0, 1_015.0
"""Seconds; the lease is over 15 seconds after the test has begun."""
ABSENT, FOUND = Found(Finding.ABSENT), Found(Finding.FOUND, "run_1")
UNPROVEN, AMBIGUOUS = Found(Finding.UNPROVEN), Found(Finding.AMBIGUOUS)


@attrs.define
class Lists:
    """A list of runs that says what the test wants, and when it was asked."""

    clock: FakeClock
    found: list[Found | Exception]
    caught_up: bool = False
    looks: list[float] = attrs.field(factory=list)
    witnesses: list[Collection[str]] = attrs.field(factory=list)

    async def look_for(
        self, tags: Collection[str], *, witnesses: Collection[str], **_: Any
    ) -> Sightings:
        """Say the next thing; the last is said again."""
        said = self.found[min(len(self.looks), len(self.found) - 1)]
        self.looks.append(self.clock.now)
        self.witnesses.append(witnesses)
        if isinstance(said, Exception):
            raise said
        return Sightings(dict.fromkeys(tags, said), caught_up=self.caught_up)


@attrs.define
class Base:
    """A start as a client prepares it."""

    request: Any
    policy: RetryPolicy

    def started_elsewhere(self, started: Any) -> Any:
        """Give the handle, or what the test wants of it."""
        return started


def order(desk: Desk, mode: Any = "safe", *, label: bool = False) -> Order:
    """Give a start that was sent out in chunk 1, and is awaited."""
    tag = {"instance_tag": "nightly"} if label else {"own_tag": "rfa-" + "1" * 32}
    request = execute_request("wf_1", slug="s", account="acct_1", max_payload_bytes=99, **tag)  # type: ignore[arg-type]
    made = Order(
        cast("Submission", Base(request, RetryPolicy(mode=mode, settle=SETTLE))), None, desk
    )
    made.since, made.flight = 5.0, 1
    return made


async def cleared_up(
    lists: Lists, mode: Any = "safe", *, label: bool = False, witness_at: float | None = None
) -> tuple[Desk, Order, asyncio.Task[Any]]:
    """Let a worker be lost, and wait until all is done about it."""
    clock = lists.clock
    desk = Desk(clock, lambda _: None, lambda: None, lambda _: None)
    lost = order(desk, mode, label=label)
    waiting = asyncio.create_task(lost.handle())
    await asyncio.sleep(0)
    assert desk.take(9) == [lost]
    missing = Missing(cast("Reconciler", lists), clock, READ)
    if witness_at is not None:
        missing.started(order(desk), "run_9", witness_at)

    def left() -> list[Order]:
        return [lost] if lost.flight == 1 and not lost.done else []

    clearing = asyncio.create_task(missing.clear_up(left, OVER_AT))
    await clock.advance(120)
    await clearing
    await asyncio.sleep(0)
    if not waiting.done():
        waiting.cancel()
    await asyncio.wait([waiting])
    return desk, lost, waiting


async def test_nothing_is_looked_for_before_its_worker_can_do_nothing_more(
    clock: FakeClock,
) -> None:
    """The lease, then what had left by then, then the time in which a run shows."""
    lists = Lists(clock, [FOUND])
    _, lost, waiting = await cleared_up(lists)
    assert lists.looks == [OVER_AT + READ + SETTLE]
    assert (lost.execution_id, waiting.result().execution_id) == ("run_1", "run_1")


@pytest.mark.parametrize(
    ("mode", "flagged"), [pytest.param("safe", False), pytest.param("transient", True)]
)
async def test_what_is_proven_absent_waits_for_a_worker_again(
    clock: FakeClock, mode: str, flagged: bool
) -> None:
    """A run that was sent out after the loss shows: so would this one."""
    lists = Lists(clock, [ABSENT], caught_up=True)
    desk, lost, _ = await cleared_up(lists, mode, witness_at=OVER_AT + 1)
    assert (len(lists.looks), lists.witnesses) == (1, [{"run_9"}])
    assert (len(desk), lost.flight, lost._duplicate) == (1, None, flagged)


async def test_a_list_that_does_not_show_what_was_sent_since_proves_nothing(
    clock: FakeClock,
) -> None:
    """It lags, in all three looks: nobody knows."""
    lists = Lists(clock, [ABSENT], caught_up=False)
    desk, _, waiting = await cleared_up(lists, witness_at=OVER_AT + 1)
    assert (len(lists.looks), len(desk)) == (3, 0)
    assert isinstance(waiting.exception(), ExecutionOutcomeUnknownError)


async def test_a_run_from_before_the_loss_is_no_witness(clock: FakeClock) -> None:
    """Where nothing was started since, the time until the last look has to do."""
    lists = Lists(clock, [ABSENT])
    desk, _, _ = await cleared_up(lists, witness_at=OVER_AT - 1)
    assert (len(lists.looks), lists.witnesses[0], len(desk)) == (3, set(), 1)


@pytest.mark.parametrize(
    ("found", "looks"),
    [
        pytest.param([UNPROVEN], 3, id="lists show no tags, or too little"),
        pytest.param([AMBIGUOUS], 1, id="two runs carry its tag"),
        pytest.param([ServerError("down", status=503)], 3, id="the list can't be read"),
    ],
)
async def test_what_is_not_proven_is_unknown(
    clock: FakeClock, found: list[Found | Exception], looks: int
) -> None:
    """It is never sent again on a guess."""
    lists = Lists(clock, found)
    desk, _, waiting = await cleared_up(lists)
    assert (len(lists.looks), len(desk)) == (looks, 0)
    assert isinstance(waiting.exception(), ExecutionOutcomeUnknownError)


@pytest.mark.parametrize(("mode", "label"), [("never", False), ("safe", True)])
async def test_labels_and_the_mode_never_are_not_looked_for(
    clock: FakeClock, mode: str, label: bool
) -> None:
    """As after a crash: they are unknown."""
    lists = Lists(clock, [FOUND])
    _, _, waiting = await cleared_up(lists, mode, label=label)
    assert lists.looks == []
    assert isinstance(waiting.exception(), ExecutionOutcomeUnknownError)
