"""`refold status`, `watch` and `list` as child processes, against an emulator here."""

from __future__ import annotations

import asyncio
import json
import subprocess
from typing import TYPE_CHECKING

import pytest

from refold_async import RefoldClient
from refold_async.emulator import Behaviour, Emulator
from tests.cli.conftest import COMMAND, add_workflows

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.cli.conftest import Ended

    Refold = Callable[..., Awaitable[Ended]]
    Settings = dict[str, str]
    Connect = Callable[..., RefoldClient]


async def start(client: RefoldClient, workflow_id: str, tag: str | None = None) -> str:
    """Start a run; give its id."""
    handle = await client.execute(workflow_id, slug="crm", instance_tag=tag)
    return str(handle.execution_id)


async def test_status_shows_nodes_and_where_it_stands(
    refold: Refold, emulator: Emulator, service: Settings, connect: Connect
) -> None:
    """A run that goes on: its nodes in a table, the percentage below."""
    execution_id = await start(connect(emulator), "wf_endless")
    people, machine = await asyncio.gather(
        refold("status", execution_id, **service),
        refold("status", execution_id, "--json", **service),
    )
    lines = [line.split() for line in people.out.splitlines()]
    document = json.loads(machine.out)

    assert (people.code, people.err, machine.code, machine.err) == (0, "", 0, "")
    assert lines[0] == [execution_id]
    assert ["▸", "Start", "Ready", "1", "of", "3"] in [line[:3] + line[-3:] for line in lines]
    assert ["·", "Work", "Waiting"] in lines
    assert lines[-1][0] == "RUNNING"
    assert (document["status"], document["ended"]) == ("RUNNING", False)
    assert [node["name"] for node in document["nodes"]] == ["Start", "Work", "Response"]


async def test_status_says_why_a_run_failed(
    here: Refold, emulator: Emulator, service: Settings, connect: Connect
) -> None:
    """The look went well, whatever the run came to: exit code 0."""
    execution_id = await start(connect(emulator), "wf_fails")
    emulator.finish(execution_id)
    ended = await here("status", execution_id, **service)

    assert ended.code == 0
    assert ended.out.splitlines()[-1] == "Load: the CRM said no"
    assert "✗  Load" in ended.out


async def test_unknown_run_is_exit_code_3(here: Refold, service: Settings) -> None:
    """With advice about ids and accounts, and no traceback."""
    ended = await here("status", "6a314c54d4616e99e7fa5a02", **service)

    assert (ended.code, ended.out) == (3, "")
    assert ended.err.splitlines()[1] == (
        "Check the id, and that the run belongs to this linked account and to the environment"
        " (test or production) of the test API key from REFOLD_API_KEY."
    )


async def test_watch_prints_a_line_per_change_when_piped(
    refold: Refold, emulator: Emulator, service: Settings, connect: Connect
) -> None:
    """Each line begins with the time; the result is at the end."""
    execution_id = await start(connect(emulator), "wf_fails")
    ended = await refold("watch", execution_id, "--interval", "0.1", **service)
    happened = [line[10:] for line in ended.out.splitlines() if line[2:3] == ":"]

    assert ended.code == 1
    assert [line for line in happened if line.startswith("Load")] == [
        "Load started",
        "Load failed: the CRM said no",
    ]
    assert happened[-1] == "ERRORED"
    assert "failed at node 'Load'" in ended.out


async def test_watch_gives_machines_a_line_per_event(
    here: Refold, emulator: Emulator, service: Settings, connect: Connect
) -> None:
    """The last line is the result."""
    execution_id = await start(connect(emulator), "wf_echo")
    ended = await here("watch", execution_id, "--json", **service)
    events = [json.loads(line) for line in ended.out.splitlines()]

    assert (ended.code, ended.err) == (0, "")
    assert {event["execution_id"] for event in events} == {execution_id}
    assert {"node_started", "node_finished", "progress", "status"} <= {e["event"] for e in events}
    assert events[-1]["event"] == "result"
    assert events[-1]["result"]["ok"] is True


async def test_watch_that_times_out_is_exit_code_124(
    here: Refold, emulator: Emulator, service: Settings, connect: Connect
) -> None:
    """Only the wait ends."""
    execution_id = await start(connect(emulator), "wf_endless")
    ended = await here("watch", execution_id, "--timeout", "0.5", **service)

    assert ended.code == 124
    assert f"It goes on: refold watch {execution_id} --account acct_1" in ended.err


async def test_list_filters_and_limits(
    here: Refold, emulator: Emulator, service: Settings, connect: Connect
) -> None:
    """Newest first; status, workflow, tag, age and number narrow it down."""
    client = connect(emulator)
    ids = [await start(client, "wf_endless", f"tag {n}") for n in range(5)]
    failed = await start(client, "wf_fails")
    emulator.finish(failed)
    calls = {
        "all": (),
        "limited": ("--limit", "2"),
        "failed": ("--status", "errored"),
        "workflow": ("--workflow", "wf_fails"),
        "tag": ("--tag", "tag 3"),
        "recent": ("--since", "5m"),
        "future": ("--since", "2999-01-01T00:00+00:00"),
    }
    ended = [await here("list", *options, "--json", **service) for options in calls.values()]
    listed = {
        name: [json.loads(line)["execution_id"] for line in each.out.splitlines()]
        for name, each in zip(calls, ended, strict=True)
    }

    newest_first = [failed, *reversed(ids)]
    assert {each.code for each in ended} == {0}
    assert listed == {
        "all": newest_first,
        "limited": newest_first[:2],
        "failed": [failed],
        "workflow": [failed],
        "tag": [ids[3]],
        "recent": newest_first,
        "future": [],
    }


async def test_list_filters_what_the_service_does_not(here: Refold) -> None:
    """A service that ignores filters is not believed."""
    async with Emulator(behaviour=Behaviour(ignores_filters=True)) as emulator:
        add_workflows(emulator)
        async with RefoldClient(
            api_key=emulator.api_key, base_url=emulator.base_url, linked_account_id="acct_1"
        ) as client:
            ids = [await start(client, name) for name in ("wf_fails", "wf_endless")]
        emulator.finish(ids[0])
        ended = await here(
            *("list", "--status", "RUNNING"),
            REFOLD_BASE_URL=emulator.base_url,
            REFOLD_API_KEY=emulator.api_key,
            REFOLD_LINKED_ACCOUNT_ID="acct_1",
        )

    assert ids[1] in ended.out
    assert ids[0] not in ended.out


async def test_nothing_found_by_tag_is_weighed(
    here: Refold, emulator: Emulator, service: Settings, connect: Connect
) -> None:
    """Absence is told apart from a list that shows no tags at all."""
    empty = await here("list", "--tag", "lost", **service)
    await start(connect(emulator), "wf_endless", "another")
    told = await here("list", "--tag", "lost", **service)

    assert empty.err.splitlines()[-1].startswith("No entry of the list shows any tag")
    assert told.err.splitlines()[-1] == "None of them carries the tag lost."


@pytest.mark.parametrize("since", ["yesterday", "5 parsecs", "999999999d"])
async def test_age_that_is_none_is_exit_code_2(since: str, here: Refold, service: Settings) -> None:
    """The message says what an age looks like."""
    ended = await here("list", "--since", since, **service)

    assert (ended.code, ended.out) == (2, "")
    assert "30m, 6h or 7d" in ended.err


async def test_reader_that_leaves_is_no_failure_to_talk_about(
    environ: dict[str, str], emulator: Emulator, service: Settings, connect: Connect
) -> None:
    """`refold list --json | head -1` ends quietly, as other programs do."""
    client = connect(emulator)
    await asyncio.gather(*(start(client, "wf_endless") for _ in range(40)))

    def read_one_line() -> tuple[bytes, bytes, int]:
        command = [*COMMAND, "list", "--json", "--limit", "40"]
        with subprocess.Popen(  # noqa: S603 - our own command
            command,
            env={**environ, **service, "PYTHONUNBUFFERED": ""},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as child:
            assert child.stdout is not None
            assert child.stderr is not None
            line = child.stdout.readline()
            child.stdout.close()
            return line, child.stderr.read(), child.wait()

    line, said, code = await asyncio.to_thread(read_one_line)

    assert json.loads(line)["status"] == "RUNNING"
    assert said == b""
    assert code in {0, 141}
