"""Behind a real nginx: headers it drops, answers it cuts, and a clock of its own."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest

from refold_async import (
    BadRequestError,
    RetryPolicy,
)
from refold_async.emulator import Behaviour, Emulator, Fault
from tests.support.endings import MODES, until
from tests.support.nginx import ending_of

if TYPE_CHECKING:
    from tests.support.clock import FakeClock
    from tests.support.nginx import Behind

UNKNOWN = ("unknown", 1)
ADOPTED = ("handle", 1)
LOOKING = pytest.mark.parametrize("mode", ["safe", "transient"])


# -- headers with underscores ----------------------------------------------------------------


async def test_a_dropped_account_is_named_in_the_refusal(
    behind: Behind, emulator: Emulator
) -> None:
    """With a key the default nginx lets no call through, and the error says what is missing."""
    refold, _ = behind(emulator, underscores="off")
    with pytest.raises(BadRequestError, match="linked_account_id is required"):
        await refold.execute("wf_1", slug="s", sync=True)
    assert (emulator.counts["execute"], len(emulator.runs)) == (1, 0)


async def test_a_sync_call_without_its_header_is_waited_for(
    behind: Behind, emulator: Emulator
) -> None:
    """A token needs no account header: the run starts asynchronously, and its result comes."""
    token = emulator.issue_token("acct_1")
    refold, _ = behind(emulator, underscores="off", session_token=token)
    handle = await refold.execute(
        "wf_1", slug="s", payload={"n": 5}, sync=True, config_id="c", include_headers=True
    )
    assert not handle.done()
    result = await handle
    (run,) = emulator.runs
    assert ({"n": 5}, handle.execution_id) == (result.output, run.execution_id)
    assert (run.sync, run.instance_tag, run.config_id) == (False, None, "acct_1")


async def test_underscores_that_are_let_through_change_nothing(
    behind: Behind, emulator: Emulator
) -> None:
    """With `underscores_in_headers on` every header arrives, and the reply brings the result."""
    refold, _ = behind(emulator)
    handle = await refold.execute("wf_1", slug="s", payload={"n": 5}, sync=True, config_id="c")
    assert handle.done()
    (run,) = emulator.runs
    assert (await handle).output == {"n": 5}
    assert (True, handle.instance_tag, "c") == (run.sync, run.instance_tag, run.config_id)
    assert dict(emulator.counts) == {"execute": 1}


@pytest.mark.parametrize(("underscores", "visible"), [("off", False), ("on", True)])
async def test_check_reconcile_tells_whether_the_proxy_drops_tags(
    behind: Behind, emulator: Emulator, underscores: str, visible: bool
) -> None:
    """A run that carries no tag can't be found by it, and a lost answer then stays unknown."""
    token = emulator.issue_token("acct_1")
    refold, _ = behind(emulator, underscores=underscores, mode="safe", session_token=token)
    await refold.execute("wf_1", slug="s")
    assert await refold.check_reconcile("wf_1") is visible
    emulator.faults.script("execute", Fault(drop="after"))
    actual = await ending_of(refold.execute("wf_1", slug="s"))
    assert (ADOPTED if visible else UNKNOWN, 2) == (actual, len(emulator.runs))


# -- 502 -------------------------------------------------------------------------------------


@MODES
async def test_a_502_of_a_service_that_is_down_is_uncertain(
    behind: Behind, emulator: Emulator, mode: str
) -> None:
    """Nginx says no more than "bad gateway": only `transient` goes on trying."""
    refold, _ = behind(emulator, mode=mode)
    await emulator.aclose()
    actual = await ending_of(refold.execute("wf_1", slug="s"))
    tries = 4 if mode == "transient" else 1
    assert ("unknown", tries) == actual
    assert tries == refold.stats.requests["execute"]
    assert emulator.runs == []


@MODES
async def test_a_502_that_hid_no_start(behind: Behind, emulator: Emulator, mode: str) -> None:
    """The service cut the connection before it acted: sent again by `transient`, flagged."""
    emulator.faults.script("execute", Fault(drop="before"))
    refold, _ = behind(emulator, mode=mode)
    actual = await ending_of(refold.execute("wf_1", slug="s"))
    again = mode == "transient"
    assert (("flagged", 2) if again else UNKNOWN) == actual
    assert int(again) == len(emulator.runs) == refold.stats.possible_duplicates


@MODES
@pytest.mark.parametrize(
    ("fault", "answer"),
    [
        pytest.param(Fault(drop="after"), "502 -", id="502"),
        pytest.param(Fault(truncate=True), "200 -", id="truncated"),
    ],
)
async def test_a_run_whose_answer_was_lost_behind_nginx_is_adopted(
    behind: Behind, emulator: Emulator, mode: str, fault: Fault, answer: str
) -> None:
    """The service acted and broke off: the run is found by its tag, and nothing is sent twice."""
    emulator.faults.script("execute", fault)
    refold, server = behind(emulator, mode=mode)
    actual = await ending_of(refold.execute("wf_1", slug="s"))
    assert (UNKNOWN if mode == "never" else ADOPTED) == actual
    assert (len(emulator.runs), emulator.counts["execute"]) == (1, 1)
    assert [answer] == await server.answered(1)


@LOOKING
async def test_a_service_that_dies_under_a_sync_run(
    behind: Behind, emulator: Emulator, clock: FakeClock, mode: Any
) -> None:
    """Nginx answers 502; the service is back before `settle` is over, and the run is adopted."""
    refold, server = behind(emulator, clock=clock, retry=RetryPolicy(mode=mode, settle=7))
    call = asyncio.create_task(refold.run("wf_long", slug="s", payload={"n": 5}, sync=True))
    await until(lambda: len(emulator.runs) == 1)
    await emulator.aclose()
    await emulator.start()
    await until(lambda: 7 in clock.slept)
    emulator.finish(emulator.runs[0].execution_id)
    async with asyncio.timeout(60):
        while not call.done():
            await clock.advance(1)
            await asyncio.sleep(0.001)
    result = await call
    assert (result.output, await server.answered(1)) == ({"n": 5}, ["502 -"])
    assert (len(emulator.runs), emulator.counts["execute"], refold.stats.adopted) == (1, 1, 1)


# -- 504 -------------------------------------------------------------------------------------


@MODES
async def test_a_sync_run_that_outlasts_the_proxy_is_adopted(
    behind: Behind, emulator: Emulator, mode: str
) -> None:
    """Nginx stops waiting, the run goes on: found and waited for, in `never` left alone."""
    refold, server = behind(emulator, "proxy_read_timeout 150ms;", mode=mode)
    call = refold.execute("wf_long", slug="s", payload={"n": 5}, sync=True)
    if mode == "never":
        assert await ending_of(call) == UNKNOWN
    else:
        handle = await call
        assert not handle.done()
        emulator.finish(emulator.runs[0].execution_id)
        assert (await handle).output == {"n": 5}
    assert (len(emulator.runs), emulator.counts["execute"]) == (1, 1)
    assert await server.answered(1) == ["504 -"]


@MODES
async def test_a_504_is_no_reason_to_send_a_sync_run_again(behind: Behind, mode: str) -> None:
    """Not even to `transient`, although the list shows tags and doesn't show this run yet."""
    ahead = 0.0
    slow_list = Behaviour(list_lag=30.0)
    async with Emulator(behaviour=slow_list, now=lambda: time.time() + ahead) as emulator:
        emulator.workflow("wf_1", slug="s", duration=None)(dict)
        refold, _ = behind(emulator, "proxy_read_timeout 150ms;", mode=mode)
        await refold.execute("wf_1", slug="s")
        ahead = 60.0
        assert await refold.check_reconcile("wf_1") is True
        actual = await ending_of(refold.execute("wf_1", slug="s", sync=True))
    assert (actual, len(emulator.runs), emulator.counts["execute"]) == (UNKNOWN, 2, 2)


@LOOKING
@pytest.mark.parametrize(
    "settings",
    [
        pytest.param("proxy_pass_header Date;", id="passed on"),
        pytest.param("", id="of the proxy, the default"),
    ],
)
async def test_a_run_is_found_although_the_proxy_has_another_clock(
    behind: Behind, mode: str, settings: str
) -> None:
    """The service's clock is a minute behind nginx's."""
    async with Emulator(behaviour=Behaviour(clock_skew=-60.0)) as emulator:
        emulator.workflow("wf_1", slug="s")(dict)
        refold, _ = behind(emulator, settings, mode=mode)
        await refold.execute("wf_1", slug="s")
        assert await refold.check_reconcile("wf_1") is True
        emulator.faults.script("execute", Fault(truncate=True))
        actual = await ending_of(refold.execute("wf_1", slug="s"))
    assert (actual, len(emulator.runs)) == (ADOPTED, 2)
