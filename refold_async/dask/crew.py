"""All workers of a batch: who there is, and who gets the next chunk."""

from __future__ import annotations

import asyncio
import os
import pickle
from collections import Counter
from typing import TYPE_CHECKING, Any

from refold_async._checks import positive_seconds
from refold_async._clock import done_within, sleep
from refold_async._errors import ConfigError, NotSentError, RefoldError, clip
from refold_async._logs import Log
from refold_async.dask.connecting import profile_of
from refold_async.dask.members import BEATS, Flight, Member, answer, refused
from refold_async.dask.messages import Head, Invitation, Sealed, Start
from refold_async.dask.missing import Missing
from refold_async.dask.orders import Desk, Order
from refold_async.dask.working import start_chunk

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping

    from refold_async._batch import ExecutionRequest
    from refold_async._client import RefoldClient
    from refold_async.dask.messages import Outcome, Report

logger = Log("dask")

_LINGER = 0.005
"""Seconds for which a chunk that is not full waits for more: they come in swarms."""
_PATIENCE = 5.0
"""Seconds for which the first chunk waits for the service's time."""


class Crew:
    """The workers of one batch.

    Args:
        cluster: a `distributed.Client`.
        connect: the name of the function that makes clients.
        client: the batch's own.
        chunk: starts in a chunk at most.
        lease: seconds.
        reads: the part of the rate limit that the batch needs to wait for runs.
    """

    def __init__(
        self,
        cluster: Any,
        connect: str,
        client: RefoldClient,
        *,
        chunk: int,
        lease: float,
        reads: float,
    ) -> None:
        caller = client._caller  # noqa: SLF001 - as `RefoldClient` itself uses it
        self._parts = caller.parts
        self._submission = caller.submission
        self._cluster = cluster
        self._chunk = chunk
        self.clock = self._parts.services.clock
        batch = os.urandom(8).hex()
        self.invitation = Invitation(
            batch=batch, connect=connect, lease=lease, profile=profile_of(client, batch)
        )
        self.news = asyncio.Event()
        self._desk = Desk(self.clock, self._parts.starter.deadline, self.news.set, self._call_off)
        self.read = self._parts.services.api.timeouts.read
        """Seconds after which a request that has left is over."""
        self._missing = Missing(self._parts.reconciler, self.clock, self.read)
        self._members: dict[tuple[str, str], Member] = {}  # by address and the worker's own id
        self._left: Counter[str] = Counter()  # requests of those that are gone
        self._flights: dict[int, Flight] = {}  # under way, or lost at some time
        self._number = 0
        self._reads = reads
        self._tasks: set[asyncio.Task[None]] = set()
        self._results: set[asyncio.Task[Report | None]] = set()

    # -- what a batch sees -------------------------------------------------------------------

    def prepare(self, wanted: ExecutionRequest) -> Order:
        """Make a start that workers send; raises `ConfigError`."""
        if wanted.sync is True:
            raise ConfigError(
                "workers only start runs; a sync run holds one up until it ends: leave it out, and"
                " the batch waits for the run",
                field="sync",
            )
        limit = positive_seconds(wanted.timeout, "timeout")
        return Order(self._submission(wanted), limit, self._desk)

    def requests_made(self) -> Mapping[str, int]:
        """Give the requests that were made so far, here and by the workers."""
        made = Counter(self._parts.counters.requests) + self._left
        for member in self._members.values():
            made.update(member.requests)
        return made

    async def begin(self) -> int:
        """Invite the workers that are there; give their number.

        Raises:
            ConfigError: there is none, or one of them is not like us; nothing was sent.
        """
        for key in await self._present():
            self._members[key] = Member(self._cluster, key[0], self)
        members = [*self._members.values()]
        joined = await asyncio.gather(*(m.join() for m in members), return_exceptions=True)
        if (error := refused(members)) is not None:
            raise error
        if not members:
            raise ConfigError(
                "it has no workers: start some, and `await client.wait_for_workers(1)`",
                field="cluster",
            )
        if all(isinstance(each, BaseException) for each in joined):
            raise ConfigError(
                f"none of its workers answers ({clip(repr(joined[0]), 200)}); do they have"
                " refold-async, and a connection to the scheduler?",
                field="cluster",
            )
        for member in members:
            self._spawn(self._live(member))
        self._spawn(self._watch())
        self._spawn(self._dispatch())
        return len(members)

    async def aclose(self) -> None:
        """Let the workers go. What may still run is in the journal, if there is one."""
        for task in [*self._tasks]:
            task.cancel()
        if self._tasks:
            await asyncio.wait([*self._tasks])
        await asyncio.gather(*(m.leave() for m in self._members.values() if m.seat is not None))
        self._parts.transport.budget.pace.part = 1.0

    def _spawn(self, doing: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(doing)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("a part of the batch on Dask broke", exc_info=error)

    # -- who there is ------------------------------------------------------------------------

    async def _present(self) -> set[tuple[str, str]]:
        known = await self._cluster.scheduler.identity()
        return {(address, str(worker["id"])) for address, worker in known["workers"].items()}

    async def _live(self, member: Member) -> None:
        await member.live()
        for key, other in [*self._members.items()]:
            if other is member and member.refused is None:
                self._left.update(member.requests)
                del self._members[key]

    async def _watch(self) -> None:
        """Look who comes and goes; end the orders that wait, should the cluster be gone."""
        while True:
            await sleep(self.clock, self.invitation.lease / BEATS)
            if self._cluster.status == "closed":
                self._desk.fail_all(_closed())
                continue
            try:
                present = await answer(self.clock, self._present(), self.invitation.lease)
            except Exception as error:  # noqa: BLE001 - whatever Dask may raise
                logger.info("the scheduler does not answer: %s", clip(repr(error), 200))
                continue
            for key, member in self._members.items():
                member.gone = key not in present
            for key in present - {*self._members}:
                member = self._members[key] = Member(self._cluster, key[0], self)
                self._spawn(self._live(member))

    def part_of(self, member: Member) -> float | None:
        """Divide the rate limit, unless there is none, or Redis divides it."""
        budget = self._parts.transport.budget
        if budget.limit is None or self._parts.sharing.shared is not None:
            return None
        budget.pace.part = self._reads
        others = [each.part for each in self._members.values() if each is not member]
        return divided(1 - self._reads, others)

    # -- who gets what -----------------------------------------------------------------------

    async def _dispatch(self) -> None:
        while True:
            await self.news.wait()
            self.news.clear()
            while len(self._desk) and self._freest() is not None:
                if len(self._desk) < self._chunk:
                    await sleep(self.clock, _LINGER)
                member = self._freest()
                # The first goes alone: it shows what the others have to expect.
                size = self._chunk if self._number else 1
                if member is None:
                    break
                if orders := self._desk.take(size):
                    self._number += 1
                    self._send(member, self._number, orders)

    def _freest(self) -> Member | None:
        free = [member for member in self._members.values() if member.is_free]
        return min(free, key=lambda member: len(member.flights), default=None)

    def _send(self, member: Member, number: int, orders: list[Order]) -> None:
        loop = asyncio.get_running_loop()
        flight = Flight(
            number,
            {order.tag: order for order in orders},
            loop.create_future(),
            loop.create_future(),
        )
        member.flights[number] = self._flights[number] = flight
        self._spawn(self._fly(member, flight))

    async def _fly(self, member: Member, flight: Flight) -> None:
        """See a chunk to its end, and all of its orders to theirs, whatever breaks on the way."""
        try:
            await self._carry(member, flight)
            if flight.lost.done() and flight.left():
                await self._missing.clear_up(flight.left, flight.lost.result())
        except Exception as error:
            broken = f"a part of the batch broke: {clip(repr(error), 200)}"
            for order in flight.orders.values():
                if order.flight == flight.number:
                    order.unknown(RefoldError(broken), None)
                elif order.flight is None:
                    order.fail(NotSentError(f"not sent: {broken}"))
            raise

    async def _carry(self, member: Member, flight: Flight) -> None:
        """Write the intents of a chunk down, send it out, and wait until it is known or lost."""
        try:
            await self._intend([*flight.orders.values()])
            wanted = [order for order in flight.orders.values() if not order.done]
            if not member.is_leased:
                for order in wanted:
                    order.again(absent=False)
                return
            if wanted:
                await self._out(member, flight, wanted)
        finally:
            del member.flights[flight.number]
            if not flight.lost.done():
                del self._flights[flight.number]
            self.news.set()

    async def _intend(self, orders: list[Order]) -> None:
        """Have all intents written at one time: that is one transaction of the journal."""
        await self._meet(orders[0].request.account)
        written = await asyncio.gather(*(o.intend() for o in orders), return_exceptions=True)
        since, now = self._parts.lists.service_now(), self.clock.time()
        for order, error in zip(orders, written, strict=True):
            if isinstance(error, Exception):
                order.fail(error)
            elif order.intended_at == 0.0:
                order.since, order.intended_at = since, now

    async def _meet(self, account: str | None) -> None:
        """Learn the service's time, without which no absence can be proven."""
        if self._parts.lists.service_now() is not None:
            return
        meeting = asyncio.ensure_future(self._parts.lists.meet(account))
        try:
            if await done_within(self.clock, meeting, _PATIENCE):
                meeting.result()
        except RefoldError as error:
            logger.info("the list of runs does not tell the service's time: %s", error)
        finally:
            meeting.cancel()

    async def _out(self, member: Member, flight: Flight, orders: list[Order]) -> None:
        """Send a chunk out, and wait until all is known of it, or it is lost."""
        from distributed.client import ClosedClientError  # noqa: PLC0415 - only with a cluster

        now = flight.sent_at = self.clock.monotonic()
        for order in orders:
            order.flight = flight.number
        starts = [Start(o.request, o.policy, o.left(now)) for o in orders]
        head = Head(
            batch=self.invitation.batch,
            number=flight.number,
            seat=member.seat or "",
            epoch=member.epoch,
        )
        try:
            future = self._cluster.submit(
                start_chunk,
                head,
                Sealed(pickle.dumps(starts)),
                key=f"refold-starts-{self.invitation.batch}-{flight.number}",
                workers=[member.address],
                allow_other_workers=False,
                pure=False,
                retries=0,
            )
        except ClosedClientError:  # which is raised before anything is sent
            for order in orders:
                order.flight = None
                order.fail(_closed())
            return
        # Never cancelled: Dask gathers the results of all chunks in one task, and who cancels his
        # wait for one of them cancels that of all. It ends once the future is released.
        result = asyncio.ensure_future(_result(future))
        self._results.add(result)
        result.add_done_callback(self._results.discard)
        try:
            ends: list[asyncio.Future[Any]] = [result, flight.lost, flight.known]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if result.done():
                if (report := result.result()) is not None:
                    member.requests = report.requests
                    for outcome in report.outcomes:
                        self.deliver(outcome)
                if flight.left():
                    # Dask has lost the result, or the worker: of what was sent the beats tell.
                    member.void(flight)
                    await flight.lost
        finally:
            future.release()

    def deliver(self, outcome: Outcome) -> None:
        """Take what became of a start: from a chunk, or from a beat, whichever is sooner."""
        flight = self._flights.get(outcome.chunk)
        order = None if flight is None else flight.orders.get(outcome.tag)
        if flight is not None and order is not None:  # else it is known
            self._deliver(outcome, flight, order)
            if not flight.left() and not flight.known.done():
                flight.known.set_result(None)

    def _deliver(self, outcome: Outcome, flight: Flight, order: Order) -> None:
        if outcome.execution_id is not None:
            if order.execution_id not in {None, outcome.execution_id}:
                logger.error(
                    "two runs were started for one item (instance_tag=%s): %s and %s. Was a machine"
                    " suspended, or a request held back, for longer than `Timeouts.read`?",
                    *(outcome.tag, order.execution_id, outcome.execution_id),
                )
            if not order.done:
                self._missing.started(order, outcome.execution_id, flight.sent_at)
                order.started(outcome)
        elif order.flight != flight.number or order.done:
            return
        elif outcome.error is not None:
            order.fail(outcome.error)
        else:
            order.again(absent=False)

    def _call_off(self, order: Order) -> None:
        """Tell the worker that has a start that nobody wants it any more."""
        for member in self._members.values():
            if order.flight in member.flights:
                member.off.add(order.tag)
                member.hurry()


def divided(whole: float, others: list[float]) -> float:
    """Give a worker its part: an equal one, once the others have let go of it."""
    return max(min(whole / (len(others) + 1), whole - sum(others)), whole / 1000)


def _closed() -> NotSentError:
    return NotSentError("not sent: the connection to Dask is closed")


async def _result(future: Any) -> Report | None:
    """Wait for a chunk; whatever Dask raises, it brings no result."""
    try:
        return await future.result()  # type: ignore[no-any-return]
    except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - anything; nobody cancels us
        logger.info("a chunk came to %s", clip(repr(error), 200))
        return None
