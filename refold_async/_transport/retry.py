"""A call after its first failure: tenacity repeats it for as long as `decide` says so."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol

import attrs

from refold_async._clock import Clock, done_within, sleep
from refold_async._config import RetryPolicy
from refold_async._errors import (
    ExecutionOutcomeUnknownError,
    RefoldError,
    RequestTimeoutError,
    clip,
)
from refold_async._logs import Log, about
from refold_async._protocol import Answer, Evidence, Operation, Request
from refold_async._stats import Counters
from refold_async._transport.decision import Action, Finding, decide

if TYPE_CHECKING:
    from tenacity import RetryCallState


logger = Log("transport")


def prepare() -> None:
    """Import tenacity: with a client's first call, not with the package, which it would slow down.

    Waiting for the first failure would be too late: that may be the lack of a file descriptor.
    """
    import tenacity  # noqa: F401, PLC0415


class Found(Protocol):
    """A finding, with the run if there is one."""

    @property
    def finding(self) -> Finding:
        """What was found."""

    @property
    def execution_id(self) -> str | None:
        """The run, if exactly one was found."""


class Care(Protocol):
    """Who looks after a start when its answer is lost or its caller leaves."""

    expecting: bool
    """Whether an attempt goes on without its caller, and will be handed over when it ends."""
    uncertain: bool
    """Whether an attempt that is over may have started a run."""
    resent: bool
    """Whether the request was sent again nevertheless."""
    traceparent: str | None
    """The call's name in traces, while there is telemetry."""
    before: Callable[[], Awaitable[None]] | None
    """What is to be done first, once a slot is there; if it raises, nothing leaves."""

    leaves_by: float
    """Monotonic seconds by which the first byte has left, or none does; `before` may set it."""

    async def reconcile(self) -> Found:
        """Look for the run in the list."""

    def orphaned(self, answer: Answer, /) -> None:
        """Take over from a cancelled caller; the request had left."""


class _Again(Exception):  # noqa: N818 - a signal to tenacity, seen by nobody else
    """The attempt that tenacity is to follow up with another."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer


@attrs.define(eq=False, repr=False)
class Call:
    """One logical call after its first failure: what was seen so far, and what is left of it."""

    request: Request
    policy: RetryPolicy
    attempt: Callable[[float], Awaitable[Answer]]  # takes the seconds of patience that are left
    clock: Clock
    counters: Counters
    deadline: float | None = None
    care: Care | None = None  # set for what starts a run
    closing: asyncio.Future[None] | None = None  # done when the client is closed
    attempts: int = 0  # all of them
    refusals: int = 0  # those among them that were refused by load
    asked_at: float = -math.inf  # when the last attempt asked for its slot, in monotonic seconds
    shut_since: Callable[[], float] = lambda: math.inf  # see `Pace.shut_since`
    held_since: float = math.nan  # the first refusal, or the gates before it, in monotonic seconds
    patience: float = 0.0  # seconds of it that were left after the last
    uncertain: bool = False  # an earlier attempt may have started a run
    resent: bool = False  # and the request was sent again nevertheless
    finding: Finding | None = None  # of the last look at the list; None if nobody looked

    async def persist(self, first: Answer) -> Answer:
        """Follow a failed first attempt up, until there is an outcome or a reason to stop.

        Raises:
            RefoldError: the last error; *unknown* if any attempt was uncertain.
        """
        from tenacity import (  # noqa: PLC0415 - see `prepare`
            AsyncRetrying,
            retry_if_exception_type,
            wait_random_exponential,
        )

        jitter = wait_random_exponential(multiplier=self.policy.wait, max=self.policy.max_wait)
        pending = [first]

        async def step() -> Answer | RefoldError:
            return await self._weigh(pending.pop() if pending else await self._again())

        controller = AsyncRetrying(
            retry=retry_if_exception_type(_Again),
            wait=lambda state: self._wait(_failed(state), jitter(state)),
            stop=self._is_over,
            sleep=self._pause,
            before_sleep=self._log,
            reraise=True,
        )
        end: Answer | RefoldError | asyncio.CancelledError
        try:
            end = await controller(step)
        except _Again as last:
            end = self._final(last.answer)
        except asyncio.CancelledError as error:
            if self.uncertain and self.care is not None and not self.care.expecting:
                self.care.orphaned(Answer(evidence=Evidence.UNCERTAIN, attempts=self.attempts))
            end = asyncio.CancelledError(*error.args)
        if isinstance(end, BaseException):
            raise end  # out here it shows no frames but ours
        return end

    async def _pause(self, seconds: float) -> None:
        """Sleep, but not past the closing of the client: the next attempt then says so."""
        if self.closing is None:
            await sleep(self.clock, seconds)
        else:
            await done_within(self.clock, self.closing, seconds)

    async def _again(self) -> Answer:
        self.counters.retries += 1
        if self.uncertain:
            self.resent = True
            if self.care is not None:
                self.care.resent = True
            self.counters.possible_duplicates += 1
            logger.warning(
                "%s is sent again although an earlier try may have started a run"
                " (workflow_id=%s, instance_tag=%s): possible duplicate",
                self.request.operation,
                self.request.workflow_id,
                self.request.instance_tag,
                extra=about(**self.request.ids, attempts=self.attempts),
            )
        self.asked_at = self.clock.monotonic()
        try:
            return await self.attempt(self._patience_left(self.asked_at))
        except RefoldError as error:  # a closed client, a token source that gives no token
            return Answer(evidence=Evidence.REFUSED, error=error)

    async def _weigh(self, answer: Answer) -> Answer | RefoldError:
        """Give an outcome or what ends the call, or signal tenacity to go on."""
        self.attempts += 1
        if _is_load(answer):
            now = self.clock.monotonic()
            if self.refusals == 0:
                self.held_since = min(max(self.asked_at, self.shut_since()), now)
            self.refusals += 1
            self.patience = self._patience_left(now)
        uncertain = answer.evidence is Evidence.UNCERTAIN and not self.request.repeatable
        self.uncertain = self.uncertain or uncertain
        if self.care is not None:
            self.care.uncertain = self.uncertain
        found: Found | None = None
        if uncertain and self.care is not None and self.policy.mode != "never":
            found = await self.care.reconcile()
            self.finding = found.finding
        action = decide(
            answer.evidence,
            mode=self.policy.mode,
            repeatable=self.request.repeatable,
            sync=self.request.sync,
            status=answer.status,
            timed_out=isinstance(answer.error, RequestTimeoutError),
            finding=self.finding or Finding.UNPROVEN,
        )
        if action is Action.RETRY:
            raise _Again(answer)
        if action is Action.ADOPT and found is not None:
            document = {"execution_id": found.execution_id}
            answer = Answer(evidence=Evidence.ACCEPTED, document=document)
        elif action is not Action.RETURN:
            return self._final(answer)
        return answer._replace(attempts=self.attempts, possible_duplicate=self.resent)

    def _patience_left(self, now: float) -> float:
        """Give the seconds for which the service may still refuse."""
        waited = now - self.held_since if self.refusals else 0.0
        return self.policy.patience - waited

    @property
    def tries(self) -> int:
        """Attempts that count: being refused by load is no failure of the call."""
        return self.attempts - self.refusals

    def _wait(self, answer: Answer, jitter: float) -> float:
        """Give a pause: what the service asked for, and jitter on top.

        The jitter of a refusal by load ends with our patience: one more try is made then.
        """
        asked = answer.retry_after or 0.0
        if _is_load(answer):
            jitter = min(jitter, max(self.patience - asked, 0.0))
        return asked + jitter

    def _is_over(self, state: RetryCallState) -> bool:
        """Stop at the last attempt, when load outlasts our patience, or a pause the deadline."""
        answer = _failed(state)
        asked, load = answer.retry_after or 0.0, _is_load(answer)
        spent = self.patience <= 0 if load else self.tries >= self.policy.attempts
        if spent or asked > (self.patience if load else self.policy.patience):
            return True
        ready_at = self.clock.monotonic() + state.upcoming_sleep
        return self.deadline is not None and ready_at >= self.deadline

    def _log(self, state: RetryCallState) -> None:
        failed = _failed(state).error or RefoldError("no answer")
        logger.info(
            "%s failed (%s), try %d follows in %.1f s",
            self.request.operation,
            clip(failed.describe(), 200),
            self.attempts + 1,
            state.upcoming_sleep,
            extra=about(**self.request.ids, attempts=self.attempts, request_id=failed.request_id),
        )

    def _final(self, answer: Answer) -> RefoldError:
        """Choose what the call ends with: never a later attempt's error once one was uncertain."""
        error = answer.error or RefoldError("no answer")
        if not self.uncertain:
            return error
        self.counters.unknown += 1
        return outcome_unknown(self.request, self.attempts, error, self.finding)


def _is_load(answer: Answer) -> bool:
    """Whether the service refused because it has too much to do: that is no failure of the call.

    408, 421 and 425 are: they tell of this request and its connection, not of a queue that ends.
    """
    return answer.evidence is Evidence.REJECTED and answer.status in {429, 503}


def _failed(state: RetryCallState) -> Answer:
    error = state.outcome.exception() if state.outcome else None
    assert isinstance(error, _Again)  # noqa: S101 - the only thing tenacity is told to retry
    return error.answer


_SEEN = {
    Finding.ABSENT: "it is not in the list of runs",
    Finding.UNPROVEN: "the list of runs does not tell",
    Finding.AMBIGUOUS: "several runs, or another call's, carry its tag",
    Finding.FOUND: "a run with its tag was found",
}


def outcome_unknown(
    request: Request, attempts: int, cause: RefoldError, finding: Finding | None
) -> ExecutionOutcomeUnknownError:
    """Say what is known of a call of which nobody knows whether it started a run.

    `finding` is of the last look at the list, None if nobody looked.
    """
    seen = "" if finding is None else f"; {_SEEN[finding]}"
    tries = "1 try" if attempts == 1 else f"{attempts} tries"
    if request.operation is Operation.RERUN:
        look = "Before asking again, look through refold.executions.list(start_date=...)."
    elif request.operation is Operation.TRIGGER_EVENT:
        look = (
            "What an event starts bears no tag of this call's: before firing it again, look through"
            ' refold.executions.list(execution_source="Event", start_date=...).'
        )
    elif request.unique_tag:
        look = (
            f"Before sending it again, await refold.find({request.instance_tag!r},"
            f" workflow_id={request.workflow_id!r}) looks for it."
        )
    else:
        look = (
            f"Its instance_tag {request.instance_tag!r} is a label that other runs may carry too:"
            " before sending it again, look through refold.executions.list(start_date=...)."
        )
    unknown = ExecutionOutcomeUnknownError(
        f"after {tries} nobody knows whether a run started ({clip(cause.describe(), 200)}{seen})",
        instance_tag=request.instance_tag,
        workflow_id=request.workflow_id,
        execution_id=request.execution_id,
        attempts=attempts,
    )
    unknown.__cause__ = cause
    return unknown.about(**request.names, advice=look)
