"""The command as a child process."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from typer.testing import CliRunner

from refold_async import RefoldClient
from refold_async.cli import _app
from refold_async.emulator import NodeFailed, Respond

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from refold_async.emulator import Emulator

ROOT = Path(__file__).parents[2]
# Not in development mode: asyncio would tell on standard error of every callback that took 0.1 s.
COMMAND = (sys.executable, "-W", "error", "-m", "refold_async.cli")
PATIENCE = 120.0
"""Seconds after which a child hangs."""
PAYLOADS = ("--workflow", "wf_some", "--slug", "crm")
FAST = ("--rate", "500")
"""Options of a batch: its lines are payloads of a quick workflow; and no pacing to speak of."""
_TERMINAL = {"FORCE_COLOR", "NO_COLOR", "COLUMNS", "LINES", "TTY_COMPATIBLE", "TTY_INTERACTIVE"}


@attrs.frozen
class Ended:
    """A child process that has ended."""

    code: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def _interrupts_as_before() -> Iterator[None]:
    """`main` leaves a process that is about to end deaf to interrupts; children inherit that."""
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def environ() -> dict[str, str]:
    """The environment of a child, without this machine's own settings."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("REFOLD_") and name not in _TERMINAL
    }
    return {**kept, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1"}


@pytest.fixture
def refold(environ: dict[str, str]) -> Callable[..., Awaitable[Ended]]:
    """Give a function that runs the command to its end, with arguments and variables."""

    async def run(*arguments: str, stdin: bytes = b"", **variables: str) -> Ended:
        child = await asyncio.create_subprocess_exec(
            *COMMAND,
            *arguments,
            env={**environ, **variables},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            out, err = await asyncio.wait_for(child.communicate(stdin), PATIENCE)
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()
        return Ended(child.returncode or 0, out.decode(), err.decode())

    return run


@pytest.fixture
def here() -> Iterator[Callable[..., Awaitable[Ended]]]:
    """Give a function that does the same in a thread of this process: quicker, less real."""

    async def run(*arguments: str, stdin: bytes = b"", **variables: str) -> Ended:
        result = await asyncio.to_thread(
            CliRunner().invoke, _app.app, arguments, input=stdin, env=variables
        )
        return Ended(result.exit_code, result.stdout, result.stderr)

    logger = logging.getLogger("refold_async")
    handlers = logger.handlers[:]
    yield run
    logger.handlers[:] = handlers


def lines_of(path: Path, items: list[Any]) -> str:
    """Write a file of JSON lines; give its path."""
    path.write_text("".join(f"{json.dumps(item)}\n" for item in items), encoding="utf-8")
    return str(path)


def documents(text: str) -> list[dict[str, Any]]:
    """Read JSON lines."""
    return [json.loads(line) for line in text.splitlines()]


def add_workflows(emulator: Emulator) -> None:
    """Give an emulator the workflows of these tests, all under the slug `crm`."""

    @emulator.workflow("wf_echo", slug="crm", duration=0.2)
    def echo(payload: dict[str, Any]) -> Any:
        return payload

    @emulator.workflow("wf_fails", slug="crm", duration=0.1, nodes=("Start", "Load", "Response"))
    def fail(payload: dict[str, Any]) -> Any:
        raise NodeFailed(node="Load", message="the CRM said no")

    @emulator.workflow("wf_rejects", slug="crm", duration=0.1)
    def reject(payload: dict[str, Any]) -> Any:
        return Respond(status=422, data={"reason": "email is taken"})

    @emulator.workflow("wf_endless", slug="crm", duration=None)
    def go_on(payload: dict[str, Any]) -> Any:
        return payload

    @emulator.workflow("wf_some", slug="crm", duration=0.1)
    def some(payload: dict[str, Any]) -> Any:
        if payload.get("bad"):
            raise NodeFailed(node="Work", message="bad row")
        return {"id": payload.get("n")}


@pytest.fixture
def service(emulator: Emulator) -> dict[str, str]:
    """The environment that points at an emulator with these workflows."""
    add_workflows(emulator)
    return {
        "REFOLD_BASE_URL": emulator.base_url,
        "REFOLD_API_KEY": emulator.api_key,
        "REFOLD_LINKED_ACCOUNT_ID": "acct_1",
    }


@pytest.fixture
async def endless(emulator: Emulator, service: dict[str, str]) -> str:
    """A run that goes on until the test ends it."""
    async with RefoldClient(
        api_key=emulator.api_key, base_url=emulator.base_url, linked_account_id="acct_1"
    ) as refold:
        handle = await refold.execute("wf_endless", slug="crm", payload={"n": 1})
    return str(handle.execution_id)


@pytest.fixture
def on_terminal(environ: dict[str, str]) -> Iterator[Callable[..., Any]]:
    """Give a function that runs the command on a terminal of its own."""
    terminals = pytest.importorskip("tests.support.terminal", reason="needs pseudo-terminals")
    with ExitStack() as stack:

        def start(*arguments: str, **options: Any) -> Any:
            variables = {**environ, **options.pop("variables", {})}
            terminal = terminals.Terminal([*COMMAND, *arguments], variables, **options)
            return stack.enter_context(terminal)

        yield start
