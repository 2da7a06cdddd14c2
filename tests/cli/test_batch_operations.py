"""`refold batch status` and `stop`: a batch as people look after it, by its journal."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from refold_async import BatchProgress, ExecutionRequest, RefoldClient
from tests.cli.conftest import FAST, PAYLOADS, documents
from tests.support.endings import until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from refold_async.emulator import Emulator
    from tests.cli.conftest import Ended

    Refold = Callable[..., Awaitable[Ended]]
    Settings = dict[str, str]


ITEMS = [("wf_some", "a"), ("wf_some", "b"), ("wf_fails", "c"), ("wf_endless", "d")]


@pytest.fixture
async def left(emulator: Emulator, service: Settings, tmp_path: Path) -> str:
    """A journal with two successes, a failure, and a run that goes on without anybody."""
    journal = str(tmp_path / "j.sqlite")
    requests = [ExecutionRequest(workflow, slug="crm", key=key) for workflow, key in ITEMS]
    seen: list[BatchProgress] = []
    async with RefoldClient(
        api_key=emulator.api_key, base_url=emulator.base_url, linked_account_id="acct_1"
    ) as refold:
        batch = asyncio.ensure_future(
            refold.run_batch(requests, journal=journal, progress=seen.append)
        )
        await until(lambda: bool(seen) and (seen[-1].done, seen[-1].running) == (3, 1))
        batch.cancel()
        await asyncio.gather(batch, return_exceptions=True)
    return journal


async def test_status_needs_the_journal_alone(here: Refold, left: str) -> None:
    """No input, no key: counts, failures by reason, what runs now, and the slowest."""
    ended = await here("batch", "status", left)
    table = {row[1]: row[0] for line in ended.out.splitlines() if len(row := line.split()) == 2}

    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines()[0] == "4 items have begun; no batch is at it"
    assert (table["succeeded"], table["failed"], table["running"]) == ("2", "1", "1")
    assert "ExecutionFailedError at node 'Load'" in ended.out
    assert "slowest: " in ended.out
    assert [line.split()[0] for line in ended.out.splitlines() if line.split()[-1:] == ["acct_1"]][
        -1
    ] == "d"


async def test_status_for_machines(here: Refold, emulator: Emulator, left: str) -> None:
    """One object; what runs has its id, account and tag."""
    ended = await here("batch", "status", left, "--json")
    (document,) = documents(ended.out)
    (run,) = document["running"]

    assert document["counts"] == {"succeeded": 2, "failed": 1, "running": 1}
    assert (document["in_use"], document["is_exact"], document["total"]) == (False, True, 4)
    assert document["failures"][0]["first_key"] == "c"
    assert run["execution_id"] in {each.execution_id for each in emulator.runs}
    assert (run["key"], run["linked_account_id"]) == ("d", "acct_1")


async def test_status_of_what_is_no_journal(here: Refold, tmp_path: Path) -> None:
    """It says so, with exit code 2."""
    ended = await here("batch", "status", str(tmp_path / "no.sqlite"))

    assert (ended.code, ended.out) == (2, "")
    assert "there is none" in ended.err


async def test_stop_says_what_it_did(
    here: Refold, emulator: Emulator, service: Settings, left: str
) -> None:
    """The journal says whose runs they are; asked again, they are over."""
    del service["REFOLD_LINKED_ACCOUNT_ID"]
    unsaid = await here("batch", "stop", left, **service)
    ended = await here("batch", "stop", left, "--yes", **service)
    (run,) = (each for each in emulator.runs if each.stopping_since is not None)
    emulator.finish(run.execution_id)
    again = await here("batch", "stop", left, "--yes", "--json", **service)
    (document,) = documents(again.out)

    assert (unsaid.code, unsaid.out) == (2, "")
    assert f"this would stop 1 run of {left}: say --yes" in unsaid.err
    assert (ended.code, ended.out) == (0, "1 run asked to stop\n")
    assert (again.code, document["asked"], [*document["refused"]]) == (0, [], [run.execution_id])


async def test_retry_starts_what_failed(
    here: Refold, emulator: Emulator, service: Settings, tmp_path: Path
) -> None:
    """From the file, or from a journal that keeps payloads; the progress knows how many."""
    journal, file = str(tmp_path / "j.sqlite"), tmp_path / "in.csv"
    file.write_text("n,bad\n1,\n2,yes\n3,\n")
    lines = (*PAYLOADS, "--key-field", "n")
    first = await here(
        "batch", str(file), *lines, *FAST, "--journal", journal, "--keep-payloads", **service
    )
    kept = await here("batch", "retry", journal, *FAST, "--json", **service)
    given = await here(
        "batch", "retry", journal, "--input", str(file), *lines, *FAST, "--json", **service
    )

    results = tmp_path / "results.jsonl"
    results.write_text('{"key": "1"}\n')
    over = await here("batch", "retry", journal, *FAST, "--out", str(results), **service)

    assert (over.code, results.read_text()) == (2, '{"key": "1"}\n')
    assert "name another file" in over.err
    assert (first.code, kept.code, given.code) == (1, 1, 1)
    assert [run.payload["n"] for run in emulator.runs][3:] == ["2", "2"]
    assert documents(kept.out)[-1]["summary"]["total"] == 1
    assert documents(given.out)[-1]["summary"]["resumed"] == 2


async def test_retry_needs_to_know_what_was_asked_for(
    here: Refold, emulator: Emulator, service: Settings, left: str
) -> None:
    """A journal that keeps no payloads, without the file: said with the remedy, nothing sent."""
    ended = await here("batch", "retry", left, **service)
    odd = await here("batch", "retry", left, "--workflow", "wf_some", "--slug", "crm", **service)

    assert (ended.code, odd.code, ended.out) == (2, 2, "")
    assert "--input" in ended.err
    assert "give its --input" in odd.err
    assert len(emulator.runs) == len(ITEMS)


async def test_resuming_with_another_workflow_says_which(
    here: Refold, emulator: Emulator, service: Settings, left: str
) -> None:
    """Before anything is sent; each item would be rejected."""
    call = ("batch", "-", "--workflow", "wf_echo", "--slug", "crm", "--journal", left, "--resume")
    ended = await here(*call, stdin=b"{}\n", **service)

    assert ended.code == 2
    assert "workflow wf_endless and others, and this is one of workflow wf_echo" in ended.err
    assert len(emulator.runs) == len(ITEMS)


async def test_stop_asks_on_a_terminal(on_terminal: Any, service: Settings, left: str) -> None:
    """No is no."""
    terminal = on_terminal("batch", "stop", left, columns=300, variables=service)
    await asyncio.to_thread(terminal.wait_for, r"Stop 1 run of .*\?")
    terminal.type("n\n")

    assert await asyncio.to_thread(terminal.end) == 2
    assert "nothing was stopped" in terminal.text
