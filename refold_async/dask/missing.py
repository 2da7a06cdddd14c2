"""A chunk whose worker is gone: which of its starts became runs?

Nothing is sent again before it is certain that the worker can't: its lease has run out, what had
left by then is answered or dropped (`Timeouts.read`), and its run shows (`settle`). Then the list
of runs is asked for the tags, as after a crash: see `docs/explanation/batches.md`.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from refold_async._clock import sleep
from refold_async._errors import RefoldError
from refold_async._logs import Log
from refold_async._transport import Finding

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from refold_async._clock import Clock
    from refold_async._starting import Found, Reconciler
    from refold_async.dask.orders import Order

logger = Log("dask")

LOOKS = 3
"""Looks, each after a longer pause, until the list has caught up or there are no more."""


class _Witness(NamedTuple):
    """A run that was sent out at a known moment: a list that does not show it lags."""

    sent_at: float
    execution_id: str
    account: str | None
    workflow_id: str | None


class Missing:
    """Clears up what became of starts whose worker says nothing more.

    Args:
        reconciler: reads the lists of runs.
        clock: the batch's clock.
        read: seconds after which a request that has left is over.
    """

    def __init__(self, reconciler: Reconciler, clock: Clock, read: float) -> None:
        self._reconciler = reconciler
        self._clock = clock
        self._read = read
        self._witnesses: deque[_Witness] = deque(maxlen=1_000)

    def started(self, order: Order, execution_id: str, sent_at: float) -> None:
        """Note a run that is known, and when the chunk was sent out that it came in."""
        request = order.request
        self._witnesses.append(
            _Witness(sent_at, execution_id, request.account, request.workflow_id)
        )

    async def clear_up(self, left: Callable[[], list[Order]], over_at: float) -> None:
        """Find the runs, and send again what provably has none; of the others nobody knows.

        Args:
            left: gives the orders whose fate is not known yet; a worker that wakes may still tell.
            over_at: the monotonic second at which their worker's lease was over.
        """
        for order in left():
            if order.policy.mode == "never" or not order.request.unique_tag:
                order.unknown(RefoldError("its worker is gone"), None)
        settle = max((order.policy.settle for order in left()), default=0.0)
        await self._sleep_until(over_at + self._read + settle)
        findings: dict[str, Finding] = {}
        for number in range(LOOKS):
            orders = left()
            if not orders:
                return
            for group in _readings(orders):
                findings |= await self._look(group, over_at, is_last=number == LOOKS - 1)
            if left() and number < LOOKS - 1:
                await sleep(self._clock, settle * 2 ** (number + 1))
        for order in left():
            finding = findings.get(order.tag)
            order.unknown(RefoldError("its worker is gone"), finding)

    async def _sleep_until(self, second: float) -> None:
        wait = second - self._clock.monotonic()
        if wait > 0:
            await sleep(self._clock, wait)

    async def _look(
        self, orders: list[Order], over_at: float, *, is_last: bool
    ) -> dict[str, Finding]:
        """Look once for orders that one reading can tell of; say what it came to for each."""
        request = orders[0].request
        workflow_ids = {order.request.workflow_id or "" for order in orders}
        witnesses = {
            each.execution_id
            for each in self._witnesses
            if each.sent_at > over_at
            and each.account == request.account
            and (len(workflow_ids) > 1 or each.workflow_id in workflow_ids)
        }
        is_dated = orders[0].since is not None
        try:
            sightings = await self._reconciler.look_for(
                [order.tag for order in orders],
                account=request.account,
                workflow_ids=workflow_ids,
                intended_at=min(order.intended_at for order in orders),
                service_time=min(order.since or 0.0 for order in orders) if is_dated else None,
                witnesses=witnesses,
            )
        except RefoldError as error:
            logger.info("the list of runs could not be read: %s", error.describe())
            return {}
        # Where nothing was started since, the time that has passed by the last look has to do.
        caught_up = sightings.caught_up if witnesses else is_last
        for order in orders:
            _judge(order, sightings.found[order.tag], caught_up=caught_up)
        return {tag: found.finding for tag, found in sightings.found.items()}


def _judge(order: Order, found: Found, *, caught_up: bool) -> None:
    if order.done:  # its worker woke up meanwhile, and told
        return
    if found.execution_id is not None:
        order.adopt(found.execution_id)
    elif found.finding is Finding.AMBIGUOUS:
        order.unknown(RefoldError("its worker is gone"), found.finding)
    elif found.finding is Finding.ABSENT and caught_up:
        order.again(absent=True)


def _readings(orders: Iterable[Order]) -> list[list[Order]]:
    """Group orders that one reading can tell of: an account's, with the service's time or not."""
    groups: dict[tuple[str | None, bool], list[Order]] = {}
    for order in orders:
        key = order.request.account, order.since is not None
        groups.setdefault(key, []).append(order)
    return [*groups.values()]
