"""One worker of a batch, as the batch sees it: its lease, and the chunks it has."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any, Protocol

import attrs

from refold_async._clock import done_within
from refold_async._errors import ConfigError, clip
from refold_async._logs import Log
from refold_async.dask.messages import Beat, Refused
from refold_async.dask.orders import Order
from refold_async.dask.working import beat, join, leave

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from refold_async._clock import Clock
    from refold_async.dask.messages import Invitation, Mark, Outcome, Pulse

logger = Log("dask")

BEATS = 5
"""Beats within a lease: some of them may be late or lost."""
_JOINING = 30.0
"""Seconds for which an invitation waits: the worker may have to import all of the SDK for it."""
_LEAVING = 3.0
"""Seconds for which the end of a batch waits for a worker."""
_AT_ONCE = 2
"""Chunks that a worker has at one time: while one ends, the next is there already."""


@attrs.define(eq=False)
class Flight:
    """A chunk that was sent out.

    Attributes:
        number: by which it is known.
        orders: its starts, by tag.
        sent_at: monotonic seconds.
        lost: done when its worker may start nothing of it any more, with the second since when.
        known: done when all is known of it.
    """

    number: int
    orders: dict[str, Order]
    lost: asyncio.Future[float]
    known: asyncio.Future[None]
    sent_at: float = math.inf

    def left(self) -> list[Order]:
        """Give those whose fate is not known."""
        return [o for o in self.orders.values() if o.flight == self.number and not o.done]

    def lose(self, since: float) -> None:
        """Say that its worker may start nothing of it any more."""
        if not self.lost.done():
            self.lost.set_result(since)


class Crew(Protocol):
    """What a member needs of the batch."""

    invitation: Invitation
    clock: Clock
    news: asyncio.Event

    def part_of(self, member: Member) -> float | None:
        """Give the part of the rate limit that is a member's; None if it is not divided."""

    def deliver(self, outcome: Outcome) -> None:
        """Take what became of a start."""


class Member:
    """A worker process: one that takes its place, at the same address, is another.

    Attributes:
        address: where it is.
        flights: the chunks it has, by number.
        over_at: the monotonic second at which any lease it may have is over.
        part: of the rate limit that it may take for its own, at most.
        gone: whether the scheduler does not know it any more.
        requests: it has made, by operation.
        refused: why it can't take part, if so.
    """

    def __init__(self, cluster: Any, address: str, crew: Crew) -> None:
        self.address = address
        self.flights: dict[int, Flight] = {}
        self.over_at = -math.inf
        self.part = 0.0
        self.gone = False
        self.requests: Mapping[str, int] = {}
        self.refused: str | None = None
        self.seat: str | None = None
        self.epoch = 0
        self.off: set[str] = set()
        self._cluster = cluster
        self._crew = crew
        self._clock = crew.clock
        self._lease = crew.invitation.lease
        self._mark: Mark | None = None
        self._mark_at = -math.inf
        self._leased = False
        self._heard = 0
        self._void: set[int] = set()
        self._hurry: asyncio.Future[None] | None = None

    @property
    def is_leased(self) -> bool:
        """Whether it has a lease for some time yet."""
        sure = self.over_at - self._clock.monotonic() > self._lease / 2
        return self._leased and sure and not self.gone

    @property
    def is_free(self) -> bool:
        """Whether it can take a chunk."""
        return self.is_leased and len(self.flights) < _AT_ONCE

    async def live(self) -> None:
        """Invite the worker, and beat for as long as the scheduler knows it or it has chunks."""
        while self.refused is None:
            self._hurry = asyncio.get_running_loop().create_future()
            heard = False
            try:
                heard = await (self.join() if self.seat is None else self.beat())
            except Exception as error:  # noqa: BLE001 - whatever Dask raises, the worker does not answer
                logger.info("worker %s does not answer: %s", self.address, clip(repr(error), 200))
            self._check_lease()
            if self.gone and not self.flights:
                return
            soon = heard and not self._leased and self.seat is not None
            if not soon:
                await done_within(self._clock, self._hurry, self._lease / BEATS)

    def hurry(self) -> None:
        """Have it told something soon."""
        if self._hurry is not None and not self._hurry.done():
            self._hurry.set_result(None)

    def void(self, flight: Flight) -> None:
        """Have nothing more of a chunk started, of which Dask brings no result any more."""
        self._void.add(flight.number)
        self.hurry()

    def _check_lease(self) -> None:
        if self._clock.monotonic() >= self.over_at:
            self._leased = False
            self._lose()

    def _lose(self) -> None:
        if self.flights:
            logger.warning(
                "worker %s is lost: what became of its %d chunks is looked up once it can't start"
                " anything more",
                self.address,
                len(self.flights),
            )
        for flight in self.flights.values():
            flight.lose(self.over_at)

    # -- what is said ------------------------------------------------------------------------

    async def join(self) -> bool:
        """Invite the worker; it may refuse."""
        answer = await self._call(_JOINING, join, self._crew.invitation)
        if isinstance(answer, Refused):
            self.refused = answer.why
            logger.warning("worker %s does not take part: %s", self.address, answer.why)
            return True
        self.seat, self._heard, self._void, self.off = answer.seat, 0, set(), set()
        self._mark, self._mark_at = None, -math.inf
        self._take(answer)
        return True

    async def beat(self) -> bool:
        """Renew the lease, and hear what happened; tell whether the worker knows of us."""
        void, off = frozenset(self._void), frozenset(self.off)
        part = self._crew.part_of(self)
        if self._mark is not None:  # it may have it from now on, whether or not it answers
            self.over_at = max(self.over_at, self._mark_at + self._lease)
        self.part = max(self.part, part or 0.0)
        assert self.seat is not None  # noqa: S101 - it has joined
        told = Beat(
            seat=self.seat, mark=self._mark, heard=self._heard, part=part, off=off, void=void
        )
        pulse = await self._call(self._lease / BEATS, beat, self._crew.invitation.batch, told)
        if pulse.seat is None:  # it has forgotten us, and can start nothing
            self._leased, self.seat = False, None
            self._lose()
            return False
        self.part = part or 0.0
        self._take(pulse)
        self.off -= off
        self._void -= void
        for number in void:  # what it had allowed by then may leave while its lease lasts
            if number in self.flights:
                self.flights[number].lose(self.over_at)
        return True

    async def leave(self) -> None:
        """Say that the batch is over."""
        try:
            pulse = await self._call(_LEAVING, leave, self._crew.invitation.batch)
        except Exception as error:  # noqa: BLE001 - it finds out by itself
            logger.info("worker %s was not told of the end: %r", self.address, error)
            return
        if pulse.seat is not None:
            self._take(pulse)

    def _take(self, pulse: Pulse) -> None:
        self._mark, self._mark_at = pulse.mark, self._clock.monotonic()
        self._leased, self.epoch, self.requests = pulse.leased, pulse.epoch, pulse.requests
        for number, outcome in pulse.outcomes:
            if number > self._heard:
                self._heard = number
                self._crew.deliver(outcome)
        self._crew.news.set()

    async def _call(self, patience: float, function: Callable[..., Any], *arguments: Any) -> Any:
        """Have a function run on the worker's event loop; a worker that hangs is not waited for."""
        asking = self._cluster.run(function, *arguments, workers=[self.address])
        return (await answer(self._clock, asking, patience))[self.address]


async def answer(clock: Clock, asking: Awaitable[Any], patience: float) -> Any:
    """Wait so many seconds for what Dask is asked; raises whatever it raises, or `OSError`."""
    asked = asyncio.ensure_future(asking)
    try:
        if not await done_within(clock, asked, patience):
            raise TimeoutError(f"no answer within {patience:g} s")
    finally:
        asked.cancel()
        await asyncio.wait([asked])
    if asked.cancelled():  # not by us: it must not look as if who asks were cancelled
        raise ConnectionError("Dask has given it up")
    return asked.result()


def refused(members: list[Member]) -> ConfigError | None:
    """Say which workers differ from the batch; None if none does."""
    why = [f"worker {m.address}: {m.refused}" for m in members if m.refused is not None]
    if not why:
        return None
    more = f", and {len(why) - 3} more" if len(why) > 3 else ""  # noqa: PLR2004
    return ConfigError(
        f"does not give the same in all processes: {'; '.join(why[:3])}{more}. Set the same"
        " environment and install the same release everywhere; nothing was sent",
        field="connect",
    )
