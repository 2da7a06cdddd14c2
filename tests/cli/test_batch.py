"""`refold batch` as a child process, against an emulator here."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from refold_async import BatchItem, BatchOutcome, BatchReport, ExecutionRequest, RefoldError
from refold_async.cli.batch.ending import exit_code
from refold_async.emulator import Fault
from tests.cli.conftest import COMMAND, FAST, PAYLOADS, documents, lines_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from refold_async.emulator import Emulator
    from tests.cli.conftest import Ended

    Refold = Callable[..., Awaitable[Ended]]
    Settings = dict[str, str]


async def test_every_line_becomes_a_run(
    refold: Refold, emulator: Emulator, service: Settings, tmp_path: Path
) -> None:
    """The summary is a table, the failures are grouped, the results are in a file."""
    file = lines_of(tmp_path / "in.jsonl", [{"n": n, "bad": n % 10 == 3} for n in range(30)])
    out = tmp_path / "out.jsonl"
    ended = await refold("batch", file, *PAYLOADS, *FAST, "--out", str(out), **service)
    table = {row[1]: row[0] for line in ended.out.splitlines() if len(row := line.split()) == 2}
    results = documents(out.read_text())

    assert ended.code == 1
    assert table["succeeded"] == "27"
    assert table["failed"] == "3"
    assert "ExecutionFailedError at node 'Work'" in ended.out
    assert ended.err.splitlines()[-1] == f"The results are in {out}."
    assert len(emulator.runs) == 30
    assert [result["index"] for result in results] == [*range(30)]
    assert [r["outcome"] for r in results].count("failed") == 3
    assert results[0]["output"] == {"id": 0}


async def test_lines_may_be_whole_requests(
    here: Refold, emulator: Emulator, service: Settings, tmp_path: Path
) -> None:
    """Each with a workflow, account and key of its own."""
    items = [
        {
            "workflow_id": "wf_some",
            "slug": "crm",
            "payload": {"n": n},
            "key": f"k{n}",
            "linked_account_id": f"acct_{n}",
        }
        for n in range(3)
    ]
    file = lines_of(tmp_path / "in.jsonl", items)
    del service["REFOLD_LINKED_ACCOUNT_ID"]
    ended = await here("batch", file, *FAST, "--json", **service)
    *found, summary = documents(ended.out)

    assert ended.code == 0
    assert [item["key"] for item in found] == ["k0", "k1", "k2"]
    assert sorted(str(run.linked_account_id) for run in emulator.runs) == [
        "acct_0",
        "acct_1",
        "acct_2",
    ]
    assert summary["summary"]["succeeded"] == summary["summary"]["total"] == 3


async def test_rows_of_a_csv_file_become_payloads(
    here: Refold, emulator: Emulator, service: Settings, tmp_path: Path
) -> None:
    """Columns are fields, as text; quotes, line breaks and umlauts within cells are kept."""
    file = tmp_path / "in.CSV"
    file.write_text('n,name\n1,"Müller, ""Jo"""\n2,"two\nlines"\n', encoding="utf-8-sig")
    ended = await here(
        "batch", str(file), *PAYLOADS, *FAST, "--key-field", "n", "--json", **service
    )

    assert ended.code == 0
    assert [item.get("key") for item in documents(ended.out)] == ["1", "2", None]
    assert sorted((run.payload["n"], run.payload["name"]) for run in emulator.runs) == [
        ("1", 'Müller, "Jo"'),
        ("2", "two\nlines"),
    ]


async def test_standard_input_is_a_file_too(
    here: Refold, emulator: Emulator, service: Settings
) -> None:
    """`-`; its format can be said."""
    call = ("batch", "-", *PAYLOADS, *FAST, "--format", "csv")
    ended = await here(*call, stdin=b"n\n1\n2\n", **service)

    assert ended.code == 0
    assert len(emulator.runs) == 2


async def test_nothing_to_do_is_no_failure(here: Refold, service: Settings) -> None:
    """A nightly batch may have an empty night."""
    ended = await here("batch", "-", *PAYLOADS, **service)

    assert ended.code == 0
    assert "0 items" in ended.out


async def test_batch_can_start_without_waiting(
    here: Refold, emulator: Emulator, service: Settings
) -> None:
    """`--no-wait`: an item has succeeded once its run has started."""
    call = ("batch", "-", "--workflow", "wf_endless", "--slug", "crm", "--no-wait", *FAST)
    ended = await here(*call, stdin=b"{}\n{}\n", **service)

    assert ended.code == 0
    assert {run.ends_at for run in emulator.runs} == {None}


async def test_failures_can_stop_it(here: Refold, emulator: Emulator, service: Settings) -> None:
    """What is left is unsent, and the worst outcome decides the exit code."""
    call = ("batch", "-", *PAYLOADS, "--stop-after-failures", "1", "--concurrency", "1", "--json")
    ended = await here(*call, stdin=b'{"bad": 1}\n{}\n{}\n', **service)

    assert ended.code == 1
    assert [item.get("outcome") for item in documents(ended.out)][:3] == [
        "failed",
        "unsent",
        "unsent",
    ]
    assert len(emulator.runs) == 1


async def test_time_can_end_it(
    here: Refold, emulator: Emulator, service: Settings, tmp_path: Path
) -> None:
    """What runs is left, exit code 124; the line that resumes is told, and starts nothing twice."""
    workflows = ["wf_endless", "wf_endless", "wf_some"]
    file = lines_of(tmp_path / "in.jsonl", [{"workflow_id": w, "slug": "crm"} for w in workflows])
    call = ("batch", file, "--concurrency", "2", "--journal", str(tmp_path / "j.sqlite"))
    ended = await here(*call, "--timeout", "0.5", "--drain", "0.1", **service)
    for run in emulator.runs:
        emulator.finish(run.execution_id)
    again = await here(*call, "--resume", **service)

    assert ended.code == 124
    assert ended.err.count("its time of 0.5 s is over") == 1
    assert "What is left can be sent later: " in ended.err
    assert (again.code, len(emulator.runs)) == (0, 3)


async def test_unknown_outcome_is_exit_code_4(
    here: Refold, emulator: Emulator, service: Settings
) -> None:
    """It is worse than a failure."""
    emulator.faults.script("execute", Fault(drop="after"))
    call = ("batch", "-", *PAYLOADS, "--mode", "never", "--concurrency", "1", "--json")
    ended = await here(*call, stdin=b'{}\n{"bad": 1}\n', **service)
    summary = documents(ended.out)[-1]["summary"]

    assert ended.code == 4
    assert (summary["unknown"], summary["failed"]) == (1, 1)


async def test_unreachable_service_is_exit_code_3(
    here: Refold, service: Settings, unused_tcp_port: int
) -> None:
    """All items are unsent."""
    url = f"http://127.0.0.1:{unused_tcp_port}"
    call = ("batch", "-", *PAYLOADS, "--base-url", url, "--mode", "never", "--json")
    ended = await here(*call, stdin=b"{}\n{}\n", **service)

    assert ended.code == 3
    assert documents(ended.out)[-1]["summary"]["unsent"] == 2


async def test_payloads_can_be_validated_first(
    here: Refold, emulator: Emulator, service: Settings
) -> None:
    """One that does not fit its workflow's schema: nothing is sent."""
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    emulator.workflow("wf_strict", slug="crm", schema=schema)(lambda payload: payload)
    call = ("batch", "-", "--workflow", "wf_strict", "--slug", "crm", "--validate")
    ended = await here(*call, stdin=b'{"n": 1}\n{"n": "two"}\n', **service)

    assert ended.code == 1
    assert "$.n" in ended.out
    assert not emulator.runs


# -- the journal -----------------------------------------------------------------------------


async def test_missing_output_is_exit_code_3() -> None:
    """The run succeeded, and who wanted what it returned has not got it."""
    item: BatchItem = BatchItem(
        index=0,
        key="0",
        request=ExecutionRequest("wf_1", slug="crm"),
        outcome=BatchOutcome.SUCCEEDED,
        error=RefoldError("its output could not be read"),
    )
    assert exit_code(BatchReport(all_items=[item])) == 3


async def test_journal_is_not_begun_twice(
    here: Refold, emulator: Emulator, service: Settings, tmp_path: Path
) -> None:
    """Resuming has to be said; a finished batch that is resumed starts nothing."""
    file = lines_of(tmp_path / "in.jsonl", [{"n": n} for n in range(3)])
    call = ("batch", file, *PAYLOADS, *FAST, "--json", "--journal", str(tmp_path / "j.sqlite"))
    early = await here(*call, "--resume", **service)
    first = await here(*call, **service)
    again = await here(*call, **service)
    resumed = await here(*call, "--resume", **service)

    assert (early.code, first.code, again.code, resumed.code) == (2, 0, 2, 0)
    assert "there is no journal" in early.err
    assert "go on with it by --resume" in again.err
    assert len(emulator.runs) == 3
    assert documents(resumed.out)[-1]["summary"]["resumed"] == 3


async def test_journal_of_something_else_is_exit_code_2(
    here: Refold, emulator: Emulator, service: Settings, tmp_path: Path
) -> None:
    """It is not overwritten."""
    journal = tmp_path / "notes.txt"
    journal.write_text("my notes")
    call = ("batch", "-", *PAYLOADS, "--journal", str(journal), "--resume")
    ended = await here(*call, stdin=b"{}\n", **service)

    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(f"refold: journal {journal}")
    assert journal.read_text() == "my notes"
    assert not emulator.runs


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
async def test_killed_batch_is_resumed(
    refold: Refold, emulator: Emulator, service: Settings, environ: dict[str, str], tmp_path: Path
) -> None:
    """After SIGKILL in the middle every item has run once."""
    file = lines_of(tmp_path / "in.jsonl", [{"n": n} for n in range(60)])
    journal = str(tmp_path / "j.sqlite")
    call = ("batch", file, *PAYLOADS, "--mode", "safe", "--rate", "60", "--journal", journal)
    child = await asyncio.create_subprocess_exec(
        *(*COMMAND, *call), env={**environ, **service}, stderr=asyncio.subprocess.DEVNULL
    )
    while len(emulator.runs) < 20:  # noqa: ASYNC110 - another process is waited for
        await asyncio.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    await child.wait()
    ended = await refold(*call, "--resume", "--json", **service)

    assert ended.code == 0
    assert sorted(run.payload["n"] for run in emulator.runs) == [*range(60)]


async def test_missing_journal_extra_is_named(
    refold: Refold, emulator: Emulator, service: Settings, environ: dict[str, str], tmp_path: Path
) -> None:
    """Without aiosqlite a journal can't be kept: what to install is said, nothing is sent."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nsys.modules['aiosqlite'] = None\n", encoding="utf-8"
    )
    path = os.pathsep.join([str(tmp_path), environ["PYTHONPATH"]])
    call = ("batch", "-", *PAYLOADS, "--journal", str(tmp_path / "j.sqlite"))
    ended = await refold(*call, stdin=b"{}\n", **service, PYTHONPATH=path)

    assert (ended.code, ended.out) == (2, "")
    assert "refold-async[batch]" in ended.err
    assert not emulator.runs
