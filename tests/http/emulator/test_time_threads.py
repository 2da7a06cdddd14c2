"""Time that is skipped, over threads and loops: the emulator in one, its clients in others."""

import asyncio
import gc
import os
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient

from refold_async import RefoldClient, Timeouts
from refold_async.emulator import Emulator, NothingIsDueError, VirtualTime

AN_HOUR = 3600.0


@pytest.fixture(autouse=True)
def _with_workflows(refold_emulator: Emulator) -> None:
    refold_emulator.workflow("long", slug="s", duration=3 * AN_HOUR)(lambda given: given)
    refold_emulator.workflow("endless", slug="s", duration=None)(dict)


def service(settings: dict[str, Any]) -> FastAPI:
    """A service with a client of its own, made for its own loop."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with RefoldClient(**settings) as app.state.refold:
            yield

    app = FastAPI(lifespan=lifespan)

    @app.post("/import")
    async def run_import(request: Request) -> Any:
        result = await request.app.state.refold.run("long", slug="s", payload={"n": 1})
        return result.output

    return app


async def run_once(emulator: Emulator, workflow: str = "long") -> Any:
    """Await a run with a client of the running loop."""
    async with emulator.client() as refold:
        return (await refold.run(workflow, slug="s", payload={"n": 1})).output


def test_a_service_behind_testclient_skips_time(
    refold_emulator: Emulator, refold_time: VirtualTime
) -> None:
    """FastAPI's TestClient runs the app in a thread of its own; three hours pass all the same."""
    before = refold_time.time()
    with TestClient(service(refold_emulator.settings)) as client:
        answers = [client.post("/import").json() for _ in range(3)]

    assert answers == [{"n": 1}] * 3
    assert refold_time.time() - before == pytest.approx(9 * AN_HOUR, abs=1)


async def test_a_service_behind_asgi_transport_skips_time(
    refold_emulator: Emulator, refold_time: VirtualTime
) -> None:
    """An ASGITransport calls the app on the test's own loop."""
    app = service(refold_emulator.settings)
    before = refold_time.time()
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://app") as client,
    ):
        answer = await client.post("/import")

    assert answer.json() == {"n": 1}
    assert refold_time.time() - before == pytest.approx(3 * AN_HOUR, abs=1)


async def test_an_idle_client_of_a_blocked_loop_is_no_hindrance(
    refold_emulator: Emulator, refold: RefoldClient
) -> None:
    """An async test that blocks its loop in TestClient has a client there, with nothing to do."""
    await refold.run("long", slug="s")
    with TestClient(service(refold_emulator.settings)) as client:
        answer = client.post("/import")

    assert answer.json() == {"n": 1}


def test_clients_in_threads_wait_side_by_side(
    refold_emulator: Emulator, refold_time: VirtualTime
) -> None:
    """Five threads, each with a loop and a client: each gets its own, and no loop is run past."""
    results: list[Any] = []

    def work() -> None:
        results.append(asyncio.run(run_once(refold_emulator)))

    threads = [threading.Thread(target=work) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert results == [{"n": 1}] * 5
    for run in refold_emulator.runs:
        assert run.ends_at is not None
        assert run.ends_at <= refold_time.time()


@pytest.mark.skipif(
    os.environ.get("REFOLD_TEST_LOOP") == "uvloop", reason="uvloop does not show what it has to run"
)
def test_no_thread_runs_past_what_another_does(refold_emulator: Emulator) -> None:
    """A loop on which somebody waits is asked whether it is quiet before time moves."""
    ended: list[float] = []

    async def watch_the_time() -> None:
        async with refold_emulator.client() as refold:
            handle = await refold.execute("long", slug="s")
            waiting = asyncio.create_task(handle.result())
            await asyncio.sleep(0)  # from here on this loop waits, too
            for _ in range(200):  # of 0.1 ms, in which this loop always has something to do
                before = refold_emulator.time.time()
                for _ in range(20):
                    await asyncio.sleep(0)
                ended.append(refold_emulator.time.time() - before)
            await waiting

    thread = threading.Thread(target=asyncio.run, args=(run_once(refold_emulator),))
    thread.start()
    asyncio.run(watch_the_time())
    thread.join()

    assert max(ended) < 1  # but for a millisecond for each start


def test_a_synchronous_test_advances(refold_emulator: Emulator, refold_time: VirtualTime) -> None:
    """Without a loop of its own a test lets time pass by `advance_blocking`."""

    async def start() -> None:
        async with refold_emulator.client() as refold:
            await refold.execute("long", slug="s")

    asyncio.run(start())
    refold_time.advance_blocking(3 * AN_HOUR)
    [run] = refold_emulator.runs

    assert run.is_over(refold_time.time())


async def test_blocking_is_for_other_threads() -> None:
    """On the emulator's own loop it would wait for itself: that is refused."""
    async with Emulator(skip_time=True) as emulator:
        with pytest.raises(RuntimeError, match="await advance"):
            emulator.time.advance_blocking(1.0)


def test_a_wait_in_a_thread_is_told_that_nothing_is_due(refold_emulator: Emulator) -> None:
    """The error comes up where the waiting is."""
    with pytest.raises(NothingIsDueError, match="'endless'"):
        asyncio.run(run_once(refold_emulator, "endless"))


def test_a_held_answer_is_ended_from_another_thread(refold_emulator: Emulator) -> None:
    """`finish` may be called from the test's thread, also while the function runs."""
    stuck = asyncio.Event()

    @refold_emulator.workflow("stuck", slug="s")
    async def wait(_: Any) -> None:
        await stuck.wait()

    async def hold() -> Any:
        async with refold_emulator.client(timeouts=Timeouts(sync=AN_HOUR)) as refold:
            return await (await refold.execute("stuck", slug="s", sync=True)).wait()

    def finish() -> None:
        while not refold_emulator.runs:
            time.sleep(0.001)
        refold_emulator.finish(refold_emulator.runs[0].execution_id, status="TERMINATED")

    thread = threading.Thread(target=finish)
    thread.start()
    result = asyncio.run(hold())
    thread.join()

    assert not result.ok


def test_a_loop_that_ended_with_waits_is_forgotten(refold_emulator: Emulator) -> None:
    """A loop that is closed in the middle of a wait hinders nobody afterwards."""

    async def give_up() -> None:
        async with refold_emulator.client() as refold:
            handle = await refold.execute("long", slug="s")
            task = asyncio.create_task(handle.result())
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])

    asyncio.run(give_up())
    gc.collect()

    assert asyncio.run(run_once(refold_emulator)) == {"n": 1}


def test_events_of_connections_are_told_from_another_thread(
    refold_emulator: Emulator, refold_time: VirtualTime
) -> None:
    """A synchronous test has the emulator deliver one; it is tried again while time passes."""

    async def subscribe() -> None:
        async with refold_emulator.client() as refold:
            await refold.webhooks.create("http://127.0.0.1:9/", events=["Connection Expired"])

    asyncio.run(subscribe())
    refold_emulator.connection_event("Connection Expired", linked_account_id="acct_1", slug="s")
    refold_time.advance_blocking(60)

    tried = [(each.event, each.status) for each in refold_emulator.pushes.deliveries]
    assert tried == [("Connection Expired", None)] * 4
