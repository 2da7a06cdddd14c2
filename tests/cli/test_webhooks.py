"""`refold webhooks`, against an emulator here."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys
from typing import TYPE_CHECKING

import pytest

from refold_async import RefoldClient
from refold_async.cli._listening import Listener, listening
from refold_async.cli._options import Settings
from refold_async.cli._performing import Job
from refold_async.emulator import Fault
from refold_async.webhooks import WORKFLOW_EVENTS
from tests.cli.conftest import COMMAND, PATIENCE, documents
from tests.support.deliveries import KEY, RUN, connection_event, encoded, sign, workflow_event
from tests.support.receiving import request, status_of, talk

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from refold_async.emulator import Emulator
    from tests.cli.conftest import Ended

    Refold = Callable[..., Awaitable[Ended]]
    Service = dict[str, str]

URL = "https://service.example/refold/webhooks/"


async def test_a_webhook_is_made_listed_and_removed(here: Refold, service: Service) -> None:
    """Its whole life, in words for people; events may be written as a shell likes them."""
    only = ("--workflow", "wf_echo", "--slug", "crm", "--method", "PUT", "--disabled")
    events = ("--event", "workflow-errored", "--event", "Connection Expired")
    made = await here("webhooks", "create", URL, *events, *only, "--description", "ours", **service)
    facts = {line[:10].strip(): line[10:] for line in made.out.splitlines()}
    assert (made.code, made.err) == (0, "")
    assert facts | {"webhook": ""} == {
        "webhook": "",
        "URL": URL,
        "events": "Workflow Errored, Connection Expired",
        "only for": "wf_echo, crm",
        "state": "switched off",
    }

    listed = await here("webhooks", "list", "--json", **service)
    table = await here("webhooks", "list", **service)
    assert documents(listed.out) == [
        {
            "webhook_id": facts["webhook"],
            "url": URL,
            "events": ["Workflow Errored", "Connection Expired"],
            "is_enabled": False,
            "method": "PUT",
            "type": "default",
            "workflow_ids": ["wf_echo"],
            "slug": "crm",
            "description": "ours",
            "environment": "test",
        }
    ]
    head, row, *_ = table.out.splitlines()
    assert head.split() == ["Webhook", "State", "URL", "Events"]
    assert row.startswith(f"{facts['webhook']}  switched off  {URL}")

    removed = await here("webhooks", "delete", facts["webhook"], **service)
    assert removed.out == f"{facts['webhook']} was removed\n"
    assert (await here("webhooks", "list", **service)).err == "No webhooks.\n"


async def test_ensure_said_twice_makes_one(
    here: Refold, service: Service, emulator: Emulator
) -> None:
    """For a deployment's script: it may run as often as it likes."""
    first = await here("webhooks", "ensure", URL, "--json", **service)
    second = await here("webhooks", "ensure", URL, "--json", **service)
    [document] = documents(first.out)
    assert documents(second.out) == [document]
    assert document["events"] == [*WORKFLOW_EVENTS]
    assert emulator.counts["create_webhook"] == 1

    gone = await here("webhooks", "delete", document["webhook_id"], "--json", **service)
    assert documents(gone.out) == [{"webhook_id": document["webhook_id"], "deleted": True}]


async def test_ensure_may_have_outputs_come_along(here: Refold, service: Service) -> None:
    """It is a webhook of another type."""
    told = await here("webhooks", "ensure", URL, "--outputs", "--json", **service)
    [document] = documents(told.out)
    assert document["type"] == "custom"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        pytest.param(("create", "ftp://host"), 2, "url: must be an http or https URL", id="url"),
        pytest.param(("create", URL, "--method", "GET"), 2, "method: must be one of", id="method"),
        pytest.param(("create", URL, "--event", "vanished"), 3, "Invalid event", id="event"),
        pytest.param(("delete", "a/b"), 2, "webhook_id", id="id"),
        pytest.param(("delete", RUN), 3, "Webhook not found", id="missing"),
    ],
)
async def test_what_cannot_be_is_told(
    here: Refold, service: Service, arguments: tuple[str, ...], code: int, said: str
) -> None:
    """With the exit code of bad usage, or in the service's words."""
    ended = await here("webhooks", *arguments, **service)
    assert (ended.code, ended.out) == (code, "")
    assert said in ended.err


async def test_a_lost_answer_may_have_made_one(
    here: Refold, service: Service, emulator: Emulator
) -> None:
    """Who makes another has two, and each event comes twice."""
    emulator.faults.script("create_webhook", Fault(drop="after"))
    ended = await here("webhooks", "create", URL, **service)
    look = "refold webhooks list"
    assert ended.code == 3
    assert ended.err.startswith(f"A webhook may have been made all the same. Look for it: {look}\n")
    assert len((await here("webhooks", "list", "--json", **service)).out.splitlines()) == 1


# -- listen --------------------------------------------------------------------------------------


class Listening:
    """A listener on the test's loop, and what it has shown."""

    def __init__(self, capsys: pytest.CaptureFixture[str], *, as_json: bool) -> None:
        self.job = Job(settings=Settings(as_json=as_json), refold=RefoldClient(api_key=KEY))
        self._capsys = capsys

    async def shown(self, *bodies: bytes) -> list[str]:
        """Deliver some bodies, signed; give the lines that show them."""
        listener = Listener(self.job)
        async with self.job.refold, listening(listener, "127.0.0.1", 0) as url:
            port = int(url.rstrip("/").rpartition(":")[2])
            show = asyncio.create_task(listener.show(len(bodies)))
            for body in bodies:
                assert status_of(await talk(port, request(body, path="/any/path"))) == 200
            await asyncio.wait_for(show, PATIENCE)
        return self._capsys.readouterr().out.splitlines()


async def test_events_are_shown_as_they_come(capsys: pytest.CaptureFixture[str]) -> None:
    """A row each: which run of whom, and where it failed; what is unknown is shown as told."""
    failed = workflow_event(
        event="Workflow Errored", status="ERRORED", failed_node={"name": "Load"}
    )
    head, *rows = await Listening(capsys, as_json=False).shown(
        *map(encoded, (workflow_event(), failed, connection_event(), {"event": "Plan \x1b[2J"}))
    )
    assert head.split() == ["Time", "Event", "Account", "What"]
    assert [row[10:] for row in rows] == [
        f"Workflow Completed  acct_1                {RUN}, Create contact",
        f"Workflow Errored    acct_1                {RUN}, Create contact, failed at node 'Load'",
        "Connection Expired  acct_1                hubspot",
        "Plan \\x1b[2J                              ",
    ]


async def test_machines_get_a_line_per_event(capsys: pytest.CaptureFixture[str]) -> None:
    """With all of the body, for what this version does not know."""
    told = workflow_event(environment="test", more=[1])
    run, connection, new = map(
        json.loads,
        await Listening(capsys, as_json=True).shown(
            *map(encoded, (told, connection_event(), {"event": "Plan Changed"}))
        ),
    )
    assert run == {
        "event": "Workflow Completed",
        "linked_account_id": "acct_1",
        "environment": "test",
        "execution_id": RUN,
        "workflow_id": "6a106ba44480b80424a65289",
        "workflow_name": "Create contact",
        "config_id": "acct_1",
        "status": "COMPLETED",
        "failed_node": None,
        "body": told,
    }
    assert (connection["slug"], connection["created_at"][:10]) == ("hubspot", "2023-11-07")
    assert new["body"] == {"event": "Plan Changed"}


async def test_a_key_is_needed_to_verify(here: Refold) -> None:
    """A session token signs nothing."""
    ended = await here("webhooks", "listen", "--port", "0", REFOLD_SESSION_TOKEN="jwt")
    assert ended.code == 2
    assert "set REFOLD_API_KEY in place of REFOLD_SESSION_TOKEN" in ended.err


async def test_a_port_that_is_taken_is_bad_usage(here: Refold) -> None:
    """Nothing was listened to."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = await here("webhooks", "listen", "--port", port, "--json", REFOLD_API_KEY=KEY)
    assert ended.code == 2
    assert f"can't listen on 127.0.0.1:{port}" in ended.err
    assert json.loads(ended.out)["error"]["exit_code"] == 2


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT can't be sent to a child there")
async def test_listening_goes_on_whatever_comes_until_it_is_interrupted(
    environ: dict[str, str],
) -> None:
    """A forged event is told on standard error and not shown; garbage prints no traceback."""
    child = await asyncio.create_subprocess_exec(
        *(*COMMAND, "webhooks", "listen", "--port", "0", "--json"),
        env={**environ, "REFOLD_API_KEY": KEY, "REFOLD_BASE_URL": "http://refold.internal"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert child.stdout is not None
    assert child.stderr is not None
    try:
        async with asyncio.timeout(PATIENCE):
            begun = (await child.stderr.readline()).decode()
            assert begun.startswith("listening at http://127.0.0.1:")
            port = int(begun.rstrip("/\n").rpartition(":")[2])
            forged = request(encoded(workflow_event()), signature=sign(b"other"))
            assert status_of(await talk(port, forged)) == 401
            assert b"400 Bad Request" in await talk(port, b"\x1b[2J garbage\r\n\r\n")
            assert status_of(await talk(port, request(encoded(workflow_event())))) == 200
            shown = json.loads(await child.stdout.readline())
            child.send_signal(signal.SIGINT)
            out, err = await child.communicate()
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    assert child.returncode == 130
    assert shown["execution_id"] == RUN
    assert json.loads(out)["error"]["type"] == "Interrupted"
    refused, interrupted = err.decode().splitlines()
    assert refused.startswith("refold: a delivery was refused: ")
    assert sign(encoded(workflow_event())) not in refused
    assert interrupted == "refold: interrupted; 1 event came"
