"""`refold probe`: it says first what it will do, and then what it found."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

from refold_async.cli._probing import plan
from refold_async.emulator import Emulator, Fault
from refold_async.probe import Target, Work
from tests.docs.conftest import DOCS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tests.cli.conftest import Ended

    Refold = Callable[..., Awaitable[Ended]]

PROBE = ("probe", "wf_echo", "--slug", "crm")


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    """One whose time is skipped, and with it the pauses between two requests."""
    async with Emulator(skip_time=True) as emulator:
        yield emulator


async def test_nothing_is_started_before_somebody_was_asked(
    here: Refold, emulator: Emulator, service: dict[str, str]
) -> None:
    """Where nobody can answer, it says what it would do, and asks for --yes."""
    ended = await here(*PROBE, "--sync", **service)

    assert ended.code == 2
    assert f"This asks {emulator.base_url} for account acct_1." in ended.err
    assert "up to 3 runs of workflow wf_echo (application crm)" in ended.err
    assert "say --yes" in ended.err
    assert len(emulator.requests) == 0


def test_the_page_shows_what_is_said_first() -> None:
    """What a probe is about to do stands on its page as it says it."""
    target = Target(api_key="tk_1", account="acct_1")
    said = plan(target, Work(workflow_id="wf_contact", slug="crm", sync=True))

    assert said in " ".join((DOCS / "how-to/probe.md").read_text(encoding="utf-8").split())


@pytest.mark.skipif(sys.platform == "win32", reason="needs pseudo-terminals")
async def test_a_person_is_asked_first(
    on_terminal: Callable[..., Any], emulator: Emulator, service: dict[str, str]
) -> None:
    """On a terminal it asks, and whoever doesn't say yes starts nothing."""
    terminal = on_terminal(*PROBE, columns=200, variables=service)
    await asyncio.to_thread(terminal.wait_for, r"Go on\? \[y/N\]")
    terminal.type("\n")

    assert await asyncio.to_thread(terminal.end) == 2
    assert len(emulator.requests) == 0


async def test_without_a_key_an_emulator_is_asked(here: Refold) -> None:
    """Everybody can see what a probe does: it makes the service it asks, and needs no leave."""
    variables = {"REFOLD_API_KEY": "", "REFOLD_BASE_URL": "", "REFOLD_SESSION_TOKEN": ""}
    ended = await here("probe", "wf_contact", "--slug", "demo", "--sync", "--rerun", **variables)

    assert ended.code == 0
    assert "this asks an emulator" in ended.err
    assert "behaviour = Behaviour()" in ended.out.splitlines()


async def test_findings_are_told_to_machines(
    here: Refold, emulator: Emulator, service: dict[str, str]
) -> None:
    """With --json there is one document: each question, its answer, and the settings as code."""
    ended = await here(*PROBE, "--yes", "--json", "--max-requests", "9", **service)
    document: dict[str, Any] = json.loads(ended.out)
    told = {each["name"]: each["answer"] for each in document["findings"] if each["told"]}

    assert ended.code == 0
    assert told["max_page_size"] == 100
    assert document["requests"] == 9
    assert document["execution_ids"] == [run.execution_id for run in emulator.runs]
    assert "refold = RefoldClient()" in document["settings"].splitlines()
    assert document["stopped"] == "9 requests were made, and no more may be"


async def test_findings_are_told_to_people(
    here: Refold, emulator: Emulator, service: dict[str, str]
) -> None:
    """People get a table, the settings, and why not all was asked; a lost start is code 4."""
    emulator.faults.script("execute", Fault(drop="after"))
    ended = await here(*PROBE, "--yes", **service)

    assert ended.code == 4
    assert "What is the largest `limit` of a list?" in ended.out
    assert "behaviour = Behaviour()" in ended.out
    assert f"look for the tag {emulator.runs[0].instance_tag}" in ended.err.replace("\n", " ")


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        pytest.param({"REFOLD_API_KEY": "pk_1"}, "production key", id="production"),
        pytest.param({"REFOLD_API_KEY": ""}, "set REFOLD_API_KEY", id="no-key"),
        pytest.param({"REFOLD_LINKED_ACCOUNT_ID": ""}, "--account", id="no-account"),
    ],
)
async def test_a_probe_wants_a_test_key_and_an_account(
    here: Refold, service: dict[str, str], variables: dict[str, str], said: str
) -> None:
    """What would start real runs, or nobody's, is refused before anything is sent."""
    ended = await here(*PROBE, "--yes", **{**service, **variables})

    assert ended.code == 2
    assert said in ended.err
