"""The command as a child process."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

ROOT = Path(__file__).parents[2]
COMMAND = (sys.executable, "-X", "dev", "-W", "error", "-m", "refold_async.cli")
_TERMINAL = {"FORCE_COLOR", "NO_COLOR", "COLUMNS", "LINES", "TTY_COMPATIBLE", "TTY_INTERACTIVE"}


@attrs.frozen
class Ended:
    """A child process that has ended."""

    code: int
    out: str
    err: str


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

    async def run(*arguments: str, **variables: str) -> Ended:
        child = await asyncio.create_subprocess_exec(
            *COMMAND,
            *arguments,
            env={**environ, **variables},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await child.communicate()
        return Ended(child.returncode or 0, out.decode(), err.decode())

    return run
