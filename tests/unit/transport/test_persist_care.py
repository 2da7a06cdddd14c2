"""A start in doubt: the list is asked, a found run is adopted, a caller that leaves is replaced."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from refold_async import ClientClosedError, ExecutionOutcomeUnknownError, ServerError
from refold_async._errors import ApiError
from refold_async._protocol import Answer, Evidence
from refold_async._transport.decision import Finding
from refold_async._transport.retry import prepare
from tests.support.clock import FakeClock, settle
from tests.support.making import LOOK, accepted
from tests.support.persisting import (
    BAD_GATEWAY,
    LOST,
    REFUSED,
    STARTED,
    UNREACHED,
    Script,
    throttled,
)

if TYPE_CHECKING:
    from collections.abc import Callable

FOUND = "6a314c54d4616e99e7fa5aff"


@attrs.frozen
class Seen:
    """What a look at the list came to."""

    finding: Finding
    execution_id: str | None = None


class ScriptedCare:
    """Finds what it is told to, look by look, and remembers what it was left with."""

    def __init__(self, *findings: Finding) -> None:
        self.findings = list(findings)
        self.left_with: list[Answer] = []
        self.expecting = self.uncertain = self.resent = False
        self.leaves_by = math.inf
        self.traceparent: str | None = None
        self.before: Any = None

    async def reconcile(self) -> Seen:
        """Look, and find what the script says."""
        await asyncio.sleep(0)
        finding = self.findings.pop(0)
        return Seen(finding, FOUND if finding is Finding.FOUND else None)

    def orphaned(self, answer: Answer, /) -> None:
        """Take over from a caller that left."""
        self.left_with.append(answer)


@pytest.mark.parametrize("mode", ["safe", "transient"])
@pytest.mark.parametrize("failure", [LOST, BAD_GATEWAY], ids=["lost", "bad-gateway"])
async def test_found_run_is_adopted(clock: FakeClock, mode: str, failure: Answer) -> None:
    """The one run with the call's tag is the call's outcome; nothing is sent again."""
    script = Script(clock, failure, care=ScriptedCare(Finding.FOUND), mode=mode)
    answer = await script.end()
    assert (answer.evidence, answer.document) == (Evidence.ACCEPTED, {"execution_id": FOUND})
    assert (answer.attempts, answer.possible_duplicate) == (1, False)
    assert script.made_at == [0]


async def test_mode_never_does_not_look(clock: FakeClock) -> None:
    """With one try and no more, the list is not asked either."""
    care = ScriptedCare()
    with pytest.raises(ExecutionOutcomeUnknownError):
        await Script(clock, LOST, care=care, mode="never").end()


async def test_lost_answer_is_sent_again_once_absence_is_proven(clock: FakeClock) -> None:
    """A run that would show and does not is started again, and flagged all the same."""
    script = Script(clock, LOST, STARTED, care=ScriptedCare(Finding.ABSENT))
    answer = await script.end()
    assert (answer.attempts, answer.possible_duplicate) == (2, True)
    assert script.counters.possible_duplicates == 1


async def test_safe_mode_does_not_trust_absence(clock: FakeClock) -> None:
    """Only `safe` promises that nothing starts twice: it never sends again."""
    with pytest.raises(ExecutionOutcomeUnknownError, match="it is not in the list of runs"):
        await Script(clock, LOST, care=ScriptedCare(Finding.ABSENT), mode="safe").end()


async def test_several_matches_are_unknown(clock: FakeClock) -> None:
    """Nothing is guessed, not even after a 5xx."""
    with pytest.raises(ExecutionOutcomeUnknownError, match="several runs, or another call's"):
        await Script(clock, BAD_GATEWAY, care=ScriptedCare(Finding.AMBIGUOUS)).end()


async def test_each_uncertain_attempt_is_looked_up(clock: FakeClock) -> None:
    """The run of a first or a second sending may be found, and the flag stays."""
    care = ScriptedCare(Finding.UNPROVEN, Finding.FOUND)
    answer = await Script(clock, UNREACHED, BAD_GATEWAY, throttled(), LOST, care=care).end()
    assert answer.document == {"execution_id": FOUND}
    assert (answer.attempts, answer.possible_duplicate) == (4, True)
    assert care.findings == []


@pytest.mark.parametrize("answers", [(UNREACHED, STARTED), (throttled(), STARTED)])
async def test_list_is_not_asked_without_doubt(
    clock: FakeClock, answers: tuple[Answer, ...]
) -> None:
    """A failure that proves no start needs no look."""
    assert (await Script(clock, *answers, care=ScriptedCare()).end()).attempts == 2


async def test_repeatable_request_is_not_looked_up(clock: FakeClock) -> None:
    """A GET starts nothing."""
    script = Script(clock, LOST, accepted({}), request=LOOK, care=ScriptedCare())
    assert (await script.end()).attempts == 2


async def test_caller_that_leaves_during_the_pause_is_replaced(clock: FakeClock) -> None:
    """After an uncertain attempt somebody goes on looking, and never sends again."""
    care = ScriptedCare(Finding.UNPROVEN)
    script = Script(clock, BAD_GATEWAY._replace(retry_after=60.0), STARTED, care=care)
    task = script.start()
    await clock.advance(30)
    task.cancel()
    await settle()
    assert task.cancelled()
    assert [answer.evidence for answer in care.left_with] == [Evidence.UNCERTAIN]
    assert script.made_at == [0]


async def test_caller_that_leaves_without_doubt_leaves_nothing(clock: FakeClock) -> None:
    """Where no run can have started there is nothing to look after."""
    care = ScriptedCare()
    task = Script(clock, throttled(60), STARTED, care=care).start()
    await clock.advance(30)
    task.cancel()
    await settle()
    assert care.left_with == []


async def test_attempt_under_way_looks_after_itself(clock: FakeClock) -> None:
    """A caller that leaves while a request is on the wire is replaced there, not here."""
    care = ScriptedCare(Finding.UNPROVEN)
    script = Script(clock, BAD_GATEWAY, care=care, wait=0)
    script.call.attempt = _hang
    task = script.start()
    await clock.advance(1)
    care.expecting = True
    task.cancel()
    await settle()
    assert task.cancelled()
    assert care.left_with == []


async def test_attempt_that_had_not_left_leaves_the_earlier_one_to_care(clock: FakeClock) -> None:
    """Cancelled in the queue for its second try: the first may still have started a run."""
    care = ScriptedCare(Finding.UNPROVEN)
    script = Script(clock, BAD_GATEWAY, care=care, wait=0)
    script.call.attempt = _hang
    task = script.start()
    await clock.advance(1)
    task.cancel()
    await settle()
    assert [answer.evidence for answer in care.left_with] == [Evidence.UNCERTAIN]


async def _hang(_: float) -> Answer:
    await asyncio.get_running_loop().create_future()
    raise AssertionError


def _raises(error: Exception) -> Callable[[float], Any]:
    async def attempt(_: float) -> Answer:
        raise error

    return attempt


async def test_client_closed_after_doubt_leaves_the_outcome_unknown(clock: FakeClock) -> None:
    """An attempt that can't be made any more does not turn doubt into certainty."""
    closed = ClientClosedError("closed")
    script = Script(clock, BAD_GATEWAY, wait=0)
    script.call.attempt = _raises(closed)
    with pytest.raises(ExecutionOutcomeUnknownError) as caught:
        await script.end()
    assert (caught.value.__cause__, caught.value.attempts) == (closed, 2)


async def test_client_closed_without_doubt_says_so(clock: FakeClock) -> None:
    """Where no run can have started, the reason itself is raised."""
    closed = ClientClosedError("closed")
    script = Script(clock, UNREACHED, wait=0)
    script.call.attempt = _raises(closed)
    with pytest.raises(ClientClosedError) as caught:
        await script.end()
    assert caught.value is closed


async def test_closing_the_client_ends_the_pause(clock: FakeClock) -> None:
    """Nobody sleeps on in a closed client: the next attempt says that it is closed."""
    closing: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    script = Script(clock, throttled(60), REFUSED, closing=closing)
    task = script.start()
    await clock.advance(10)
    closing.set_result(None)
    with pytest.raises(ApiError, match="forbidden"):
        await task
    assert script.made_at == [0, 10]


async def test_pause_of_an_open_client_takes_its_time(clock: FakeClock) -> None:
    """Being able to end early does not shorten a pause."""
    closing: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    script = Script(clock, throttled(60), STARTED, closing=closing, wait=0)
    await script.end()
    assert script.pauses == [60]


async def test_unknown_outcomes_are_counted(clock: FakeClock) -> None:
    """Each call that ends in doubt counts once, and no other."""
    lost = Script(clock, BAD_GATEWAY, LOST)
    with pytest.raises(ExecutionOutcomeUnknownError):
        await lost.end()
    failed = Script(clock, *[BAD_GATEWAY] * 4, request=LOOK)
    with pytest.raises(ServerError):
        await failed.end()
    assert (lost.counters.unknown, failed.counters.unknown) == (1, 0)


def test_preparing_is_importing() -> None:
    """What a retry needs is loaded before it is needed, and any number of times."""
    prepare()
    prepare()
