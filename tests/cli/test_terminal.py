"""The command on a pseudo-terminal: what moves, what is asked, and what Ctrl-C does."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from typing import TYPE_CHECKING, Any

import pytest

from refold_async.emulator import Emulator, Fault, NodeFailed
from tests.cli.conftest import COMMAND, PATIENCE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from tests.cli.conftest import Ended

    Refold = Callable[..., Awaitable[Ended]]
    Settings = dict[str, str]
    Start = Callable[..., Any]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs pseudo-terminals")

EVIL = "\x1b[31mred\x1b[2J\x1b]0;title\x07\u202e\x9b1m"


@pytest.mark.parametrize("columns", [40, 80])
async def test_watch_draws_nodes_until_the_end(
    columns: int, on_terminal: Start, emulator: Emulator, service: Settings, endless: str
) -> None:
    """The display moves with the run, stays within the width, and ends with the output."""
    call = ("watch", endless, "--interval", "0.2")
    terminal = on_terminal(*call, columns=columns, variables=service)
    going = await asyncio.to_thread(terminal.wait_for, r"▸  Start +Ready[\s\S]+RUNNING")
    emulator.finish(endless)
    code = await asyncio.to_thread(terminal.end)
    lines = terminal.screen

    assert code == 0
    assert going.splitlines()[0] == endless
    assert [line.split()[1] for line in lines if line.startswith("✓")] == [
        "Start",
        "Work",
        "Response",
    ]
    assert any(line.startswith("COMPLETED, 100 %") for line in lines)
    assert [line.strip() for line in lines[-3:]] == ["{", '"n": 1', "}"]
    assert lines.count(endless) == 1
    assert max(map(len, lines)) <= columns


async def test_no_color_is_respected(
    on_terminal: Start, emulator: Emulator, service: Settings, endless: str
) -> None:
    """With NO_COLOR nothing is coloured, dim or bold, and without it something is."""
    emulator.finish(endless)
    written = []
    for variables in ({}, {"NO_COLOR": "1"}):
        terminal = on_terminal("status", endless, variables={**service, **variables})
        assert await asyncio.to_thread(terminal.end) == 0
        written.append(terminal.raw.decode())

    coloured, plain = (re.findall(r"\x1b\[[0-9;]*m", text) for text in written)
    assert coloured
    assert not plain


async def test_run_shows_one_moving_line(
    on_terminal: Start, emulator: Emulator, service: Settings
) -> None:
    """The line is gone at the end; id and output stay."""
    terminal = on_terminal("run", "wf_endless", "--slug", "crm", variables=service)
    await asyncio.to_thread(terminal.wait_for, "RUNNING, .*at node 'Start'")
    emulator.finish(emulator.runs[0].execution_id)
    code = await asyncio.to_thread(terminal.end)

    assert code == 0
    assert terminal.screen[0] == f"started {emulator.runs[0].execution_id}"
    assert terminal.screen[1].startswith("COMPLETED, ")
    assert "RUNNING" not in "\n".join(terminal.screen)


async def test_remote_text_does_not_act(
    here: Refold, on_terminal: Start, emulator: Emulator, service: Settings
) -> None:
    """Escapes in outputs, names, statuses and errors reach the terminal as letters only."""
    steps = ("Start", f"Step {EVIL}", "Response")

    @emulator.workflow("wf_evil", slug="crm", name=EVIL, duration=0.1, nodes=steps)
    def evil(payload: dict[str, Any]) -> Any:
        if payload:
            raise NodeFailed(node=steps[1], message=EVIL)
        return {EVIL: [EVIL]}

    call = ("run", "wf_evil", "--slug", "crm", "--payload")
    written = [await here(*call, payload, **service) for payload in ("{}", '{"fail": 1}')]
    failed = emulator.runs[1].execution_id
    written += [await here(command, failed, **service) for command in ("status", "watch")]
    written += [await here("list", **service)]
    refusal = Fault(status=400, body={"message": EVIL, "error": EVIL})
    emulator.faults.script("list_executions", refusal)
    written += [await here("list", **service)]
    emulator.faults.script("execute", refusal)
    written += [
        await here("batch", "-", *call[2:4], "--workflow", "wf_evil", stdin=b"{}\n" * 2, **service)
    ]
    terminal = on_terminal("watch", failed, variables=service)
    await asyncio.to_thread(terminal.end)

    for text in [*(ended.out + ended.err for ended in written), terminal.raw.decode()]:
        assert re.search(r"\\(x|u00)1b\[31m", re.sub(r"\s+", "", text))
        assert_harmless(text)


def assert_harmless(written: str) -> None:
    """Nothing of what came from elsewhere is there in a form that acts."""
    for act in ("\x1b[31mred", "\x1b[2Jt", "\x1b]0", "\x07", "\u202e", "\x9b"):
        assert act not in written


# -- Ctrl-C ----------------------------------------------------------------------------------


async def test_interrupted_wait_says_that_the_run_goes_on(
    on_terminal: Start, emulator: Emulator, service: Settings
) -> None:
    """With the command that waits for it again; twice makes no difference."""
    terminal = on_terminal("run", "wf_endless", "--slug", "crm", columns=120, variables=service)
    await asyncio.to_thread(terminal.wait_for, "RUNNING")
    terminal.interrupt()
    code = await asyncio.to_thread(terminal.end)
    execution_id = emulator.runs[0].execution_id

    assert code == 130
    assert terminal.screen[-1] == (
        "refold: interrupted; the run goes on. Wait for it:"
        f" refold watch {execution_id} --account acct_1"
    )
    assert "Traceback" not in terminal.text


async def test_start_interrupted_on_its_way_is_not_forgotten(
    on_terminal: Start, emulator: Emulator, service: Settings
) -> None:
    """The answer has not come: what to look for is said, and the run can be found by it."""
    emulator.faults.script("execute", Fault(drop="after", delay=30))
    call = ("execute", "wf_endless", "--slug", "crm", "--tag", "nightly")
    terminal = on_terminal(*call, columns=150, variables=service)
    while not emulator.runs:  # noqa: ASYNC110 - another process is waited for
        await asyncio.sleep(0.01)
    terminal.interrupt()
    code = await asyncio.to_thread(terminal.end)

    assert code == 130
    assert terminal.screen[-1] == (
        "refold: interrupted; a run may have been started. Look for it:"
        " refold list --workflow wf_endless --tag nightly --account acct_1"
    )
    assert "Traceback" not in terminal.text


@pytest.mark.parametrize("module", ["typer", "rich.live", "refold_async.cli._app"])
async def test_interrupt_while_it_loads_prints_no_traceback(
    module: str, refold: Refold, environ: dict[str, str], service: Settings, tmp_path: Path
) -> None:
    """The command's own imports take a while, too."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, signal, sys\n"
        "class Interrupts:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == {module!r}:\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupts())\n",
        encoding="utf-8",
    )
    path = os.pathsep.join([str(tmp_path), environ["PYTHONPATH"]])
    ended = await refold("list", **service, PYTHONPATH=path)

    assert (ended.code, ended.out, ended.err) == (130, "", "refold: interrupted\n")


@pytest.mark.parametrize("pause", [0.0, 0.03, 0.3])
async def test_interrupts_in_a_row_print_no_traceback(
    pause: float, environ: dict[str, str], service: Settings, endless: str
) -> None:
    """Whether the second one meets the command at work, on its way out, or gone."""
    child = await asyncio.create_subprocess_exec(
        *(*COMMAND, "watch", endless),
        env={**environ, **service},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert child.stdout is not None
    await child.stdout.readline()
    child.send_signal(signal.SIGINT)
    await asyncio.sleep(pause)
    if child.returncode is None:
        child.send_signal(signal.SIGINT)
    out, err = await asyncio.wait_for(child.communicate(), PATIENCE)

    assert child.returncode == 130
    assert b"Traceback" not in out + err
