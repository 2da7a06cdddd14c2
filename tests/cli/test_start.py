"""`refold execute`, `run`, `rerun` and `stop` as child processes, against an emulator here."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any

import pytest

from refold_async.emulator import Behaviour, Emulator, Fault
from tests.cli.conftest import add_workflows

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from tests.cli.conftest import Ended

    Refold = Callable[..., Awaitable[Ended]]
    Settings = dict[str, str]


async def test_execute_prints_the_line_that_waits(
    refold: Refold, emulator: Emulator, service: Settings
) -> None:
    """The handle is printed, and its last line pasted waits for the run."""
    started = await refold("execute", "wf_echo", "--slug", "crm", "--tag", "nightly", **service)
    facts = dict(line.split(maxsplit=1) for line in started.out.splitlines()[:3])
    paste = started.out.splitlines()[-1].removeprefix("wait for it").strip()
    program, *arguments = shlex.split(paste)
    watched = await refold(*arguments, **service)

    run = emulator.runs[0]
    assert (started.code, started.err) == (0, "")
    assert facts == {"execution": run.execution_id, "account": "acct_1", "tag": "nightly"}
    assert program == "refold"
    assert watched.code == 0
    assert watched.out.endswith(f"COMPLETED\nCOMPLETED, {run.execution_id}\n{{}}\n")


async def test_run_waits_and_prints_the_output(
    refold: Refold, emulator: Emulator, service: Settings
) -> None:
    """Status and output on standard output, the id on standard error before the wait."""
    payload = '{"name": "Jürgen \\u2603"}'
    ended = await refold("run", "wf_echo", "--slug", "crm", "--payload", payload, **service)
    first, *rest = ended.out.splitlines()

    assert ended.code == 0
    assert ended.err == f"started {emulator.runs[0].execution_id}\n"
    assert first.startswith(f"COMPLETED, {emulator.runs[0].execution_id}, after ")
    assert json.loads("\n".join(rest)) == {"name": "Jürgen ☃"}
    assert emulator.runs[0].payload == {"name": "Jürgen ☃"}


async def test_payload_comes_from_a_file_or_standard_input(
    here: Refold, emulator: Emulator, service: Settings, tmp_path: Path
) -> None:
    """What must not show in `ps` comes another way; a byte order mark is no matter."""
    file = tmp_path / "payload.json"
    file.write_text('{"from": "file"}', encoding="utf-8-sig")
    call = ("execute", "wf_echo", "--slug", "crm", "--payload")
    await here(*call, f"@{file}", **service)
    await here(*call, "-", stdin=b'{"from": "stdin"}', **service)

    assert [run.payload for run in emulator.runs] == [{"from": "file"}, {"from": "stdin"}]


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        pytest.param("{", "--payload is no JSON", id="not-json"),
        pytest.param("[1]", "--payload must be a JSON object", id="not-an-object"),
        pytest.param('{"n": NaN}', "payload: ", id="nan"),
        pytest.param("@nowhere.json", "can't read nowhere.json: No such file", id="no-file"),
        pytest.param("-", "the payload on standard input is no JSON", id="empty-input"),
    ],
)
async def test_wrong_payload_is_exit_code_2(
    payload: str, said: str, here: Refold, emulator: Emulator, service: Settings
) -> None:
    """What is wrong is said in a line, and nothing is sent."""
    ended = await here("run", "wf_echo", "--slug", "crm", "--payload", payload, **service)

    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(f"refold: {said}")
    assert not emulator.requests


@pytest.mark.parametrize(
    ("options", "line"),
    [
        pytest.param(("wf_fails",), "failed at node 'Load'\nthe CRM said no\n", id="node"),
        pytest.param(("wf_rejects", "--sync"), '{\n  "reason": "email is taken"\n}\n', id="status"),
    ],
)
async def test_run_that_failed_is_exit_code_1(
    options: tuple[str, ...], line: str, here: Refold, service: Settings
) -> None:
    """The node that failed and its words are shown, or what the Response node said."""
    ended = await here("run", *options, "--slug", "crm", **service)

    assert ended.code == 1
    assert ended.out.endswith(line)


async def test_service_that_refuses_is_exit_code_3(here: Refold, service: Settings) -> None:
    """A wrong slug is named with advice."""
    ended = await here("execute", "wf_echo", "--slug", "other", **service)

    assert (ended.code, ended.out) == (3, "")
    assert "execute: HTTP 400" in ended.err
    assert "that slug is its application" in ended.err


async def test_outcome_unknown_is_exit_code_4_and_says_how_to_look(
    refold: Refold, emulator: Emulator, service: Settings
) -> None:
    """The advice is a command line that finds the run by the tag it was given."""
    emulator.faults.script("execute", Fault(status=502, html=True, perform=True))
    call = ("execute", "wf_echo", "--slug", "crm", "--mode", "never")
    ended = await refold(*call, **service)
    advice = ended.err.splitlines()[-1]
    look = shlex.split(advice.removeprefix("Before you start it again, look for it: refold "))
    found = await refold(*look, "--json", **service)

    assert (ended.code, ended.out) == (4, "")
    assert "after 1 try nobody knows whether a run started (HTTP 502, " in ended.err
    assert json.loads(found.out)["execution_id"] == emulator.runs[0].execution_id


async def test_lost_answer_is_adopted(here: Refold, emulator: Emulator, service: Settings) -> None:
    """The tag the command makes is unique: the run is found, and none is started again."""
    await here("execute", "wf_echo", "--slug", "crm", **service)
    emulator.faults.script("execute", Fault(status=502, html=True, perform=True))
    ended = await here("execute", "wf_echo", "--slug", "crm", "--mode", "safe", **service)

    assert ended.code == 0
    assert len(emulator.runs) == 2
    assert emulator.runs[1].execution_id in ended.out


async def test_wait_timeout_is_exit_code_124(
    refold: Refold, emulator: Emulator, service: Settings
) -> None:
    """The run goes on, and the message has the command that waits again."""
    ended = await refold("run", "wf_endless", "--slug", "crm", "--timeout", "0.8", **service)

    assert (ended.code, ended.out) == (124, "")
    again = f"It goes on: refold watch {emulator.runs[0].execution_id} --account acct_1"
    assert again in ended.err
    assert "refold.handle" not in ended.err


async def test_unreachable_service_is_exit_code_3(
    refold: Refold, service: Settings, unused_tcp_port: int
) -> None:
    """`--base-url` wins over the environment; nobody listens there."""
    url = f"http://127.0.0.1:{unused_tcp_port}"
    ended = await refold("stop", "abc", "--base-url", url, **service)

    assert (ended.code, ended.out) == (3, "")
    assert ended.err.splitlines()[-1] == (
        "Check host and port of REFOLD_BASE_URL, and that the service is up: nothing listens there."
    )


async def test_rerun_starts_the_payload_again(
    here: Refold, emulator: Emulator, service: Settings
) -> None:
    """`--wait` waits for the new run's end."""
    call = ("run", "wf_echo", "--slug", "crm", "--payload", '{"n": 1}')
    await here(*call, **service)
    first = emulator.runs[0].execution_id
    ended = await here("rerun", first, **service)
    waited = await here("rerun", first, "--wait", "--json", **service)

    assert [run.payload for run in emulator.runs] == [{"n": 1}] * 3
    assert (ended.code, waited.code) == (0, 0)
    assert "wait for it  refold watch " in ended.out
    assert json.loads(waited.out)["result"]["output"] == {"n": 1}


async def test_stop_asks_the_service(here: Refold, emulator: Emulator, service: Settings) -> None:
    """The run is stopped; what is said leads to its end."""
    await here("execute", "wf_endless", "--slug", "crm", **service)
    execution_id = emulator.runs[0].execution_id
    ended = await here("stop", execution_id, **service)
    watched = await here("watch", execution_id, **service)

    assert (ended.code, ended.out) == (0, f"{execution_id} was asked to stop\n")
    assert ended.err == f"See it end: refold watch {execution_id} --account acct_1\n"
    assert watched.code == 1
    assert "STOPPED" in watched.out


async def test_possible_duplicate_is_said(here: Refold) -> None:
    """Where the list shows no tags, a 502 is sent again, and people are told."""
    async with Emulator(behaviour=Behaviour(echo_instance_tag_in_list=False)) as emulator:
        add_workflows(emulator)
        emulator.faults.script("execute", Fault(status=502, html=True, perform=True))
        ended = await here(
            *("execute", "wf_echo", "--slug", "crm", "--json"),
            REFOLD_BASE_URL=emulator.base_url,
            REFOLD_API_KEY=emulator.api_key,
            REFOLD_LINKED_ACCOUNT_ID="acct_1",
        )
        runs = len(emulator.runs)

    assert ended.code == 0
    assert "an earlier try may have started a run, too" in ended.err
    assert (json.loads(ended.out)["possible_duplicate"], runs) == (True, 2)


def keys(document: Any) -> Any:
    """The fields of a JSON document and of those within."""
    if not isinstance(document, dict):
        return None
    return {name: keys(value) for name, value in document.items()}


NODE = dict.fromkeys(
    ("node_id", "name", "type", "status", "attempts", "max_attempts", "duration", "output")
)
RESULT = dict.fromkeys(("status", "ok", "output", "status_code", "error", "failed_node"))
RUN = dict.fromkeys(
    (
        "execution_id",
        "workflow_id",
        "slug",
        "linked_account_id",
        "instance_tag",
        "created_at",
        "attempts",
        "possible_duplicate",
        "result",
    )
)


@pytest.mark.parametrize(
    ("call", "code", "shape"),
    [
        pytest.param(("execute", "wf_echo"), 0, RUN, id="execute"),
        pytest.param(
            ("execute", "wf_rejects", "--sync"),
            1,
            {**RUN, "result": {**RESULT, "output": {"reason": None}}},
            id="execute-sync",
        ),
        pytest.param(
            ("run", "wf_fails"),
            1,
            {
                **RUN,
                "result": {
                    **RESULT,
                    "error": {"error": None},
                    "failed_node": {**NODE, "output": {"error": None}},
                },
            },
            id="run-failed",
        ),
    ],
)
async def test_json_is_one_document_of_a_fixed_shape(
    call: tuple[str, ...], code: int, shape: Any, here: Refold, service: Settings
) -> None:
    """Machines get one line, whatever happens; what people are told is on standard error."""
    ended = await here(*call, "--slug", "crm", "--json", **service)

    assert ended.code == code
    assert len(ended.out.splitlines()) == 1
    assert keys(json.loads(ended.out)) == shape


async def test_json_of_a_failure_has_code_and_advice(
    here: Refold, emulator: Emulator, service: Settings
) -> None:
    """A script learns the class, the run it is about, and what to do."""
    call = ("run", "wf_endless", "--slug", "crm", "--timeout", "0.5", "--json")
    waited = await here(*call, **service)
    unusable = await here("run", "wf_echo", "--slug", "crm", "--payload", "[]", "--json", **service)
    about = json.loads(waited.out)["error"]

    assert (about["type"], about["exit_code"]) == ("WaitTimeoutError", 124)
    assert about["execution_id"] == emulator.runs[0].execution_id
    assert json.loads(unusable.out)["error"]["type"] == "BadUsageError"
    assert json.loads(unusable.out)["error"]["exit_code"] == unusable.code == 2
