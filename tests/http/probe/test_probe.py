"""A probe against all that the documentation leaves open, over real HTTP and in virtual time."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, get_args, get_origin, get_type_hints

import attrs
import pytest

from refold_async import ConfigError
from refold_async.emulator import Behaviour, Emulator, Fault, Respond
from refold_async.probe import Target, Work, probe
from refold_async.probe._asking import Asker
from refold_async.probe._connection import find_keepalive
from refold_async.probe._findings import NOT_ASKED, QUESTIONS, Notes
from refold_async.probe._scene import Scene
from tests.docs.conftest import DOCS
from tests.support.probed import AT_MOST, SERVICES, told_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from refold_async.probe import ProbeReport

WORK = Work(workflow_id="wf", slug="s", sync=True, rerun=True, max_requests=80)
SWITCHES = {field.name: field.default for field in attrs.fields(Behaviour)}


def playing(behaviour: Mapping[str, Any], ends: str = "COMPLETED") -> Emulator:
    """An emulator whose workflow takes two seconds, and sets a status."""
    emulator = Emulator(behaviour=Behaviour(**behaviour), skip_time=True)

    @emulator.workflow("wf", slug="s", duration=2.0, ends=ends)
    def answer(payload: dict[str, Any]) -> Any:
        return Respond(status=422, data=payload)

    return emulator


def target_of(emulator: Emulator) -> Target:
    """The emulator as a service to ask."""
    return Target(base_url=emulator.base_url, api_key=emulator.api_key, account="acct_1")


async def probed(emulator: Emulator, work: Work = WORK) -> ProbeReport:
    """Ask it, and see that no promise was broken on the way."""
    report = await probe(target_of(emulator), work)

    assert [run.execution_id for run in emulator.runs] == [*report.execution_ids]
    assert len(report.execution_ids) <= work.runs
    assert report.requests == len(emulator.requests) <= work.max_requests
    apart = [after.at - before.at for before, after in pairwise(emulator.requests)]
    assert min(apart, default=1.0) > 0.199
    return report


@pytest.mark.parametrize("name", SERVICES)
async def test_what_is_played_is_told(name: str) -> None:
    """Every switch that shows is told, and nothing is told that is not so."""
    played = SERVICES[name]
    async with playing(played.behaviour, played.ends) as emulator:
        report = await probed(emulator)

    told = report.told()
    expected = {
        name: played.behaviour[name] for name in played.behaviour if name not in played.untold
    }
    for switch, answer in {**expected, **played.more}.items():
        if switch in AT_MOST:
            assert answer <= told.pop(switch) <= answer * 2 + 0.5
        elif switch == "clock_skew":
            assert told.pop(switch) == pytest.approx(answer, abs=1)
        else:
            assert told.pop(switch) == answer, switch
    others = {name: answer for name, answer in told.items() if name in SWITCHES}
    assert others == {name: SWITCHES[name] for name in others}


def test_every_switch_is_told_or_it_is_said_why_not() -> None:
    """A new switch of Behaviour must be asked for, and each of its answers be played."""
    assert {*SWITCHES} - {*QUESTIONS} == {*NOT_ASKED}
    kinds = get_type_hints(Behaviour)
    for name in SWITCHES.keys() & QUESTIONS.keys():
        usual = SWITCHES[name]
        assert QUESTIONS[name].usual == usual, name
        is_choice = get_origin(kinds[name]) is not None and str in map(type, get_args(kinds[name]))
        others = {*get_args(kinds[name])} - {usual, type(None), float} if is_choice else set()
        assert told_of(name), name
        assert others <= {*told_of(name)}, name


@pytest.mark.parametrize("announced", [False, True])
async def test_the_end_of_an_idle_connection_is_seen(announced: bool) -> None:
    """How long a connection is kept is measured, and whether it was announced."""
    behaviour = Behaviour(keepalive=0.05, keepalive_announced=announced)
    async with Emulator(behaviour=behaviour) as emulator, Asker(target_of(emulator), 1) as asker:
        scene = Scene(asker=asker, notes=Notes(), work=WORK, reserved=0)
        await find_keepalive(scene)

    assert isinstance(scene.notes.answer("keepalive"), float)
    assert scene.notes.answer("keepalive_announced") is announced


async def test_no_more_is_asked_than_may_be() -> None:
    """A probe whose requests are used up ends, and says what it has not asked."""
    async with playing({}) as emulator:
        report = await probed(emulator, attrs.evolve(WORK, max_requests=12))

    assert report.requests == 12
    assert report.stopped == "12 requests were made, and no more may be"
    assert [each.because for each in report.findings if not each.told].count(report.stopped) > 5


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Fault(drop="after"), id="lost"),
        pytest.param(Fault(status=502, html=True, perform=True), id="bad-gateway"),
    ],
)
async def test_a_start_that_nobody_knows_of_ends_it(fault: Fault) -> None:
    """Nothing is sent again where a run may have started; its tag is told."""
    async with playing({}) as emulator:
        emulator.faults.script("execute", fault)
        report = await probe(target_of(emulator), WORK)
        [run] = emulator.runs

    assert report.execution_ids == ()
    assert report.uncertain == (f"the tag {run.instance_tag}",)
    assert report.stopped is not None
    assert str(run.instance_tag) in report.stopped


async def test_a_sync_run_and_a_rerun_are_started_if_asked_for() -> None:
    """Without being asked a probe starts a run, and a second one where the bare form is taken."""
    async with playing({"execute_body": "either"}) as emulator:
        report = await probed(emulator, Work(workflow_id="wf", slug="s"))
        runs = [(run.sync, run.rerun_of) for run in emulator.runs]

    assert runs == [(False, None)] * 2
    untold = {each.question.name: each.because for each in report.findings if not each.told}
    assert untold["sync_strips"] == "no sync run was to be started (--sync)"
    assert untold["rerun_shape"] == "no run was to be started again (--rerun)"


async def test_a_service_that_refuses_the_wrapped_form_takes_bare_bodies() -> None:
    """Where the input under `payload` fails the schema, and the input itself does not."""
    schema = {"type": "object", "required": ["email"]}
    behaviour = Behaviour(execute_body="bare")
    async with Emulator(behaviour=behaviour, skip_time=True) as emulator:
        emulator.workflow("wf", slug="s", schema=schema)(dict)
        report = await probed(emulator, attrs.evolve(WORK, payload={"email": "j@example.com"}))

    assert report.stopped is None
    assert report.told()["execute_body"] == "bare"
    assert report.told()["response_path"] == "v1"


async def test_an_input_that_is_not_taken_ends_it() -> None:
    """Where no run is to be started it says what may be wrong."""
    schema = {"type": "object", "required": ["email"]}
    async with Emulator(skip_time=True) as emulator:
        emulator.workflow("wf", slug="s", schema=schema)(dict)
        report = await probed(emulator)

    assert report.execution_ids == ()
    assert "does it take this input (--payload)?" in str(report.stopped)


async def test_headers_that_tell_of_rates_are_shown() -> None:
    """What the service says of its limits is told as it comes."""
    headers = {"X-RateLimit-Remaining": "3", "RateLimit-Policy": "20;w=1"}
    async with playing({}) as emulator:
        emulator.faults.always("get_execution", Fault(headers=headers))
        report = await probed(emulator)

    assert report.told()["rate_headers"] == {name.lower(): headers[name] for name in headers}


async def test_a_refused_start_is_sent_again_when_it_may_be() -> None:
    """A 429 says that nothing was started, and when to come back."""
    async with playing({}) as emulator:
        emulator.faults.script("execute", Fault(status=429, headers={"Retry-After": "7"}))
        report = await probed(emulator)
        refused, again = [each.at for each in emulator.requests if each.operation == "execute"][:2]

    assert again - refused >= 7
    assert report.stopped is None
    assert report.told()["retry_after"] == 7.0


async def test_a_key_that_is_not_taken_ends_it() -> None:
    """With a strange key one request is made, and no run started."""
    async with playing({}) as emulator:
        target = Target(base_url=emulator.base_url, api_key="tk_other", account="acct_1")
        report = await probe(target, WORK)

    assert (report.requests, report.execution_ids) == (1, ())
    assert report.stopped == "the key is not taken: 401 'Invalid Credentials'"


async def test_a_service_that_is_not_there_is_said_to_be_so() -> None:
    """What can't be reached is no failure of the probe."""
    async with playing({}) as emulator:
        target = target_of(emulator)
    report = await probe(target, WORK)

    assert report.stopped is not None
    assert report.stopped.startswith("the service can't be reached: ")


async def test_settings_are_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings make a client and an emulator that suit the service."""
    monkeypatch.setenv("REFOLD_API_KEY", "tk_some")
    behaviour = {"execute_body": "bare", "list_lag": 3.0}
    async with playing(behaviour) as emulator:
        report = await probed(emulator)
        made: dict[str, Any] = {}
        exec(report.settings, {}, made)  # noqa: S102 - our own

    assert made["behaviour"] == Behaviour(execute_body="bare", list_lag=report.told()["list_lag"])
    assert f"```python\n{report.settings}\n```" in (DOCS / "how-to/probe.md").read_text("utf-8")


@pytest.mark.parametrize(
    ("field", "value"), [("workflow_id", "../x"), ("slug", ""), ("max_requests", 0)]
)
def test_what_it_may_do_is_checked(field: str, value: Any) -> None:
    """What can't be sent is refused before anything is."""
    with pytest.raises(ConfigError, match=field):
        attrs.evolve(WORK, **{field: value})
