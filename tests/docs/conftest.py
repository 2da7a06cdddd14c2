"""The examples as child processes, against an emulator in another."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
EXAMPLES = DOCS / "examples"
# Not in development mode: asyncio would tell on standard error of every callback that took 0.1 s.
PYTHON = (sys.executable, "-W", "error")


def environment(base_url: str = "") -> dict[str, str]:
    """The environment of a child, without this machine's own settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("REFOLD_")}
    return {
        **kept,
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
        "REFOLD_BASE_URL": base_url,
        "REFOLD_API_KEY": "tk_emulator",
        "REFOLD_LINKED_ACCOUNT_ID": "acct_1",
    }


@contextmanager
def running_emulator(*options: str) -> Iterator[str]:
    """`python -m refold_async.emulator`, as the tutorial says; gives its base URL."""
    with subprocess.Popen(  # noqa: S603 - our own command
        [*PYTHON, "-m", "refold_async.emulator", "--port", "0", *options],
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None
        try:
            yield next(line.split()[-1] for line in child.stdout if "base URL" in line)
        finally:
            child.terminate()


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    """Where an emulator with its sample workflows listens."""
    with running_emulator() as url:
        yield url
