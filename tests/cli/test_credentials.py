"""Where the credential comes from, and that it shows nowhere."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.cli.conftest import COMMAND

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from refold_async.emulator import Emulator
    from tests.cli.conftest import Ended

    Refold = Callable[..., Awaitable[Ended]]
    Settings = dict[str, str]
    Start = Callable[..., Any]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs pseudo-terminals")


async def test_key_is_asked_for_and_not_shown(
    on_terminal: Start, emulator: Emulator, service: Settings, endless: str
) -> None:
    """Without a credential in the environment a terminal is asked, and what is typed is hidden."""
    key = service.pop("REFOLD_API_KEY")
    terminal = on_terminal("status", endless, variables=service)
    await asyncio.to_thread(terminal.wait_for, r"Refold API key \(not shown\):")
    terminal.type(f"{key}\n")
    code = await asyncio.to_thread(terminal.end)

    assert code == 0
    assert endless in terminal.text
    assert key not in terminal.text


async def test_interrupt_at_the_prompt_ends_quietly(
    on_terminal: Start, service: Settings, endless: str
) -> None:
    """Nothing was sent, and no traceback is shown."""
    del service["REFOLD_API_KEY"]
    terminal = on_terminal("status", endless, variables=service)
    await asyncio.to_thread(terminal.wait_for, "not shown")
    terminal.interrupt()
    code = await asyncio.to_thread(terminal.end)

    assert code == 130
    assert terminal.screen[-1] == "refold: interrupted; nothing was sent"


async def test_key_shows_nowhere(
    refold: Refold, environ: dict[str, str], service: Settings, endless: str
) -> None:
    """Neither in the process table, nor in what is printed, nor in an error."""
    key = service["REFOLD_API_KEY"]
    ended = await refold("status", endless, "--json", **service)
    wrong = await refold("list", **{**service, "REFOLD_API_KEY": "tk_wrong_key"})
    child = await asyncio.create_subprocess_exec(
        *(*COMMAND, "watch", endless),
        env={**environ, **service},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert child.stdout is not None
    try:
        await child.stdout.readline()
        table = await asyncio.to_thread(
            subprocess.run,
            ["ps", "-ww", "-o", "args=", "-p", str(child.pid)],
            capture_output=True,
            check=True,
        )
    finally:
        child.kill()
        await child.communicate()

    assert endless in table.stdout.decode()
    assert key not in table.stdout.decode()
    assert wrong.code == 3
    for said in (ended.out, ended.err, wrong.out, wrong.err):
        assert key not in said
        assert "tk_wrong_key" not in said


async def test_without_a_terminal_nothing_is_asked(refold: Refold, service: Settings) -> None:
    """A job without a credential ends instead of waiting for somebody to type."""
    del service["REFOLD_API_KEY"]
    ended = await refold("list", **service)

    assert (ended.code, ended.out) == (2, "")
    assert ended.err == "refold: no credential: set REFOLD_API_KEY or REFOLD_SESSION_TOKEN\n"


async def test_account_is_asked_for(refold: Refold, service: Settings) -> None:
    """An API key alone does not say whose runs are meant; the message says how to say it."""
    del service["REFOLD_LINKED_ACCOUNT_ID"]
    ended = await refold("list", **service)

    assert (ended.code, ended.out) == (2, "")
    assert "Give --account ID, or set REFOLD_LINKED_ACCOUNT_ID" in ended.err


async def test_session_token_needs_no_account(
    refold: Refold, emulator: Emulator, service: Settings
) -> None:
    """It is bound to one."""
    token = emulator.issue_token("acct_7")
    ended = await refold(
        *("execute", "wf_echo", "--slug", "crm", "--json"),
        REFOLD_BASE_URL=service["REFOLD_BASE_URL"],
        REFOLD_SESSION_TOKEN=token,
    )

    assert ended.code == 0
    assert token not in ended.out
    assert emulator.runs[0].linked_account_id == "acct_7"
