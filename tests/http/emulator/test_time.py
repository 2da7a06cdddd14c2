"""Time that is skipped, with the client on the emulator's own loop: whatever has a time agrees."""

import asyncio
import hashlib
import hmac
import math
from collections.abc import AsyncGenerator, AsyncIterator
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from refold_async import (
    ExecutionOutcomeUnknownError,
    PollPolicy,
    RateLimit,
    RefoldClient,
    RequestTimeoutError,
    RetryPolicy,
    Timeouts,
    WaitTimeoutError,
)
from refold_async.emulator import Behaviour, Emulator, Fault, NothingIsDueError
from refold_async.emulator import _agenda as agenda
from refold_async.emulator import _time as skipping

AN_HOUR = 3600.0
ONCE = RetryPolicy(mode="never")


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    """An emulator that skips time, with a workflow of three hours and one without an end."""
    async with Emulator(skip_time=True) as emulator:
        with_workflows(emulator)
        yield emulator


@pytest.fixture
async def refold(emulator: Emulator) -> AsyncIterator[RefoldClient]:
    """A client of it."""
    async with emulator.client() as refold:
        yield refold


def with_workflows(emulator: Emulator) -> None:
    """Add the workflows of these tests."""
    stages = ("Start", "Extract", "Load", "Response")
    emulator.workflow("long", slug="s", duration=3 * AN_HOUR, nodes=stages)(lambda given: given)
    emulator.workflow("endless", slug="s", duration=None)(lambda given: given)


async def started(emulator: Emulator) -> None:
    """Let the loop turn until a run has started."""
    while not emulator.runs:  # noqa: ASYNC110 - the emulator tells nobody
        await asyncio.sleep(0)


async def test_three_hours_pass_while_they_are_awaited(
    emulator: Emulator, refold: RefoldClient
) -> None:
    """The run's end comes at once, at its own time, and every document says the same."""
    began = emulator.time.time()
    result = await refold.run("long", slug="s", payload={"n": 1})

    run = result.execution
    assert run is not None
    assert run.created_at is not None
    assert run.completed_at is not None
    assert result.output == {"n": 1}
    assert emulator.time.time() - began == pytest.approx(3 * AN_HOUR, abs=0.01)
    assert run.created_at == datetime.fromtimestamp(began, UTC)
    assert (run.completed_at - run.created_at).total_seconds() == 3 * AN_HOUR
    assert int(run.execution_id[:8], 16) == began
    assert sum(node.duration or 0 for node in run.nodes) == pytest.approx(3 * AN_HOUR)


async def test_a_wait_costs_a_few_requests(emulator: Emulator, refold: RefoldClient) -> None:
    """Looks that would show nothing new are left out, so three hours are a matter of ms."""
    await refold.run("long", slug="s")

    assert emulator.counts.total() <= 4


async def test_many_runs_end_each_at_its_time(emulator: Emulator, refold: RefoldClient) -> None:
    """Two hundred runs are awaited at once; starts go at the client's pace, which is virtual."""
    handles = await asyncio.gather(*(refold.execute("long", slug="s") for _ in range(200)))
    started = emulator.time.time() - emulator.runs[0].created_at
    results = await asyncio.gather(*handles)

    assert {result.status for result in results} == {"COMPLETED"}
    assert started == pytest.approx(195 / RateLimit().per_second, rel=0.1)
    late = emulator.time.time() - emulator.runs[-1].created_at - 3 * AN_HOUR
    assert 0 <= late <= PollPolicy().max_interval + 10  # by as much as looks are apart


@pytest.mark.parametrize("seconds", [math.nan, math.inf, -1, "5", None, True])
async def test_time_passes_by_seconds_alone(emulator: Emulator, seconds: Any) -> None:
    """What would never be over, or is no number, is refused before anybody waits for it."""
    async with asyncio.timeout(60):
        with pytest.raises(ValueError, match=r"time passes by a number of seconds .*, not"):
            await emulator.advance(seconds)
        with pytest.raises(ValueError, match=r"time passes by a number of seconds .*, not"):
            await emulator.time.sleep(seconds)


async def test_a_hundred_years_are_all_there_are(emulator: Emulator) -> None:
    """Beyond them there are no dates to tell; what has passed stays."""
    await emulator.advance(99 * 365 * 86_400.0)
    with pytest.raises(ValueError, match=r"100 years in all, .* 36135 days have passed"):
        await emulator.advance(2 * 365 * 86_400.0)


async def test_what_happens_on_the_way_is_seen_by_who_watches(
    emulator: Emulator, refold: RefoldClient
) -> None:
    """Snapshots and events come while the run goes on, and `eta` falls."""
    handle = await refold.execute("long", slug="s")
    seen, etas = [], []
    async for event in handle.events():
        seen.append((type(event).__name__, emulator.time.time() - emulator.runs[0].created_at))
        if (eta := handle.eta()) is not None:
            etas.append(eta + seen[-1][1])

    times = [at for _, at in seen]
    assert times == sorted(times)
    assert len({round(at / AN_HOUR, 1) for at in times}) >= 4  # one for each node, at its time
    assert times[-1] == pytest.approx(3 * AN_HOUR, abs=120)
    assert etas, "an estimate was given"


async def test_a_wait_times_out_at_its_time(emulator: Emulator, refold: RefoldClient) -> None:
    """`result(timeout=)` is over after so many virtual seconds; the run goes on."""
    handle = await refold.execute("long", slug="s")
    with pytest.raises(WaitTimeoutError) as caught:
        await handle.result(timeout=AN_HOUR)

    assert caught.value.waited == pytest.approx(AN_HOUR)
    assert (await handle).status == "COMPLETED"


async def test_a_sync_run_is_held_in_virtual_time(emulator: Emulator) -> None:
    """One of three hours does not fit into `Timeouts.sync`, and fits into a longer one."""
    async with emulator.client(retry=ONCE) as refold:
        with pytest.raises(ExecutionOutcomeUnknownError):
            await refold.execute("long", slug="s", sync=True)
        after = emulator.time.time() - emulator.runs[0].created_at

        patient = refold.with_options(timeouts=Timeouts(sync=4 * AN_HOUR))
        result = await (await patient.execute("long", slug="s", sync=True))

    assert after == pytest.approx(Timeouts().sync)
    assert result.status == "COMPLETED"
    assert emulator.time.time() - emulator.runs[1].created_at == pytest.approx(3 * AN_HOUR)


async def test_an_answer_that_hangs_ends_with_the_read_timeout(emulator: Emulator) -> None:
    """Half a minute of silence takes no time at all, wherever it comes from."""
    emulator.faults.script("list_workflows", Fault(delay=60.0))
    async with emulator.client(retry=ONCE) as refold:
        with pytest.raises(RequestTimeoutError):
            [workflow async for workflow in refold.workflows.list()]

    assert emulator.time.monotonic() - 1_000.0 == pytest.approx(Timeouts().read)


async def test_a_refusal_by_load_is_waited_out(emulator: Emulator, refold: RefoldClient) -> None:
    """A Retry-After of a minute is a minute on the shared clock."""
    emulator.faults.script("execute", Fault(status=503, headers={"Retry-After": "60"}))
    before = emulator.time.time()
    await refold.execute("long", slug="s")

    assert 60 <= emulator.runs[0].created_at - before < 80


async def test_tokens_expire(emulator: Emulator) -> None:
    """A session token is refused once its lifetime has passed, and renewed."""
    given = []

    async def source() -> str:
        given.append(emulator.time.time())
        return emulator.issue_token("acct_1")

    settings = {"api_key": None, "linked_account_id": None, "session_token": source}
    async with emulator.client(**settings) as refold:
        await refold.ping()
        await emulator.advance(6 * 86_400)
        await refold.ping()
        await emulator.advance(86_400)
        await refold.ping()

    assert [each - given[0] for each in given] == [0, pytest.approx(7 * 86_400)]


async def test_advance_brings_all_that_is_due(emulator: Emulator, refold: RefoldClient) -> None:
    """Runs end at their time, and what is due at the very end has happened too."""
    handle = await refold.execute("long", slug="s")
    await emulator.advance(AN_HOUR)
    half_way = await handle.fetch()
    await emulator.advance(2 * AN_HOUR)

    assert (half_way.status, half_way.completion_percentage) == ("RUNNING", 33)
    assert await handle.status() == "COMPLETED"


async def test_time_passes_though_nothing_is_due(emulator: Emulator) -> None:
    """An advance needs no run, and nobody else who waits."""
    before = emulator.time.time()
    await emulator.advance(5)

    assert emulator.time.time() == before + 5


async def serve(answers: list[int], taken: list[Any]) -> tuple[web.ServerRunner, str]:
    """A receiver of webhooks that answers with these statuses, then 200."""

    async def take(request: web.BaseRequest) -> web.Response:
        taken.append((await request.read(), request.headers["x-cobalt-signature"]))
        return web.Response(status=answers.pop(0) if answers else 200)

    runner = web.ServerRunner(web.Server(take))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    return runner, f"http://127.0.0.1:{site.port}/hook"


async def test_webhooks_are_delivered_and_retried_in_virtual_time(
    emulator: Emulator, refold: RefoldClient
) -> None:
    """The end of a run is told when it comes, and again after pauses; `advance` waits for all."""
    taken: list[Any] = []
    receiver, url = await serve([500, 500], taken)
    try:
        emulator.pushes.backoff = 60.0
        await refold.webhooks.create(url, events=["Workflow Completed"])
        handle = await refold.execute("long", slug="s")
        ends_at = emulator.runs[0].created_at + 3 * AN_HOUR
        await emulator.advance(3 * AN_HOUR + 180)
    finally:
        await receiver.cleanup()

    at = [delivery.at - ends_at for delivery in emulator.pushes.deliveries]
    assert at == [pytest.approx(each, abs=0.01) for each in (0, 60, 180)]
    body, signature = taken[-1]
    assert hmac.new(b"tk_emulator", body, hashlib.sha256).hexdigest() == signature
    assert handle.execution_id is not None
    assert handle.execution_id.encode() in body


async def test_a_delivery_under_way_stops_the_time(emulator: Emulator) -> None:
    """A receiver that takes its real time is waited for; only then the time goes on."""
    times = []

    async def slow(request: web.BaseRequest) -> web.Response:
        await request.read()
        before = emulator.time.time()
        await asyncio.sleep(0.05)
        times.append(emulator.time.time() - before)
        return web.Response()

    runner = web.ServerRunner(web.Server(slow))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    emulator.workflow("short", slug="s", duration=1.0)(dict)
    try:
        async with emulator.client() as refold:
            url = f"http://127.0.0.1:{site.port}/"
            await refold.webhooks.create(url, events=["Workflow Completed"])
            await refold.execute("short", slug="s")
            await refold.run("long", slug="s")
    finally:
        await runner.cleanup()

    assert times[0] == 0


async def test_a_wait_for_what_never_ends_says_so(emulator: Emulator, refold: RefoldClient) -> None:
    """Nothing is due: each who waits is told at once, with the run and its workflow."""
    handle = await refold.execute("endless", slug="s")
    other = await refold.execute("endless", slug="s")
    before = emulator.counts.total()
    failures = await asyncio.gather(handle, other, return_exceptions=True)

    assert [type(failure) for failure in failures] == [NothingIsDueError] * 2
    assert f"execution {handle.execution_id} of workflow 'endless'" in str(failures[0])
    assert "1 more like it" in str(failures[0])
    assert emulator.counts.total() - before <= 4

    emulator.finish(str(handle.execution_id))
    assert (await handle).status == "COMPLETED"


async def test_who_watches_what_never_ends_is_told(
    emulator: Emulator, refold: RefoldClient
) -> None:
    """Snapshots of such a run end the same way."""
    handle = await refold.execute("endless", slug="s")
    with pytest.raises(NothingIsDueError, match="endless"):
        [each async for each in handle.snapshots()]


async def test_a_wait_with_a_limit_ends_by_it(emulator: Emulator, refold: RefoldClient) -> None:
    """Two weeks of waiting for a run without an end are a timeout, after few requests."""
    handle = await refold.execute("endless", slug="s")
    with pytest.raises(WaitTimeoutError):
        await handle.result(timeout=14 * 86_400.0)

    assert emulator.counts.total() < 8


async def test_another_run_may_still_end_it(emulator: Emulator, refold: RefoldClient) -> None:
    """While anything is due, a run without an end may be ended by what that leads to."""
    endless = await refold.execute("endless", slug="s")
    long = await refold.execute("long", slug="s")

    async def finish() -> None:
        await long
        emulator.finish(str(endless.execution_id))

    result, _ = await asyncio.gather(endless, finish())

    assert result.status == "COMPLETED"


async def test_who_waits_for_ever_is_told_in_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A run has ended and never shows it: after a virtual limit its wait fails."""
    monkeypatch.setattr(agenda, "LIMIT", AN_HOUR)
    behind = Behaviour(list_lag=1e7, list_lead=1e7)
    async with Emulator(skip_time=True, behaviour=behind) as emulator:
        with_workflows(emulator)
        async with emulator.client(polling=PollPolicy(max_interval=600)) as refold:
            handle = await refold.execute("long", slug="s")
            with pytest.raises(NothingIsDueError, match="long"):
                await handle
        waited = emulator.time.time() - emulator.runs[0].created_at

    assert 4 * AN_HOUR < waited < 5 * AN_HOUR


async def test_nobody_waits_and_time_stands(emulator: Emulator, refold: RefoldClient) -> None:
    """Real pauses of a test, and attempts whose callers have left, move nothing."""
    waiting = asyncio.create_task(refold.execute("long", slug="s", sync=True))
    await started(emulator)
    waiting.cancel()
    await asyncio.wait([waiting])
    before = emulator.time.time()
    await asyncio.sleep(0.05)
    stood = emulator.time.time() == before
    await emulator.advance(60)  # ten seconds for the answer, then it is looked up

    assert stood
    assert len(refold.orphans) == 1


async def test_a_hold_stops_the_time(emulator: Emulator, refold: RefoldClient) -> None:
    """Somebody waits, and something real goes on beside it: time stands until that is over."""
    handle = await refold.execute("long", slug="s")
    before = emulator.time.time()
    waiting = asyncio.create_task(handle.result())
    with emulator.time.hold("a database"):
        await asyncio.sleep(0.05)
        during = emulator.time.time() - before
    await waiting

    assert during == 0
    assert emulator.time.time() - before == pytest.approx(3 * AN_HOUR, abs=0.01)


async def test_who_waits_within_a_hold_waits(emulator: Emulator, refold: RefoldClient) -> None:
    """A hold is no trap: what waits within it itself is served."""
    with emulator.time.hold():
        result = await refold.run("long", slug="s")
        await emulator.time.sleep(5)

    assert result.status == "COMPLETED"


async def test_who_waits_within_several_holds_waits(
    emulator: Emulator, refold: RefoldClient
) -> None:
    """A hold within a hold, of a fixture and a helper or of a task's own, is no trap either."""

    async def child() -> bool:
        with emulator.time.hold("child"):
            return (await refold.run("long", slug="s")).ok

    async with asyncio.timeout(5):
        with emulator.time.hold("fixture"), emulator.time.hold("helper"):
            inner = (await refold.run("long", slug="s")).ok
            both = await asyncio.gather(child(), child())

    assert [inner, *both] == [True] * 3


async def test_a_hold_within_one_that_waits_stops_the_time(emulator: Emulator) -> None:
    """Who waits beside it, in the same outer hold, is no waiter of its own."""
    let_go = asyncio.Event()

    async def database() -> None:
        with emulator.time.hold("a database"):
            await let_go.wait()

    with emulator.time.hold():
        busy = asyncio.create_task(database())
        sleeping = asyncio.create_task(emulator.time.sleep(5))
        await asyncio.sleep(0.02)
        stood = not sleeping.done()
        let_go.set()
        await asyncio.gather(busy, sleeping)

    assert stood


async def test_a_hold_ends_wherever_it_is_left(emulator: Emulator, refold: RefoldClient) -> None:
    """Another task may close a generator that holds, and holds may end in any order."""

    async def held() -> AsyncGenerator[int]:
        with emulator.time.hold("a fixture"):
            yield 1

    generator = held()
    await asyncio.create_task(anext(generator))
    await generator.aclose()
    first, second = emulator.time.hold("first"), emulator.time.hold("second")
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    async with asyncio.timeout(5):
        within = (await refold.run("long", slug="s")).ok
        second.__exit__(None, None, None)
        after = await asyncio.create_task(refold.run("long", slug="s"))

    assert (within, after.ok) == (True, True)


async def test_time_stands_while_a_workflow_function_runs(
    emulator: Emulator, refold: RefoldClient
) -> None:
    """A coroutine that takes real time takes none of the clock's, but for what it sleeps of it."""
    seen: list[float] = []

    @emulator.workflow("slow", slug="s")
    async def slow(_: Any) -> None:
        seen.append(emulator.time.time())
        await asyncio.sleep(0.05)
        seen.append(emulator.time.time())
        await emulator.time.sleep(AN_HOUR)
        await refold.run("long", slug="s")
        seen.append(emulator.time.time())

    result = await refold.run("slow", slug="s")

    assert result.ok
    assert seen[1] == seen[0]
    assert seen[2] - seen[1] == pytest.approx(4 * AN_HOUR, abs=1)


async def test_a_standstill_says_what_is_under_way(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A function that never returns stops the time: the log names it, and what waits."""
    monkeypatch.setattr(skipping, "STANDSTILL", 0.01)
    let_go = asyncio.Event()
    async with Emulator(skip_time=True) as emulator, emulator.client() as refold:

        @emulator.workflow("stuck", slug="s")
        async def stuck(_: Any) -> None:
            await let_go.wait()

        handle = await refold.execute("stuck", slug="s")
        waiting = asyncio.create_task(handle.result())
        while not caplog.records:  # noqa: ASYNC110 - the log tells nobody
            await asyncio.sleep(0.01)
        let_go.set()
        await waiting

    said = caplog.records[0].getMessage()
    assert "under way is the function of workflow 'stuck'" in said
    assert str(handle.execution_id) in said


async def test_a_standstill_is_told_of_though_something_spins(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Callbacks that are due at once, again and again, are no progress: the log says so."""
    monkeypatch.setattr(skipping, "STANDSTILL", 0.01)
    spinning = True
    async with Emulator(skip_time=True) as emulator:
        time = emulator.time

        def again() -> None:
            if spinning:
                time.call_later(0, again)

        again()
        waiting = asyncio.create_task(time.sleep(5))
        async with asyncio.timeout(5):
            while not caplog.records:  # noqa: ASYNC110 - the log tells nobody
                await asyncio.sleep(0.01)
            spinning = False
            await waiting

    said = caplog.records[0].getMessage()
    assert said.startswith("time stands still: waited for is a sleep of 5 s; under way is ")


async def test_deep_chains_of_tasks_are_run_first(emulator: Emulator, refold: RefoldClient) -> None:
    """What needs sixty turns of the loop has them before time moves."""
    handle = await refold.execute("long", slug="s")
    before = emulator.time.time()

    async def nested(depth: int) -> float:
        if not depth:
            return emulator.time.time()
        (found,) = await asyncio.gather(nested(depth - 1))
        return found

    _, at = await asyncio.gather(handle, nested(60))

    assert at == before


async def test_who_spins_does_not_stop_the_time(emulator: Emulator, refold: RefoldClient) -> None:
    """A test that asks in a tight loop is as quiet as it gets."""
    waiting = asyncio.create_task(refold.run("long", slug="s"))
    while not waiting.done():  # noqa: ASYNC110 - this is what spins
        await asyncio.sleep(0)

    assert waiting.result().ok


async def test_a_foreign_client_waits_too(emulator: Emulator) -> None:
    """curl, or any HTTP client that knows no clock, gets the answer to a sync run at once."""
    headers = {
        "x-api-key": emulator.api_key,
        "linked_account_id": "acct_1",
        "slug": "s",
        "sync_execution": "true",
    }
    path = f"{emulator.base_url}/api/v2/public/workflow/long/execute"
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.post(path, json={"payload": {"n": 1}}) as answer,
    ):
        document = await answer.json()

    assert document["return_value"] == {"n": 1}


@pytest.mark.parametrize("how", ["stop", "finish"])
async def test_a_held_answer_hears_of_an_early_end(emulator: Emulator, how: str) -> None:
    """A sync run that is ended by hand is answered then, not at the time it would have taken."""
    async with emulator.client(timeouts=Timeouts(sync=4 * AN_HOUR)) as refold:
        call = asyncio.create_task(refold.execute("long", slug="s", sync=True))
        with emulator.time.hold():
            await started(emulator)
            [run] = emulator.runs
            if how == "finish":
                emulator.finish(run.execution_id, status="TERMINATED")
            else:
                await refold.executions.stop(run.execution_id)
        result = await (await call).wait()

    assert not result.ok
    assert emulator.time.time() - run.created_at < 1


async def test_pauses_of_the_client_are_skipped(emulator: Emulator) -> None:
    """Retries, and looks for a lost answer, wait in virtual time."""
    emulator.faults.script("execute", Fault(drop="after"))
    async with emulator.client() as refold:
        handle = await refold.execute("long", slug="s")

    assert handle.execution_id == emulator.runs[0].execution_id
    assert emulator.time.time() - emulator.runs[0].created_at >= RetryPolicy().settle


async def test_a_client_finds_the_time_of_its_base_url(emulator: Emulator) -> None:
    """Settings are enough, and so is the name `localhost`; afterwards the time is the system's."""
    async with RefoldClient(**emulator.settings) as refold:
        await refold.run("long", slug="s")
    url = emulator.base_url.replace("127.0.0.1", "localhost")
    async with emulator.client(base_url=url) as refold:
        await refold.run("long", slug="s")
    await emulator.aclose()
    later = RefoldClient(**emulator.settings)

    assert emulator.time.time() - emulator.runs[0].created_at == pytest.approx(21_600, abs=1)
    assert later._services.clock.time() != emulator.time.time()


async def test_settings_name_an_account_there_is() -> None:
    """Where accounts are given, the client is one of theirs."""
    emulator = Emulator(behaviour=Behaviour(linked_accounts=["zoe", "amy"]))

    assert emulator.settings["linked_account_id"] == "amy"


async def test_time_is_one_or_the_other() -> None:
    """A clock of one's own and skipped time exclude each other; real time is not skipped."""
    with pytest.raises(ValueError, match="leave `now` out"):
        Emulator(skip_time=True, now=lambda: 0.0)
    with pytest.raises(RuntimeError, match="skip_time=True"):
        await Emulator().advance(1)
