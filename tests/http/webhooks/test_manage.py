"""Webhooks are made, found, changed and removed; `ensure` ends with exactly one."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from refold_async import (
    BadRequestError,
    ConfigError,
    NotFoundError,
    RefoldClient,
    ServerError,
    Webhook,
)
from refold_async.emulator import Emulator, Fault
from refold_async.webhooks import WORKFLOW_EVENTS, WebhookEventKind
from tests.support.endings import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

URL = "https://service.example/refold/webhooks"
TEMPLATE = '{"event": {{event}}, "workflow_response": {{workflow_response}}}'
MISSING = "6a314c54d4616e99e7fa5aff"


@asynccontextmanager
async def two(emulator: Emulator) -> AsyncIterator[tuple[RefoldClient, RefoldClient]]:
    """Clients that start at the same moment."""
    async with emulator.client() as one, emulator.client() as other:
        yield one, other


@pytest.fixture
def refold(connect: Callable[..., RefoldClient], emulator: Emulator) -> RefoldClient:
    """A client of the emulator."""
    return connect(emulator)


async def test_a_webhook_is_made_read_changed_and_removed(refold: RefoldClient) -> None:
    """The whole life of one."""
    made = await refold.webhooks.create(URL, description="ours", workflow_ids=["wf_1"])
    assert made.events == WORKFLOW_EVENTS
    assert (made.url, made.method, made.type, made.is_enabled) == (URL, "POST", "default", True)
    assert (made.description, made.workflow_ids, made.environment) == ("ours", ("wf_1",), "test")
    assert await refold.webhooks.get(made.webhook_id) == made
    changed = await refold.webhooks.update(made.webhook_id, is_enabled=False)
    assert (changed.is_enabled, changed.url) == (False, URL)
    assert [hook.webhook_id for hook in await refold.webhooks.list()] == [made.webhook_id]
    await refold.webhooks.delete(made.webhook_id)
    assert await refold.webhooks.list() == []


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://hooks.example/services/T0/B0/secret", "'https://hooks.example/...'"),
        ("https://me:secret@service.example?key=secret", "'https://service.example/...'"),
        ("https://[::1]:8080", "'https://[::1]:8080/...'"),
        ("https://[secret", "'https://[secret/...'"),  # an address for nobody
        ("secret", "'...'"),
        ("", "'...'"),
    ],
)
def test_a_webhook_shows_no_more_than_its_host(url: str, shown: str) -> None:
    """Chats are written to by whoever knows the address: it stays out of logs."""
    hook = Webhook(webhook_id=MISSING, url=url, events=())
    assert f"url={shown}, " in repr(hook)


@pytest.mark.parametrize("verb", ["get", "delete"])
async def test_a_missing_webhook_is_not_found(refold: RefoldClient, verb: str) -> None:
    """The service says so with a 400."""
    with pytest.raises(NotFoundError) as caught:
        await getattr(refold.webhooks, verb)(MISSING)
    assert caught.value.status == 400


async def test_an_event_the_service_does_not_know_is_refused(refold: RefoldClient) -> None:
    """In the service's own words."""
    with pytest.raises(BadRequestError, match="Invalid event"):
        await refold.webhooks.create(URL, events=["Workflow Vanished"])


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        pytest.param({"url": "ftp://host/"}, "url", id="scheme"),
        pytest.param({"url": "https://"}, "url", id="no-host"),
        pytest.param({"url": "https://host:99999/"}, "url", id="port"),
        pytest.param({"url": "https://host/a b"}, "url", id="space"),
        pytest.param({"url": 7}, "url", id="no-text"),
        pytest.param({"events": []}, "events", id="no-event"),
        pytest.param({"events": "Workflow Completed"}, "events", id="one-word"),
        pytest.param({"type": "fancy"}, "type", id="type"),
        pytest.param({"method": "GET"}, "method", id="method"),
        pytest.param({"headers": {"X": "a\nb"}}, "headers", id="header"),
        pytest.param({"body": "{{event}}"}, "body", id="template-for-a-default"),
        pytest.param({"workflow_ids": ["a/b"]}, "workflow_ids", id="workflow"),
    ],
)
async def test_bad_arguments_are_told_before_anything_is_sent(
    refold: RefoldClient, emulator: Emulator, arguments: dict[str, Any], field: str
) -> None:
    """Each names its field."""
    options = {"url": URL, **arguments}
    with pytest.raises(ConfigError, match=field):
        await refold.webhooks.create(options.pop("url"), **options)
    assert not emulator.requests


class SlowWay:
    """A way to the emulator on which some requests take their time."""

    def __init__(self) -> None:
        self.base_url = ""
        self.held = asyncio.Event()


@asynccontextmanager
async def holding_back(
    emulator: Emulator, method: str, path: str, *, seconds: float
) -> AsyncIterator[SlowWay]:
    """Hold requests back before the emulator sees them."""
    way = SlowWay()

    async def forward(request: web.Request) -> web.Response:
        if request.method == method and request.path.endswith(path):
            way.held.set()
            await asyncio.sleep(seconds)
        async with session.request(
            request.method,
            emulator.base_url + request.path_qs,
            data=await request.read(),
            headers={name: request.headers[name] for name in KEPT if name in request.headers},
        ) as answer:
            return web.Response(body=await answer.read(), status=answer.status)

    async with aiohttp.ClientSession() as session, TestServer(proxy_of(forward)) as server:
        way.base_url = str(server.make_url("")).rstrip("/")
        yield way


KEPT = ("x-api-key", "Content-Type")


def proxy_of(handler: Any) -> web.Application:
    """Give an application that hands everything to one handler."""
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", handler)
    return application


class TestEnsure:
    """One webhook of ours, whatever happens at the same time."""

    async def test_it_makes_one_and_finds_it_again(
        self, refold: RefoldClient, emulator: Emulator
    ) -> None:
        """A service that starts again changes nothing."""
        made = await refold.webhooks.ensure(URL)
        again = await refold.webhooks.ensure(URL)
        assert again == made
        assert made.events == WORKFLOW_EVENTS
        assert emulator.counts["create_webhook"] == 1
        assert emulator.counts["update_webhook"] == 0

    async def test_workers_that_start_at_once_agree_on_one(
        self, connect: Callable[..., RefoldClient], emulator: Emulator
    ) -> None:
        """Four clients, none of which knows of the others."""
        clients = [connect(emulator) for _ in range(4)]
        found = await asyncio.gather(*(client.webhooks.ensure(URL) for client in clients))
        assert len(await clients[0].webhooks.list()) == 1
        assert len({hook.webhook_id for hook in found}) == 1

    async def test_a_slow_worker_gives_way(
        self, connect: Callable[..., RefoldClient], emulator: Emulator
    ) -> None:
        """Its webhook comes to be when the others have looked around already, and kept theirs."""
        async with holding_back(emulator, "POST", "/webhook", seconds=1.8) as slow_way:
            slow = connect(slow_way, api_key=emulator.api_key)
            quick = connect(emulator)
            late = asyncio.create_task(slow.webhooks.ensure(URL))
            await slow_way.held.wait()
            await asyncio.gather(late, quick.webhooks.ensure(URL))
        assert len(await quick.webhooks.list()) == 1
        assert emulator.counts["create_webhook"] == 2

    async def test_a_lost_answer_makes_no_second(
        self, refold: RefoldClient, emulator: Emulator
    ) -> None:
        """What was made all the same is found by its mark."""
        emulator.faults.script("create_webhook", Fault(drop="after"))
        made = await refold.webhooks.ensure(URL)
        assert [hook.webhook_id for hook in await refold.webhooks.list()] == [made.webhook_id]

    async def test_a_service_that_refuses_is_told(
        self, refold: RefoldClient, emulator: Emulator
    ) -> None:
        """After a few rounds, with its own error."""
        emulator.faults.always("create_webhook", Fault(status=500))
        with pytest.raises(ServerError):
            await refold.webhooks.ensure(URL)

    async def test_events_and_workflows_are_only_added(self, refold: RefoldClient) -> None:
        """An old release that starts again must not take a new one's events away."""
        await refold.webhooks.ensure(URL, events=["Workflow Completed"], workflows=["wf_1"])
        wider = await refold.webhooks.ensure(URL, events=["Workflow Errored"], workflows=["wf_2"])
        assert wider.events == (
            WebhookEventKind.WORKFLOW_COMPLETED,
            WebhookEventKind.WORKFLOW_ERRORED,
        )
        assert wider.workflow_ids == ("wf_1", "wf_2")
        assert (await refold.webhooks.ensure(URL)).workflow_ids == ()
        narrow = await refold.webhooks.ensure(URL, events=["Workflow Errored"], workflows=["wf_1"])
        assert narrow.events == WORKFLOW_EVENTS
        assert narrow.workflow_ids == ()

    async def test_two_that_add_at_once_both_get_what_they_want(
        self, connect: Callable[..., RefoldClient], emulator: Emulator
    ) -> None:
        """An old and a new release that start together: neither writes over the other."""
        old, new = connect(emulator), connect(emulator)
        await old.webhooks.ensure(URL, events=["Workflow Completed"])
        for operation in ("list_webhooks", "get_webhook", "update_webhook"):
            emulator.faults.script(operation, Fault(delay=0.1), Fault(delay=0.1))
        await asyncio.gather(
            old.webhooks.ensure(URL, events=["Workflow Errored"]),
            new.webhooks.ensure(URL, events=["Workflow Stopped"]),
        )
        (hook,) = await old.webhooks.list()
        assert {str(event) for event in hook.events} == {
            *("Workflow Completed", "Workflow Errored", "Workflow Stopped")
        }

    async def test_what_people_add_since_the_list_was_read_is_kept(
        self, refold: RefoldClient, emulator: Emulator
    ) -> None:
        """It is read again before anything is added."""
        made = await refold.webhooks.ensure(URL, events=["Workflow Completed"])
        lists = emulator.counts["list_webhooks"]
        emulator.faults.script("list_webhooks", Fault(delay=0.3))  # answered late, read at once
        adding = asyncio.create_task(refold.webhooks.ensure(URL, events=["Workflow Errored"]))
        await until(lambda: emulator.counts["list_webhooks"] > lists)
        added = ["Workflow Completed", "Connection Expired"]
        await refold.webhooks.update(made.webhook_id, events=added)
        await adding
        (hook,) = await refold.webhooks.list()
        assert {str(event) for event in hook.events} == {
            *("Workflow Completed", "Connection Expired", "Workflow Errored")
        }

    async def test_a_lost_answer_leaves_no_second_beside_anothers(self) -> None:
        """What a call has made it knows by its description, and takes away."""
        async with Emulator(skip_time=True) as emulator, two(emulator) as (one, other):
            emulator.faults.script(
                "create_webhook", None, Fault(status=502, perform=True, delay=1.5)
            )
            await asyncio.gather(one.webhooks.ensure(URL), other.webhooks.ensure(URL))
            assert emulator.counts["create_webhook"] == 2
            assert len(await one.webhooks.list()) == 1

    async def test_a_lost_change_is_not_made_again_over_anothers(self) -> None:
        """It is looked for first: others may have added something since."""
        async with Emulator(skip_time=True) as emulator, two(emulator) as (one, other):
            await one.webhooks.ensure(URL, events=["Workflow Completed"])
            emulator.faults.script("update_webhook", Fault(status=502, perform=True, delay=5))
            late = asyncio.create_task(one.webhooks.ensure(URL, events=["Workflow Errored"]))
            await emulator.time.sleep(1.5)
            await other.webhooks.ensure(URL, events=["Workflow Stopped"])
            await late
            (hook,) = await one.webhooks.list()
            assert {*hook.events} == {*WORKFLOW_EVENTS[:2], WebhookEventKind("Workflow Stopped")}

    async def test_one_of_people_for_one_application_does_not_serve(
        self, refold: RefoldClient
    ) -> None:
        """Runs of the others would be told to nobody."""
        theirs = await refold.webhooks.create(URL, slug="hubspot")
        with pytest.raises(ConfigError, match="all applications"):
            await refold.webhooks.ensure(URL)
        assert await refold.webhooks.list() == [theirs]

    async def test_what_people_made_is_not_touched(self, refold: RefoldClient) -> None:
        """One with the same URL that does not deliver enough is a clear error."""
        theirs = await refold.webhooks.create(URL, events=["Connection Expired"])
        with pytest.raises(ConfigError, match=theirs.webhook_id):
            await refold.webhooks.ensure(URL)
        assert await refold.webhooks.list() == [theirs]

    async def test_one_that_people_made_may_serve(self, refold: RefoldClient) -> None:
        """It delivers all that is needed: a second one would deliver it twice."""
        theirs = await refold.webhooks.create(URL)
        assert await refold.webhooks.ensure(URL) == theirs

    async def test_other_addresses_are_let_alone(self, refold: RefoldClient) -> None:
        """A staging service and its production one have one each."""
        other = await refold.webhooks.ensure("https://staging.example/hooks")
        await refold.webhooks.ensure(URL)
        assert other in await refold.webhooks.list()

    async def test_one_that_was_switched_off_stays_off(
        self, refold: RefoldClient, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Somebody had a reason; the log says so."""
        made = await refold.webhooks.ensure(URL)
        await refold.webhooks.update(made.webhook_id, is_enabled=False)
        with caplog.at_level(logging.WARNING, "refold_async"):
            found = await refold.webhooks.ensure(URL)
        assert not found.is_enabled
        assert "switched off" in caplog.text


class TestEnsureOutputs:
    """A webhook that brings outputs is one of its own, told from the other by its mark."""

    async def test_it_is_made_with_its_template_and_found_again(self) -> None:
        """Workers that start at once agree on one of them, too."""
        async with Emulator(skip_time=True) as emulator, two(emulator) as (one, other):
            made, found = await asyncio.gather(
                one.webhooks.ensure(URL, outputs=True), other.webhooks.ensure(URL, outputs=True)
            )
            assert found == made == await one.webhooks.ensure(URL, outputs=True)
            assert await one.webhooks.list() == [made]
            assert (made.type, made.events) == ("custom", WORKFLOW_EVENTS)
            assert made.raw["webhook_body"] == TEMPLATE

    @pytest.mark.parametrize("first", [False, True])
    async def test_the_other_one_stays_and_is_named(
        self, caplog: pytest.LogCaptureFixture, first: bool
    ) -> None:
        """Another release may rely on it, in a rolling deployment and after a rollback."""
        async with Emulator(skip_time=True) as emulator, emulator.client() as refold:
            old = await refold.webhooks.ensure(URL, outputs=first)
            with caplog.at_level(logging.WARNING, "refold_async"):
                new = await refold.webhooks.ensure(URL, outputs=not first)
            assert f"webhook {old.webhook_id} is of an ensure() with other outputs" in caplog.text
            assert {hook.webhook_id for hook in await refold.webhooks.list()} == {
                old.webhook_id,
                new.webhook_id,
            }
            assert await refold.webhooks.ensure(URL, outputs=first) == old
            caplog.clear()
            await refold.webhooks.delete(old.webhook_id)
            assert await refold.webhooks.ensure(URL, outputs=not first) == new
            assert not caplog.records

    async def test_what_people_made_serves_if_it_brings_the_same(self) -> None:
        """Else it is a clear error, and stays as it is."""
        async with Emulator(skip_time=True) as emulator, emulator.client() as refold:
            theirs = await refold.webhooks.create(URL)
            with pytest.raises(ConfigError, match=f"{theirs.webhook_id}.*workflow_response"):
                await refold.webhooks.ensure(URL, outputs=True)
            assert await refold.webhooks.list() == [theirs]
            await refold.webhooks.delete(theirs.webhook_id)
            theirs = await refold.webhooks.create(URL, type="custom", body=TEMPLATE)
            assert await refold.webhooks.ensure(URL, outputs=True) == theirs
            with pytest.raises(ConfigError, match="default form"):
                await refold.webhooks.ensure(URL)

    async def test_one_whose_template_was_changed_is_named(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Somebody had a reason: it stays so, and runs are read."""
        async with Emulator(skip_time=True) as emulator, emulator.client() as refold:
            made = await refold.webhooks.ensure(URL, outputs=True)
            await refold.webhooks.update(made.webhook_id, body="{{event}}")
            with caplog.at_level(logging.WARNING, "refold_async"):
                found = await refold.webhooks.ensure(URL, outputs=True)
            assert found.raw["webhook_body"] == "{{event}}"
            assert f"webhook {made.webhook_id} was changed by somebody" in caplog.text
