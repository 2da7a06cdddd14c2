"""`refold batch` as a child process, against an emulator here."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import signal
import sys
from typing import TYPE_CHECKING, Any

import pytest

from refold_async.emulator import Fault
from tests.cli.conftest import COMMAND, PATIENCE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from refold_async.emulator import Emulator
    from tests.cli.conftest import Ended

    Refold = Callable[..., Awaitable[Ended]]
    Settings = dict[str, str]
    Start = Callable[..., Any]

PAYLOADS = ("--workflow", "wf_some", "--slug", "crm")
FAST = ("--rate", "500")


def lines_of(path: Path, items: list[Any]) -> str:
    """Write a file of JSON lines; give its path."""
    path.write_text("".join(f"{json.dumps(item)}\n" for item in items), encoding="utf-8")
    return str(path)


def documents(text: str) -> list[dict[str, Any]]:
    """Read JSON lines."""
    return [json.loads(line) for line in text.splitlines()]


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


# -- progress and interrupts -----------------------------------------------------------------


async def test_piped_progress_is_a_line_now_and_then(
    refold: Refold, here: Refold, service: Settings
) -> None:
    """On standard error for people; on standard output for machines."""
    call = ("batch", "-", *PAYLOADS, "--rate", "60", "--every", "0.1")
    stdin = b"{}\n" * 20
    people = await refold(*call, stdin=stdin, **service)
    machines = await here(*call, "--json", stdin=stdin, **service)
    progress = [line["progress"] for line in documents(machines.out) if "progress" in line]

    assert people.code == machines.code == 0
    assert " of 20 done (" in people.err.splitlines()[0]
    assert "requests/s" in people.err.splitlines()[0]
    assert "\x1b" not in people.err + people.out
    assert machines.err == ""
    assert {now["total"] for now in progress} == {20}
    assert [now["done"] for now in progress] == sorted(now["done"] for now in progress)


@pytest.mark.parametrize("columns", [40, 80])
async def test_terminal_shows_a_bar(
    columns: int, on_terminal: Start, emulator: Emulator, service: Settings, tmp_path: Path
) -> None:
    """Done, failed, rate and what is left, within the width; then the summary alone."""
    file = lines_of(tmp_path / "orders.jsonl", [{"n": n, "bad": n == 3} for n in range(25)])
    call = ("batch", file, *PAYLOADS, "--rate", "60")
    terminal = on_terminal(*call, columns=columns, variables=service)
    going = await asyncio.to_thread(terminal.wait_for, r"[1-9]\d? of 25 [\s\S]+items/s")
    code = await asyncio.to_thread(terminal.end)
    lines = terminal.screen

    assert code == 1
    assert going.splitlines()[0].startswith("orders")
    assert "succeeded" in going
    assert max(map(len, lines)) <= columns
    assert lines[0].startswith("25 items in ")
    assert any(line.split() == ["24", "succeeded"] for line in lines)


async def test_service_that_sheds_is_shown(
    on_terminal: Start, emulator: Emulator, service: Settings, tmp_path: Path
) -> None:
    """Whoever looks sees why it goes slowly."""
    refused = Fault(status=429, headers={"Retry-After": "1"})
    emulator.faults.script("execute", None, None, refused)
    file = lines_of(tmp_path / "in.jsonl", [{"n": n} for n in range(10)])
    terminal = on_terminal("batch", file, *PAYLOADS, "--rate", "50", variables=service)
    await asyncio.to_thread(terminal.wait_for, r"1 refused, stopped by Retry-After for 0\.\d s")

    assert await asyncio.to_thread(terminal.end) == 0


async def test_first_interrupt_stops_sending_and_waits(
    on_terminal: Start, emulator: Emulator, service: Settings, tmp_path: Path
) -> None:
    """It says what goes on and how to resume; the line pasted does the rest."""
    file = lines_of(tmp_path / "in.jsonl", [{"n": n} for n in range(40)])
    journal = str(tmp_path / "j.sqlite")
    call = ("batch", file, *PAYLOADS, "--rate", "40", "--journal", journal)
    terminal = on_terminal(*call, columns=500, variables=service)
    await asyncio.to_thread(terminal.wait_for, r"[1-9]\d? running")
    terminal.interrupt()
    code = await asyncio.to_thread(terminal.end)
    started = len(emulator.runs)
    paste = terminal.screen[-1].removeprefix("What is left can be sent later: ")
    program, *arguments = shlex.split(paste)
    resumed = on_terminal(*arguments, variables=service)
    resumed_code = await asyncio.to_thread(resumed.end)

    assert code == 130
    assert re.search(r"refold: stopping\. Nothing more is sent; \d+ runs? go", terminal.text)
    assert "Ctrl-C again leaves at once." in terminal.text
    assert 0 < started < 40
    assert (program, arguments[-1]) == ("refold", "--resume")
    assert resumed_code == 0
    assert sorted(run.payload["n"] for run in emulator.runs) == [*range(40)]


async def test_second_interrupt_leaves_with_the_ids(
    on_terminal: Start, emulator: Emulator, service: Settings, tmp_path: Path
) -> None:
    """Without a journal the ids of the runs that go on are all there is."""
    file = lines_of(tmp_path / "in.jsonl", [{"n": n} for n in range(5)])
    call = ("batch", file, "--workflow", "wf_endless", "--slug", "crm", *FAST)
    terminal = on_terminal(*call, variables=service)
    await asyncio.to_thread(terminal.wait_for, "5 running")
    terminal.interrupt()
    await asyncio.to_thread(terminal.wait_for, r"Ctrl-C\s+again")
    terminal.interrupt()
    code = await asyncio.to_thread(terminal.end)

    assert code == 130
    assert "refold: left; 5 runs go on in Refold:" in terminal.text
    ids = {line.strip() for line in terminal.screen}
    assert {run.execution_id for run in emulator.runs} <= ids
    assert "Traceback" not in terminal.text


async def test_second_interrupt_names_the_journal(
    on_terminal: Start, emulator: Emulator, service: Settings, tmp_path: Path
) -> None:
    """With one, the command that resumes is all there is to know."""
    file = lines_of(tmp_path / "in.jsonl", [{"n": n} for n in range(5)])
    journal = str(tmp_path / "j.sqlite")
    call = ("batch", file, "--workflow", "wf_endless", "--slug", "crm", *FAST)
    terminal = on_terminal(*call, "--journal", journal, columns=500, variables=service)
    await asyncio.to_thread(terminal.wait_for, "5 running")
    terminal.interrupt()
    await asyncio.to_thread(terminal.wait_for, r"Ctrl-C\s+again")
    terminal.interrupt()
    code = await asyncio.to_thread(terminal.end)

    assert code == 130
    assert terminal.screen[-1].startswith("refold: left; 5 runs go on in Refold. Resume with: ")
    assert terminal.screen[-1].endswith(f"--journal {journal} --resume")


async def test_reader_that_leaves_does_not_stop_the_batch(
    environ: dict[str, str], emulator: Emulator, service: Settings
) -> None:
    """Half a batch because of `| head` would be a surprise."""
    call = ("batch", "-", *PAYLOADS, *FAST, "--json", "--every", "0.1")
    child = await asyncio.create_subprocess_exec(
        *(*COMMAND, *call),
        env={**environ, **service},
        stdin=asyncio.subprocess.PIPE,
        stdout=(pipe := os.pipe())[1],
        stderr=asyncio.subprocess.PIPE,
    )
    os.close(pipe[0])
    os.close(pipe[1])
    _, err = await asyncio.wait_for(child.communicate(b"{}\n" * 30), PATIENCE)

    assert (child.returncode, err) == (0, b"")
    assert len(emulator.runs) == 30
