"""`refold batch` under way: its progress, what Ctrl-C does, and readers that leave."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import signal
import sys
from typing import TYPE_CHECKING, Any

import pytest

from refold_async.emulator import Fault, NodeFailed
from tests.cli.conftest import COMMAND, FAST, PATIENCE, PAYLOADS, documents, lines_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from refold_async.emulator import Emulator
    from tests.cli.conftest import Ended

    Refold = Callable[..., Awaitable[Ended]]
    Settings = dict[str, str]
    Start = Callable[..., Any]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs pseudo-terminals")


def held(emulator: Emulator, which: Callable[[int], bool]) -> tuple[str, ...]:
    """Add a workflow whose runs end when they are told, if their number is one of these."""

    @emulator.workflow(
        "wf_held", slug="crm", duration=lambda payload: None if which(payload["n"]) else 0.0
    )
    def hold(payload: dict[str, Any]) -> Any:
        if payload.get("bad"):
            raise NodeFailed(node="Work", message="bad row")
        return {"id": payload["n"]}

    return ("--workflow", "wf_held", "--slug", "crm")


def release(emulator: Emulator) -> None:
    """End the runs that are held."""
    for run in emulator.runs:
        emulator.finish(run.execution_id)


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
    call = ("batch", file, *held(emulator, lambda n: n == 24), "--rate", "60")
    terminal = on_terminal(*call, columns=columns, variables=service)
    going = await asyncio.to_thread(terminal.wait_for, r"24 of 25 [\s\S]+items/s")
    release(emulator)
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
    refused = Fault(status=429, headers={"Retry-After": "2"})
    emulator.faults.script("execute", None, None, refused)
    file = lines_of(tmp_path / "in.jsonl", [{"n": n} for n in range(10)])
    terminal = on_terminal("batch", file, *PAYLOADS, "--rate", "50", variables=service)
    await asyncio.to_thread(terminal.wait_for, r"1 refused, stopped by Retry-After for [01]\.\d s")

    assert await asyncio.to_thread(terminal.end) == 0


async def test_first_interrupt_stops_sending_and_waits(
    on_terminal: Start, emulator: Emulator, service: Settings, tmp_path: Path
) -> None:
    """It says what goes on and how to resume; the line pasted does the rest."""
    file = lines_of(tmp_path / "in.jsonl", [{"n": n} for n in range(40)])
    journal = str(tmp_path / "j.sqlite")
    workflow = held(emulator, lambda n: n < 5)
    call = ("batch", file, *workflow, *FAST, "--concurrency", "5", "--journal", journal)
    terminal = on_terminal(*call, columns=500, variables=service)
    await asyncio.to_thread(terminal.wait_for, "5 running")
    terminal.interrupt()
    await asyncio.to_thread(terminal.wait_for, "Ctrl-C again")
    release(emulator)
    code = await asyncio.to_thread(terminal.end)
    started = len(emulator.runs)
    paste = terminal.screen[-1].removeprefix("What is left can be sent later: ")
    program, *arguments = shlex.split(paste)
    resumed = on_terminal(*arguments, variables=service)
    resumed_code = await asyncio.to_thread(resumed.end)

    assert code == 130
    assert re.search(r"refold: stopping\. Nothing more is sent; \d+ runs? go", terminal.text)
    assert "Ctrl-C again leaves at once." in terminal.text
    assert started == 5
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
    """With one, the command that resumes is all there is to know, and is never broken into lines.

    SIGTERM does as Ctrl-C does.
    """
    file = lines_of(tmp_path / "in.jsonl", [{"n": n} for n in range(5)])
    journal = str(tmp_path / "j.sqlite")
    call = ("batch", file, "--workflow", "wf_endless", "--slug", "crm", *FAST)
    terminal = on_terminal(*call, "--journal", journal, columns=60, variables=service)
    await asyncio.to_thread(terminal.wait_for, "5 running")
    terminal.interrupt(signal.SIGTERM)
    await asyncio.to_thread(terminal.wait_for, r"Ctrl-C\s+again")
    terminal.interrupt(signal.SIGTERM)
    code = await asyncio.to_thread(terminal.end)

    written = terminal.raw.decode().replace("\r\n", "\n")
    again = rf"refold batch .*--journal {re.escape(journal)} --resume"

    assert code == 130
    assert re.search(rf"can be sent later: {again}", written)
    assert re.search(rf"left; 5 runs go on in Refold\. Resume with: {again}\n", written)


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
