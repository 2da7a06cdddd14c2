"""What runs on the workers: a seat per batch, that starts what it is sent while it has a lease.

Everything here is imported by its name; Dask sends no code of ours.
"""

from __future__ import annotations

import asyncio
import os
import pickle
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs

from refold_async._clock import sleep
from refold_async._errors import NotSentError, RefoldError
from refold_async._logs import Log
from refold_async._starting import Care
from refold_async._transport import outcome_unknown
from refold_async.dask.connecting import connected, profile_of
from refold_async.dask.leases import Lease
from refold_async.dask.messages import Mark, Outcome, Pulse, Refused, Report

if TYPE_CHECKING:
    from collections.abc import Callable

    from refold_async._client import RefoldClient
    from refold_async.dask.messages import Beat, Head, Invitation, Sealed, Start

logger = Log("dask")

_FORGOTTEN = 10.0
"""Leases after which a batch that says nothing more is forgotten, and its client closed."""
_GRACE = 2.0
"""Seconds for which requests that are under way may end when the batch leaves."""

_seats: dict[tuple[str, str], Seat] = {}
"""By batch, and by the worker in this process."""


class _HeldBack(NotSentError):  # noqa: N818 - a signal between the transport and this module
    """It may not be sent from here any more: nothing leaves."""


async def join(invitation: Invitation, dask_worker: Any) -> Pulse | Refused:
    """Take a seat in a batch; asked again, it is the same one."""
    key = invitation.batch, str(dask_worker.id)
    if key not in _seats:
        try:
            client = connected(invitation.connect)
        except RefoldError as error:
            return Refused(str(error))
        except Exception as error:
            logger.exception("%s() raised", invitation.connect)
            # Its words are somebody else's, and may hold a secret.
            return Refused(f"{invitation.connect}() raised {type(error).__name__}, see its log")
        different = invitation.profile.difference(profile_of(client, invitation.batch))
        if different is not None:
            await client.aclose()
            return Refused(different)
        _seats[key] = Seat(client, invitation.lease, partial(_seats.pop, key, None))
    return _seats[key].pulse(leased=False)


async def beat(batch: str, told: Beat, dask_worker: Any) -> Pulse:
    """Hear what the batch has to say, and tell what happened."""
    seat = _seats.get((batch, str(dask_worker.id)))
    if seat is None or seat.name != told.seat:
        return _unknown()
    return seat.beat(told)


async def leave(batch: str, dask_worker: Any) -> Pulse:
    """Start nothing more, and tell what became of what was under way."""
    seat = _seats.get((batch, str(dask_worker.id)))
    if seat is None:
        return _unknown()
    await seat.aclose()
    return seat.pulse()


def _unknown() -> Pulse:
    return Pulse(seat=None, mark=Mark(0.0, 0.0))


async def start_chunk(head: Head, starts: Sealed) -> Report | None:
    """Start runs, and say what became of each; None if this very call has sent nothing.

    Dask runs a task again elsewhere when its worker is gone, and on the same worker when its result
    is: so it is for one seat, once.
    """
    from distributed import get_worker  # noqa: PLC0415 - not before it runs on one

    seat = _seats.get((head.batch, str(get_worker().id)))
    if seat is None or seat.name != head.seat:
        return None
    return await seat.start(head, starts)


class Seat:
    """What a worker has for one batch: a client, a lease, and what is not heard of yet."""

    def __init__(self, client: RefoldClient, lease: float, forget: Callable[[], object]) -> None:
        self.name = os.urandom(8).hex()  # a process that takes the place of this one has another
        self._client = client
        self._parts = client._caller.parts  # noqa: SLF001 - as `RefoldClient` itself uses them
        self._clock = self._parts.services.clock
        self._lease = Lease(lease, self._clock)
        self._forget = forget
        self._seen: set[int] = set()  # chunks
        self._void: set[int] = set()
        self._off: set[str] = set()
        self._unheard: deque[tuple[int, Outcome]] = deque()
        self._count = 0
        self._closing = False
        self._tasks: set[asyncio.Task[Outcome]] = set()
        self._watching = asyncio.get_running_loop().create_task(self._watch())

    def beat(self, told: Beat) -> Pulse:
        """Take a lease and orders, and answer."""
        self._lease.renew(told.mark)
        self._void |= told.void
        self._off |= told.off
        while self._unheard and self._unheard[0][0] <= told.heard:
            self._unheard.popleft()
        pace = self._parts.transport.budget.pace
        if told.part is not None:
            pace.part = told.part
        return self.pulse()

    def pulse(self, *, leased: bool | None = None) -> Pulse:
        """Tell how things are."""
        return Pulse(
            seat=self.name,
            mark=self._lease.mark(),
            leased=self._lease.left > 0 if leased is None else leased,
            epoch=self._lease.epoch,
            outcomes=tuple(self._unheard),
            requests=dict(self._parts.counters.requests),
        )

    async def start(self, head: Head, starts: Sealed) -> Report | None:
        """Start what a chunk holds, side by side; None for a chunk that was here before."""
        if head.number in self._seen:
            return None
        self._seen.add(head.number)
        loop = asyncio.get_running_loop()
        each = [loop.create_task(self._start(head, start)) for start in pickle.loads(starts)]  # noqa: S301 - of the batch, by the way all of Dask goes
        self._tasks.update(each)
        for task in each:
            task.add_done_callback(self._tasks.discard)
        # Dask may cancel who waits here: the starts go on, and the next beat tells of them.
        await asyncio.wait(each)
        outcomes = tuple(task.result() for task in each if not task.cancelled())
        return Report(outcomes, dict(self._parts.counters.requests))

    async def _start(self, head: Head, start: Start) -> Outcome:
        starter, request = self._parts.starter, start.request
        deadline = starter.deadline(start.limit)
        care = Care(starter, request, start.policy, deadline)
        care.before = partial(self._allow, head, request.instance_tag or "", care)
        told = Outcome(chunk=head.number, tag=request.instance_tag or "")
        try:
            handle = care.accepted(await starter.send(request, care, start.policy, deadline))
            told = attrs.evolve(
                told,
                execution_id=handle.execution_id,
                attempts=handle.attempts,
                possible_duplicate=handle.possible_duplicate,
            )
        except _HeldBack:
            pass
        except RefoldError as error:
            attempts = getattr(error, "attempts", 0)
            told = attrs.evolve(told, error=error, attempts=attempts)
        except Exception as broken:
            logger.exception("a start of chunk %d broke", head.number)
            cause = RefoldError(f"{type(broken).__name__} on a worker")
            told = attrs.evolve(told, error=outcome_unknown(request, 1, cause, None), attempts=1)
        self._count += 1
        self._unheard.append((self._count, told))
        return told

    async def _allow(self, head: Head, tag: str, care: Care) -> None:
        """Let an attempt leave for as long as the lease lasts; it has its slot already."""
        left = self._lease.left
        allowed = left > 0 and head.epoch == self._lease.epoch and not self._closing
        if not allowed or head.number in self._void or tag in self._off:
            raise _HeldBack("not sent: this worker may not start it any more")
        care.leaves_by = self._clock.monotonic() + left

    async def _watch(self) -> None:
        """Close when the batch has said nothing for long: its process is gone."""
        while (wait := self._lease.left + _FORGOTTEN * self._lease.seconds) > 0:
            await sleep(self._clock, wait)
        logger.info("a batch says nothing more: its client on this worker is closed")
        await self.aclose()

    async def aclose(self) -> None:
        """Start nothing more, let what has left end, and close the client."""
        self._closing = True
        self._forget()
        if self._watching is not asyncio.current_task():
            self._watching.cancel()
        if self._tasks:
            await asyncio.wait([*self._tasks], timeout=_GRACE)
        self._parts.transport.budget.pace.part = 1.0
        await self._client.aclose()
        if self._tasks:
            await asyncio.wait([*self._tasks])
