"""End to end: the emulator delivers what ended, and waiting handles settle, whatever goes wrong."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from refold_async import (
    ClientClosedError,
    ConfigError,
    ExecutionHandle,
    ExecutionRequest,
    ExecutionStatus,
    PollPolicy,
    RefoldClient,
    RetryPolicy,
)
from refold_async.emulator import Emulator, NodeFailed
from refold_async.webhooks import ConnectionEvent, WebhookEvent, aiohttp_handler, asgi, parse
from tests.support.deliveries import connection_event, encoded, sign, workflow_event
from tests.support.receiving import PATH, request, serving_aiohttp, serving_asgi, status_of, talk

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

NEVER = PollPolicy(first=600.0, max_interval=600.0, push_sweep=600.0, not_found_grace=60.0)
"""No look would be in time: what settles was told by a push."""
READS = ("get_execution", "get_response", "list_executions")


@pytest.fixture
async def house(
    emulator: Emulator, connect: Callable[..., RefoldClient]
) -> AsyncIterator[RefoldClient]:
    """A client whose webhook is served and subscribed; it would never look in time."""
    async with told(emulator, connect(emulator, polling=NEVER)) as refold:
        yield refold


@asynccontextmanager
async def told(
    emulator: Emulator, refold: RefoldClient, *, kind: str = "aiohttp"
) -> AsyncIterator[RefoldClient]:
    """Serve a client's webhook and subscribe it."""

    @emulator.workflow("wf_1", slug="s", duration=lambda payload: payload["seconds"])
    def work(payload: dict[str, Any]) -> Any:
        if payload.get("fails"):
            raise NodeFailed(node="Work", message="no")
        return {"n": payload["n"]}

    serve = serving_aiohttp(aiohttp_handler(refold)) if kind == "aiohttp" else None
    async with serve or serving_asgi(asgi(refold)) as port:
        await refold.webhooks.create(f"http://127.0.0.1:{port}{PATH}")
        yield refold


async def start(
    refold: RefoldClient, n: int = 1, seconds: float = 0.1, **more: Any
) -> ExecutionHandle[Any]:
    """Start a run."""
    payload = {"n": n, "seconds": seconds} | more
    return await refold.execute("wf_1", slug="s", payload=payload)


def reads(emulator: Emulator) -> int:
    """How often the service was asked how a run is."""
    return sum(emulator.counts[name] for name in READS)


async def delivered(emulator: Emulator, number: int) -> None:
    """Wait until so many deliveries were tried."""
    while len(emulator.pushes.deliveries) < number:  # noqa: ASYNC110 - the emulator tells nobody
        await asyncio.sleep(0.005)


# -- what it is for ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["aiohttp", "asgi"])
async def test_a_handle_settles_by_its_push_with_one_read(
    emulator: Emulator, connect: Callable[..., RefoldClient], kind: str
) -> None:
    """Output and all, as soon as it has ended."""
    async with told(emulator, connect(emulator, polling=NEVER), kind=kind) as refold:
        handle = await start(refold, n=7)
        result = await handle.result()
        assert (result.status, result.output) == (ExecutionStatus.COMPLETED, {"n": 7})
        assert reads(emulator) == 1
        stats = refold.stats
        assert (stats.polls, stats.sweeps, stats.wasted, stats.settled) == (0, 0, 0, 1)
        assert (stats.waiting.told_by_push, stats.waiting.told_by_looks) == (1, 0)


@pytest.mark.parametrize("seconds", [0.0, 0.05])
async def test_runs_that_hardly_last_settle_by_their_push(
    house: RefoldClient, emulator: Emulator, seconds: float
) -> None:
    """The event may come before the answer to the start, or before anybody waits."""
    handles = await asyncio.gather(*(start(house, n=n, seconds=seconds) for n in range(40)))
    await asyncio.sleep(0.1)
    results = await asyncio.gather(*handles)
    assert [result.output["n"] for result in results] == [*range(40)]
    assert reads(emulator) == 40
    assert house.stats.polls + house.stats.sweeps <= 2


async def test_every_way_to_wait_is_told(house: RefoldClient, emulator: Emulator) -> None:
    """`run`, `wait` without output, snapshots, `map` and `run_batch`."""
    payload = {"n": 1, "seconds": 0.05}
    assert (await house.run("wf_1", slug="s", payload=payload)).output == {"n": 1}
    assert (await (await start(house)).wait(output=False)).status is ExecutionStatus.COMPLETED
    seen = [snapshot.status async for snapshot in (await start(house)).snapshots()]
    assert seen[-1] is ExecutionStatus.COMPLETED
    requests = [ExecutionRequest(workflow_id="wf_1", slug="s", payload=payload) for _ in range(5)]
    async for item in house.map(requests):
        assert item.outcome == "succeeded"
    report = await house.run_batch(requests)
    assert report.succeeded == 5


async def test_a_bad_ending_is_told_too(house: RefoldClient) -> None:
    """With the node it failed at, which the document says."""
    result = await (await start(house, fails=True)).wait()
    assert result.status is ExecutionStatus.ERRORED
    assert result.execution is not None


async def test_many_handles_and_tasks_of_a_run_need_one_read(
    house: RefoldClient, emulator: Emulator
) -> None:
    """One settlement for all."""
    handle = await start(house)
    again = house.handle(str(handle.execution_id))
    results = await asyncio.gather(handle, handle.wait(), again, again.result())
    assert {id(result) for result in results} == {id(results[0])}
    assert reads(emulator) == 1


async def test_a_session_tokens_client_is_told_with_the_key_beside_it(
    emulator: Emulator, connect: Callable[..., RefoldClient]
) -> None:
    """It does not know its account by name; the id decides."""
    token = emulator.issue_token("acct_1")
    refold = connect(emulator, session_token=token, linked_account_id=None, polling=NEVER)
    keyed = connect(emulator)

    @emulator.workflow("wf_1", slug="s", duration=0.1)
    def work(payload: dict[str, Any]) -> Any:
        return payload

    async with serving_aiohttp(aiohttp_handler(refold, api_key=emulator.api_key)) as port:
        await keyed.webhooks.create(f"http://127.0.0.1:{port}{PATH}")
        assert (await refold.run("wf_1", slug="s", payload={"n": 1})).output == {"n": 1}
    assert refold.stats.waiting.told_by_push == 1


# -- what goes wrong -----------------------------------------------------------------------------


async def test_a_push_that_comes_twice_or_in_disorder_changes_nothing(
    house: RefoldClient, emulator: Emulator
) -> None:
    """Each run settles once, with its own output."""
    emulator.pushes.twice, emulator.pushes.delay = 1.0, (0.0, 0.2)
    handles = [await start(house, n=n, seconds=0.05) for n in range(20)]
    results = await asyncio.gather(*handles)
    assert [result.output["n"] for result in results] == [*range(20)]
    await delivered(emulator, 40)
    await asyncio.sleep(0.05)
    assert reads(emulator) == 20


async def test_pushes_that_are_lost_are_made_up_for_by_looks(
    emulator: Emulator, connect: Callable[..., RefoldClient]
) -> None:
    """Nobody waits for what does not come."""
    async with told(emulator, connect(emulator)) as refold:
        emulator.pushes.lost = 0.5
        handles = [await start(refold, n=n) for n in range(40)]
        results = await asyncio.gather(*handles)
    assert [result.output["n"] for result in results] == [*range(40)]
    waiting = refold.stats.waiting
    assert waiting.told_by_push + waiting.told_by_looks == 40
    assert waiting.told_by_looks > 5


async def test_a_push_that_is_late_comes_for_a_settled_run(
    emulator: Emulator, connect: Callable[..., RefoldClient]
) -> None:
    """The look was first: nothing is read for it any more."""
    async with told(emulator, connect(emulator)) as refold:
        emulator.pushes.delay = (0.4, 0.4)
        await (await start(refold)).result()
        before = reads(emulator)
        await delivered(emulator, 1)
        assert reads(emulator) == before
        assert refold.stats.waiting.told_by_looks == 1


async def test_what_somebody_without_the_key_tells_at_the_start_settles_nothing(
    house: RefoldClient, emulator: Emulator
) -> None:
    """Each run is said to have failed while it goes on: that is refused, its own push is not."""
    emulator.pushes.forged = 1.0
    handles = [await start(house, n=n, seconds=0.05) for n in range(10)]
    results = await asyncio.gather(*handles)
    assert [result.output["n"] for result in results] == [*range(10)]
    await delivered(emulator, 20)
    forged = [each for each in emulator.pushes.deliveries if each.forged]
    assert [(each.event, each.status, each.attempt) for each in forged] == [
        ("Workflow Errored", 401, 1)
    ] * 10
    assert reads(emulator) == 10


async def test_deliveries_that_are_stopped_for_a_while_come_when_they_go_on(
    house: RefoldClient, emulator: Emulator
) -> None:
    """All at once, and each run settles by its own."""
    emulator.pushes.stopped = True
    handles = [await start(house, n=n, seconds=0.0) for n in range(5)]
    waiting = asyncio.gather(*handles)
    await asyncio.sleep(0.1)
    assert (len(emulator.pushes.deliveries), reads(emulator), waiting.done()) == (0, 0, False)
    emulator.pushes.stopped = False
    assert [result.output["n"] for result in await waiting] == [*range(5)]
    assert reads(emulator) == 5


async def test_a_connections_event_reaches_on_event(
    emulator: Emulator, connect: Callable[..., RefoldClient]
) -> None:
    """The emulator tells of it by hand, to those who have subscribed to it."""
    refold = connect(emulator)
    told: asyncio.Queue[WebhookEvent] = asyncio.Queue()
    account = {"linked_account_id": "acct_1", "slug": "hubspot"}
    async with serving_aiohttp(aiohttp_handler(refold, on_event=told.put)) as port:
        await refold.webhooks.create(f"http://127.0.0.1:{port}{PATH}")
        url = f"http://127.0.0.1:{port}{PATH}"
        await refold.webhooks.create(url, events=["Connection Expired"], workflow_ids=["wf_1"])
        emulator.connection_event("Connection Created", **account)
        emulator.connection_event("Connection Expired", **account)
        event = await told.get()
    assert isinstance(event, ConnectionEvent)
    assert (event.kind, event.linked_account_id, event.slug, event.environment) == (
        "Connection Expired",
        "acct_1",
        "hubspot",
        "test",
    )
    assert event.created_at is not None
    assert [each.execution_id for each in emulator.pushes.deliveries] == [None]
    with pytest.raises(ValueError, match="Connection Deleted"):
        emulator.connection_event("Connection Lost", **account)


async def test_a_template_of_your_own_is_filled_in_body_and_headers(
    emulator: Emulator, connect: Callable[..., RefoldClient]
) -> None:
    """One that keeps the event settles the run as any other; its headers may say things too."""
    refold, seen = connect(emulator, polling=NEVER), []
    take = aiohttp_handler(refold)

    async def handle(request: web.Request) -> web.StreamResponse:
        seen.append(request.headers["X-Workflow"])
        return await take(request)

    @emulator.workflow("wf_1", slug="s", duration=0.05)
    def work(payload: dict[str, Any]) -> Any:
        return payload

    async with serving_aiohttp(handle) as port:
        await refold.webhooks.create(
            f"http://127.0.0.1:{port}{PATH}",
            type="custom",
            headers={"X-Workflow": "is {{ event.workflow_id }}"},
            body='{"event": {{event}}, "n": {{workflow_response.n}}}',
        )
        assert (await refold.run("wf_1", slug="s", payload={"n": 7})).output == {"n": 7}
    [delivery] = emulator.pushes.deliveries
    body = json.loads(delivery.body)
    assert (seen, body["n"], body["event"]["status"]) == (["is wf_1"], 7, "COMPLETED")


async def test_a_receiver_that_is_busy_gets_it_again(
    emulator: Emulator, connect: Callable[..., RefoldClient]
) -> None:
    """500, 503, 503, and then it is taken: three times more is what the service tries."""
    refold = connect(emulator, polling=NEVER)
    taken = aiohttp_handler(refold)
    answers = [500, 503, 503]

    async def busy(request: web.Request) -> web.StreamResponse:
        return web.Response(status=answers.pop(0)) if answers else await taken(request)

    emulator.pushes.backoff = 0.02

    @emulator.workflow("wf_1", slug="s", duration=0.05)
    def work(payload: dict[str, Any]) -> Any:
        return payload

    async with serving_aiohttp(busy) as port:
        await refold.webhooks.create(f"http://127.0.0.1:{port}{PATH}")
        assert (await refold.run("wf_1", slug="s", payload={"n": 1})).output == {"n": 1}
    tries = [(each.attempt, each.status) for each in emulator.pushes.deliveries]
    assert tries == [(1, 500), (2, 503), (3, 503), (4, 200)]


async def test_forged_foreign_and_replayed_events_make_no_request(
    emulator: Emulator, connect: Callable[..., RefoldClient]
) -> None:
    """Whatever is sent to the route: the waiting run is not looked at for it."""
    refold = connect(emulator, polling=NEVER)

    @emulator.workflow("wf_1", slug="s", duration=None)
    def work(payload: dict[str, Any]) -> Any:
        return payload

    async with serving_aiohttp(aiohttp_handler(refold)) as port:
        handle = await start(refold)
        task = asyncio.create_task(handle.result())
        await asyncio.sleep(0)
        body = encoded(workflow_event(instance_id=handle.execution_id))
        assert status_of(await talk(port, request(body, signature="0" * 64))) == 401
        foreign = encoded(
            workflow_event(linked_account_id="other", instance_id=handle.execution_id)
        )
        assert status_of(await talk(port, _signed(emulator, foreign))) == 200
        unknown = encoded(workflow_event(instance_id="6a314c54d4616e99e7fa5aff"))
        for _ in range(3):
            assert status_of(await talk(port, _signed(emulator, unknown))) == 200
        assert reads(emulator) == 0
        assert not task.done()
        emulator.finish(str(handle.execution_id))
        for _ in range(3):
            assert status_of(await talk(port, _signed(emulator, body))) == 200
        assert (await task).status is ExecutionStatus.COMPLETED
        assert reads(emulator) == 1


def _signed(emulator: Emulator, body: bytes) -> bytes:
    return request(body, signature=sign(body, emulator.api_key))


# -- notify by hand ------------------------------------------------------------------------------


async def test_notify_takes_any_event_at_any_time(
    emulator: Emulator, connect: Callable[..., RefoldClient]
) -> None:
    """Before the first call, of connections, of what is new, and after the end: all harmless."""
    refold = connect(emulator)
    events = [
        encoded(workflow_event()),
        encoded(workflow_event(event="Workflow Paused")),
        encoded(connection_event()),
        encoded({"event": "Plan Changed"}),
    ]
    for _ in range(2):
        assert [refold.notify(parse(body)) for body in events] == [False] * 4
        await refold.aclose()
    with pytest.raises(ConfigError, match="event"):
        refold.notify({"instance_id": "1"})  # type: ignore[arg-type]
    assert emulator.counts.total() == 0


async def test_an_event_that_is_no_end_is_no_reason_to_read(
    emulator: Emulator, connect: Callable[..., RefoldClient]
) -> None:
    """The service may come to tell more of runs than their ends."""
    refold = connect(emulator, polling=NEVER)

    @emulator.workflow("wf_1", slug="s", duration=None)
    def work(payload: dict[str, Any]) -> Any:
        return payload

    handle = await start(refold)
    task = asyncio.create_task(handle.result())
    await asyncio.sleep(0)
    event = workflow_event(instance_id=handle.execution_id, event="Workflow Started")
    assert refold.notify(parse(encoded(event))) is False
    assert reads(emulator) == 0
    await refold.aclose()
    with pytest.raises(ClientClosedError):
        await task


async def test_notify_belongs_to_the_clients_loop(
    emulator: Emulator, connect: Callable[..., RefoldClient]
) -> None:
    """From a thread it says how to get there, and does nothing."""
    refold = connect(emulator)
    assert [each async for each in refold.workflows.list()] == []
    event = parse(encoded(workflow_event()))
    with pytest.raises(ConfigError, match="call_soon_threadsafe"):
        await asyncio.to_thread(refold.notify, event)
    with pytest.raises(ConfigError, match="call_soon_threadsafe"):
        await asyncio.to_thread(lambda: asyncio.run(_notify(refold, event)))


async def _notify(refold: RefoldClient, event: Any) -> bool:
    return refold.notify(event)


async def test_a_view_tells_the_client_it_came_from(
    house: RefoldClient, emulator: Emulator
) -> None:
    """All views share one tracker, so one route serves them all."""
    view = house.for_account("acct_2").with_options(retry=RetryPolicy(mode="never"))
    assert view.webhook_keys == house.webhook_keys
    result = await view.run("wf_1", slug="s", payload={"n": 3, "seconds": 0.05})
    assert result.output == {"n": 3}
    assert reads(emulator) == 1
