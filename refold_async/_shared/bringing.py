"""From a key to its run: started here, or found started elsewhere; and never twice.

The key's state in Redis says who may send. It moves to `sent` immediately before the request
leaves, by compare-and-set: whoever was taken over can't send any more. What was sent by somebody
who says nothing more is looked for in the list of runs, and sent again only if it isn't there.
"""

from __future__ import annotations

import asyncio
import math
import random
from typing import TYPE_CHECKING, Any

import attrs

from refold_async._checks import check_id
from refold_async._errors import (
    ClientClosedError,
    ConfigError,
    ExecutionOutcomeUnknownError,
    RefoldError,
    SharedStateError,
)
from refold_async._handle import handle_of_ref
from refold_async._logs import Log, about
from refold_async._models import ExecutionRef
from refold_async._shared.claim import Claim
from refold_async._shared.keys import CLAIMED, SENT, STARTED
from refold_async._starting import Care
from refold_async._transport import Finding, outcome_unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from refold_async._config import RetryPolicy
    from refold_async._handle import ExecutionHandle
    from refold_async._shared.asked import Asked
    from refold_async._shared.keys import Keys, KeyState
    from refold_async._shared.memory import Doubt
    from refold_async._starting import Found, Starter

logger = Log("shared")

_FIRST, _GROWTH, _LONGEST = 0.02, 1.6, 1.0
"""Seconds between two questions to Redis about a key that somebody else has."""
_FORGETFUL = 3600.0
"""Seconds for which a Redis that has come up counts as one that has lost keys: a process that
begins later than the loss can't know of it."""
LONGEST_BOUND = 3600.0
"""Seconds for which a state holds us up at most, whatever somebody has written."""


class _TakenOver(RefoldError):  # noqa: N818 - a signal between the transport and this module
    """Somebody else has the key by now: nothing leaves."""


class Generations:
    """What is known of Redis' memory: a Redis that was emptied has forgotten who had sent."""

    def __init__(self) -> None:
        self._known: str | None = None
        self._lost_at: float | None = None  # monotonic seconds

    def note(self, generation: str, now: float) -> None:
        """Note whose memory answered."""
        if self._known not in {None, generation}:
            self._lost_at = now
            logger.warning(
                "Redis was restarted or emptied: it may have forgotten keys of `once`. Until it"
                " remembers again, keys it doesn't know are looked for in the list of runs"
            )
        self._known = generation

    def lost_within(self, seconds: float, now: float) -> bool:
        """Tell whether a memory was lost before our eyes, not longer ago than this."""
        return self._lost_at is not None and now - self._lost_at < seconds


class Bringing:
    """One key on its way to its run, for all callers of this process.

    Args:
        asked: the start and its key.
        starter: what starts it.
        keys: the states in Redis, or None for this process alone.
        generations: what is known of Redis' memory.
        policy: of the start.
        later: does something for which nobody waits.
        told: hears what became of a start whose callers had left.
        doubt: of an earlier start here that came to nobody knows what.
    """

    def __init__(
        self,
        asked: Asked,
        starter: Starter,
        keys: Keys | None,
        generations: Generations,
        policy: RetryPolicy,
        *,
        later: Callable[[Coroutine[Any, Any, object]], object],
        told: Callable[[ExecutionHandle[Any] | None], object],
        doubt: Doubt | None,
    ) -> None:
        self.asked = asked
        self.keys = keys
        self.care: Care | None = None  # of what is sent here
        self.age = 0.0  # seconds since the run was started, if that was not here
        self.elsewhere = False  # whether another process may have sent it
        self._starter = starter
        self._generations = generations
        # What may have started a run is never sent again without proof that it has not.
        self._policy = attrs.evolve(policy, mode="safe")
        self._hears = told
        self._doubt = doubt
        timeouts = starter.services.api.timeouts
        self._bound = timeouts.connect + timeouts.read  # by which our own request is over
        self.hold = self._bound + policy.settle  # and its run is in the list
        self._clock = starter.services.clock
        self._began = self._clock.monotonic()
        self._watched = ("", 0.0)  # the last state, and since when, in monotonic seconds
        self._claim: Claim | None = None
        if keys is not None:
            self._claim = Claim(keys, asked, hold=self.hold, clock=self._clock, later=later)

    @property
    def has_left(self) -> bool:
        """Whether a run may have begun, here or elsewhere, or may still."""
        return self.elsewhere or self.left_here or self._doubt is not None

    @property
    def left_here(self) -> bool:
        """Whether something is left behind of which `told` will tell."""
        return self.care is not None and (self.care.expecting or self.care.uncertain)

    async def bring(self) -> ExecutionHandle[Any]:
        """Give the handle of the run; `attached` says whether it was started elsewhere.

        Raises:
            SharedStateError: Redis is away, and nothing was sent.
            PayloadError: the key was used for another start.
            RefoldError: as `execute`.
        """
        if self._claim is None:
            return await self._by_looking()
        try:
            return await self._by_state(self._claim)
        except SharedStateError:
            if not self.asked.options.looks or self.elsewhere or self.left_here:
                raise
            logger.warning(
                "Redis is away: whether %s has started is looked up",
                self.asked.tag,
                extra=about(**self.asked.request.ids),
            )
        return await self._by_looking()

    # -- with Redis --------------------------------------------------------------------------

    async def _by_state(self, claim: Claim) -> ExecutionHandle[Any]:
        asked, cleared, pause, looked_for = self.asked, "", _FIRST, ""
        while True:
            state = await claim.take(cleared)
            self._generations.note(state.generation, self._clock.monotonic())
            asked.check(state.fingerprint)
            self._check_sense(state)
            if state.kind == STARTED:
                self.age = max(state.since, 0.0)
                return self._attached(state.execution_id)
            if state.owner == claim.owner:
                self.elsewhere = False
                handle = await self._own(claim, state)
                if handle is not None:
                    return handle
                continue
            self.elsewhere = self.elsewhere or state.kind == SENT
            seen = self._seen_for(state)
            is_over = seen >= min(state.bound, LONGEST_BOUND)
            if state.kind == SENT and (is_over or (state.left <= 0 and looked_for != state.name)):
                found = await self._look_for_sent(max(state.since, seen))
                is_old = state.since >= asked.options.within
                absent = found.finding is Finding.ABSENT or (is_old and not found.execution_id)
                if found.execution_id or (is_over and not absent):
                    return self._adopted(found)
                looked_for = state.name
            if is_over:
                cleared = state.name
                continue
            await self._pause(pause * random.uniform(0.5, 1))
            pause = min(pause * _GROWTH, _LONGEST)

    def _check_sense(self, state: KeyState) -> None:
        """Refuse what another version, or somebody else, has written."""
        if state.kind in {CLAIMED, SENT}:
            return
        why = f"state: is {state.kind[:40]!r}"
        if state.kind == STARTED:
            try:
                check_id(state.execution_id, "id")
            except ConfigError as error:
                why = str(error)
            else:
                return
        raise SharedStateError(
            f"what is kept of this key is not understood ({why}); nothing was sent. Did another"
            " version write it? Then let it end, or use another Shared(name=...)"
        )

    def _seen_for(self, state: KeyState) -> float:
        """Say for how many seconds the key has been in this state before our eyes.

        By our own clock, which nobody sets: what Redis' clock tells may be as wrong as that is.
        """
        now = self._clock.monotonic()
        if state.name != self._watched[0]:
            self._watched = state.name, now
        return now - self._watched[1]

    async def _own(self, claim: Claim, state: KeyState) -> ExecutionHandle[Any] | None:
        """Start what we have claimed; None if it was taken over before it left."""
        renewing = asyncio.ensure_future(claim.renew())
        try:
            found = await self._after_a_loss(state) or await self._after_a_doubt()
            if found is not None:
                return self._adopted(found)
            handle = await self._send(lambda: self._leave(claim))
        except _TakenOver:
            return None
        except ExecutionOutcomeUnknownError:
            raise  # it stays `sent`: whoever asks next looks
        except BaseException:
            if not self.left_here:
                claim.free()
            raise
        finally:
            renewing.cancel()
        if handle.execution_id is not None:
            claim.record(handle.execution_id)
        return handle

    async def _leave(self, claim: Claim) -> None:
        """Move the key to `sent`, with the slot in hand; what took too long does not leave."""
        assert self.care is not None  # noqa: S101 - it called
        asked_at = self._clock.monotonic()
        if not await claim.leave():
            raise _TakenOver("another process has the key")
        self.care.leaves_by = asked_at + self._bound / 2

    def _told(self, handle: ExecutionHandle[Any] | None) -> None:
        if self._claim is not None and handle is not None and handle.execution_id is not None:
            self._claim.record(handle.execution_id)
        self._hears(handle)

    async def _after_a_loss(self, state: KeyState) -> Found | None:
        """Look before sending, if Redis may have forgotten that somebody has sent."""
        within = self.asked.options.within
        young = state.age < self.hold
        if young:
            left = self.hold - state.age
            logger.info(
                "this Redis remembers the last %.3g s only: %s waits for %.3g s and is looked for",
                state.age,
                self.asked.tag,
                left,
                extra=about(**self.asked.request.ids),
            )
            await self._pause(left)
        elif state.age >= _FORGETFUL and not self._generations.lost_within(
            within, self._clock.monotonic()
        ):
            return None
        waited = self._clock.monotonic() - self._began
        proof = 2 * self.hold + waited
        found = await self._look(within, proof=proof, counts=within, none_was_sent=True)
        if found.finding is Finding.ABSENT or (found.finding is Finding.UNPROVEN and not young):
            return None
        return found

    async def _look_for_sent(self, ago: float) -> Found:
        """Look for what another process has sent.

        Any run of the key counts, whenever Redis says that it was sent: its clock may have been
        set. Absence is proven for as long ago as it may have been.
        """
        return await self._look_for_lost(max(self.asked.options.within, ago), ago, math.inf)

    async def _look_for_lost(self, since: float, proof: float, counts: float) -> Found:
        """Look for what may have started; a list that can't be read proves nothing."""
        try:
            return await self._look(since, proof=proof, counts=counts)
        except ClientClosedError:
            raise
        except RefoldError as error:
            raise outcome_unknown(self.asked.request, 1, error, None) from error

    async def _after_a_doubt(self) -> Found | None:
        """Look for what was sent here and may have started; absent proves nothing before its time.

        Until then the list may not show it yet.
        """
        if self._doubt is None:
            return None
        within, pause = self.asked.options.within, max(self._policy.settle, _FIRST)
        while True:
            now = self._clock.monotonic()
            left, ago = self._doubt.over_at - now, now - self._doubt.since
            found = await self._look_for_lost(within, ago, within)
            if found.finding in {Finding.FOUND, Finding.AMBIGUOUS}:
                return found
            if left <= 0 or self._starter.lists.is_blind:
                return None if found.finding is Finding.ABSENT else found
            await self._pause(min(pause, left))
            pause *= 2

    def _adopted(self, found: Found) -> ExecutionHandle[Any]:
        """Give the run that a look has found."""
        if found.execution_id is None:
            raise self._unknown(found)
        self._starter.counters.adopted += 1
        self.age = found.age
        if self._claim is not None:
            self._claim.record(found.execution_id, found.age)
        return self._attached(found.execution_id)

    # -- without it --------------------------------------------------------------------------

    async def _by_looking(self) -> ExecutionHandle[Any]:
        """Start it, unless it is found among the newest runs: without Redis that is all."""
        found = await self._after_a_doubt()
        if found is None and self._doubt is None:
            within = self.asked.options.within
            found = await self._look(within, proof=0.0, counts=within)
            if found.finding in {Finding.ABSENT, Finding.UNPROVEN}:
                found = None
        if found is not None:
            return self._adopted(found)
        return await self._send(None)

    # -- both --------------------------------------------------------------------------------

    async def _send(
        self, before: Callable[[], Coroutine[Any, Any, None]] | None
    ) -> ExecutionHandle[Any]:
        request = self.asked.request
        self.care = Care(self._starter, request, self._policy, None)
        self.care.before = before
        self.care.told = self._told
        answer = await self._starter.send(request, self.care, self._policy, None)
        return self.care.accepted(answer)

    async def _look(
        self, since: float, *, proof: float, counts: float, none_was_sent: bool = False
    ) -> Found:
        request = self.asked.request
        return await self._starter.keys.look(
            self.asked.tag,
            account=request.account,
            workflow_id=request.workflow_id or "",
            since=since,
            proof=proof,
            counts=counts,
            none_was_sent=none_was_sent,
        )

    async def _pause(self, seconds: float) -> None:
        if await self._starter.services.api.transport.is_closed_within(seconds):
            raise ClientClosedError("the client was closed; nothing was sent by it")

    def _attached(self, execution_id: str) -> ExecutionHandle[Any]:
        return attached(self._starter, self.asked, execution_id)

    def _unknown(self, found: Found) -> RefoldError:
        self._starter.counters.unknown += 1
        cause = RefoldError("an earlier start under this key may have begun it, and told nobody")
        return outcome_unknown(self.asked.request, 1, cause, found.finding)


def attached(starter: Starter, asked: Asked, execution_id: str) -> ExecutionHandle[Any]:
    """Make the handle of a run that was started before, under the same key."""
    request = asked.request
    ref = ExecutionRef(
        execution_id=execution_id,
        workflow_id=request.workflow_id,
        slug=request.slug,
        linked_account_id=request.account,
        instance_tag=asked.tag,
    )
    handle: ExecutionHandle[Any] = handle_of_ref(starter.services, ref)
    handle.attached = True
    return handle
