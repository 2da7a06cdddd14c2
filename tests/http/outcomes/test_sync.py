"""Sync runs: the reply comes when the workflow ends, so silence means that it goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from refold_async import ConfigError, Timeouts
from refold_async.emulator import Behaviour, Emulator
from tests.support.endings import MODES, Ending, at_once, ending_of, unknown
from tests.support.wire import RUN, STARTS, Step, http, wire

if TYPE_CHECKING:
    from collections.abc import Callable

    from refold_async import RefoldClient

HTML = "<html>upstream</html>"


@MODES
@pytest.mark.parametrize(
    ("step", "cause"),
    [
        pytest.param(Step(end="stall"), "RequestTimeoutError", id="read timeout"),
        pytest.param(Step(reply=http(504, HTML)), "ServerError", id="504"),
        pytest.param(Step(reply=http(504, {"message": "x"})), "ServerError", id="504 JSON"),
        pytest.param(Step(reply=http(524, HTML)), "ServerError", id="524"),
        pytest.param(Step(end="fin"), "TransportError", id="FIN"),
    ],
)
async def test_a_sync_run_that_was_cut_off_is_never_sent_again(
    connect: Callable[..., RefoldClient],
    caplog: pytest.LogCaptureFixture,
    mode: str,
    step: Step,
    cause: str,
) -> None:
    """Whoever stopped waiting, the run very likely goes on: unknown, in every mode."""
    async with wire(step, STARTS) as server:
        timeouts = Timeouts(sync=0.5 if step.end == "stall" else 30)
        refold = connect(server, retry=at_once(mode), timeouts=timeouts)
        call = refold.execute("wf_1", slug="s", sync=True)
        actual = await ending_of(call, refold, server, caplog)
    assert unknown(cause) == actual


@MODES
@pytest.mark.parametrize("status", [500, 502, 503, 520, 521, 522, 523])
async def test_another_server_error_is_treated_as_for_any_run(
    connect: Callable[..., RefoldClient],
    caplog: pytest.LogCaptureFixture,
    mode: str,
    status: int,
) -> None:
    """What doesn't say that somebody stopped waiting is sent again by `transient`, flagged."""
    async with wire(Step(reply=http(status, HTML)), STARTS) as server:
        refold = connect(server, retry=at_once(mode))
        call = refold.execute("wf_1", slug="s", sync=True)
        actual = await ending_of(call, refold, server, caplog)
    again = Ending(attempts=2, posts=2, duplicates=1)
    assert (again if mode == "transient" else unknown("ServerError")) == actual


@MODES
@pytest.mark.parametrize("status", [200, 400, 401, 404, 408, 429, 500, 503, 504])
async def test_whatever_status_a_response_node_sets_it_is_the_result(
    connect: Callable[..., RefoldClient], mode: str, status: int
) -> None:
    """A result with the status of the reply, `ok` below 400, and one request."""
    reply = http(status, {"execution_id": RUN, "return_value": {"n": 1}})
    async with wire(Step(reply=reply)) as server:
        refold = connect(server, retry=at_once(mode))
        result = await refold.run("wf_1", slug="s", sync=True)
    assert (RUN, {"n": 1}, status, status < 400) == (
        result.execution_id,
        result.output,
        result.status_code,
        result.ok,
    )
    assert [request.method for request in server.seen] == ["POST"]


async def test_the_status_in_the_body_wins(connect: Callable[..., RefoldClient]) -> None:
    """`status_code` is what the Response node set, whatever a proxy made of it."""
    reply = http(200, {"execution_id": RUN, "return_value": None, "status_code": 422})
    async with wire(Step(reply=reply)) as server:
        result = await connect(server).run("wf_1", slug="s", sync=True)
    assert (result.status_code, result.ok) == (422, False)


async def test_a_sync_reply_without_an_id_settles_by_itself(
    connect: Callable[..., RefoldClient],
) -> None:
    """The handle has its result, and refuses what needs an id, without asking the service."""
    async with wire(Step(reply=http(200, {"return_value": 7, "errored": False}))) as server:
        handle = await connect(server).execute("wf_1", slug="s", sync=True)
        result = await handle
        for ask in (handle.fetch, handle.stop, handle.rerun):
            with pytest.raises(ConfigError, match="execution_id"):
                await ask()
    assert (
        handle.execution_id,
        handle.done(),
        result.output,
        len(server.seen),
    ) == (None, True, 7, 1)


async def test_a_sync_reply_may_take_longer_than_any_other(
    connect: Callable[..., RefoldClient],
) -> None:
    """`Timeouts.sync` bounds a sync run's reply, not `Timeouts.read`."""
    reply = http(200, {"execution_id": RUN, "return_value": "late"})
    async with wire(Step(reply=reply, delay=0.15)) as server:
        refold = connect(server, timeouts=Timeouts(read=0.05, sync=30))
        result = await refold.run("wf_1", slug="s", sync=True)
    assert result.output == "late"


async def test_a_sync_call_that_was_only_acknowledged_is_waited_for(
    connect: Callable[..., RefoldClient],
) -> None:
    """An id without a result is no result: the run is read until it ends."""
    async with wire(
        STARTS,
        Step(reply=http(200, {"status": "RUNNING", "response": None})),
        Step(reply=http(200, {"status": "COMPLETED", "response": {"n": 1}})),
    ) as server:
        handle = await connect(server).execute("wf_1", slug="s", sync=True)
        assert not handle.done()
        result = await handle
    assert result.output == {"n": 1}
    assert [request.method for request in server.seen] == ["POST", "GET", "GET"]


async def test_a_proxy_that_drops_the_sync_header_costs_nothing_but_time(
    connect: Callable[..., RefoldClient],
) -> None:
    """Nginx drops `sync_execution`: the run starts asynchronously, and its real result comes."""
    behaviour = Behaviour(drop_underscore_headers=True)
    async with Emulator(behaviour=behaviour) as emulator:
        emulator.workflow("wf_1", slug="s", duration=0.05)(lambda payload: payload["n"])
        refold = connect(emulator, session_token=emulator.issue_token("acct_1"))
        result = await refold.run("wf_1", slug="s", payload={"n": 5}, sync=True)
    assert (result.output, [run.sync for run in emulator.runs]) == (5, [False])
