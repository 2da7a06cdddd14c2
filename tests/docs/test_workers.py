"""The workers of the page about queues: real processes, and a real Redis that delivers twice."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from refold_async.emulator import Emulator
from tests.docs.conftest import EXAMPLES, PYTHON, ROOT, environment
from tests.support.redis import EXECUTABLE, MISSING, RedisServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

# A Redis that has just come up is trusted after as long as a request may take: shorter here.
IMPATIENT = """
from functools import partial
import worker_taskiq
from refold_async import RefoldClient, RetryPolicy, Timeouts

short = {"timeouts": Timeouts(connect=0.25, read=0.25), "retry": RetryPolicy(settle=0.05)}
worker_taskiq.RefoldClient = partial(RefoldClient, **short)
broker = worker_taskiq.broker
"""
WORKFLOW = "6a314c54d4616e99e7fa5a02"
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(EXECUTABLE is None, reason=MISSING),
    pytest.mark.skipif(sys.platform == "win32", reason="ends process groups"),
]


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis that has been up for long, as far as the workers can tell."""
    server = RedisServer(tmp_path)
    server.start()
    server.grow_old()
    server.remembers("invoices")
    yield server
    server.kill()


@contextlib.asynccontextmanager
async def working(told: dict[str, str], folder: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a worker, as the page says, and kill it with all its processes."""
    worker = await asyncio.create_subprocess_exec(
        *(*PYTHON, "-m", "taskiq", "worker", "impatient:broker", "--workers", "1"),
        env=told,
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        yield worker
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(worker.pid, signal.SIGKILL)
        await worker.communicate()


async def said(worker: asyncio.subprocess.Process, pattern: str) -> re.Match[str]:
    """Wait until a worker's log says something."""
    assert worker.stdout is not None
    log = ""
    while True:
        line = (await worker.stdout.readline()).decode()
        assert line, log
        log += line
        if found := re.search(pattern, line):
            return found


async def test_a_job_whose_worker_is_killed_is_one_run(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    """Another worker gets the job again, attaches to its run, and sees it to its end."""
    (tmp_path / "impatient.py").write_text(IMPATIENT)
    async with Emulator() as emulator, asyncio.timeout(120):
        emulator.workflow(WORKFLOW, slug="billing", duration=None)(dict)
        told = environment(emulator.base_url) | {
            "REDIS_URL": redis_server.url,
            "IDLE_TIMEOUT": "100",
            "PYTHONPATH": os.pathsep.join((str(ROOT), str(EXAMPLES))),
        }

        async def give(invoice: str) -> None:
            job = (EXAMPLES / "worker_taskiq.py", "acct_7", invoice)
            giver = await asyncio.create_subprocess_exec(*PYTHON, *job, env=told)
            assert await giver.wait() == 0

        await give("invoice-1")
        async with working(told, tmp_path) as killed:
            started = await said(killed, r"invoice-1 is (\w+), attached: False")
        async with working(told, tmp_path) as worker:
            await give("invoice-2")  # what lies is asked for after what is new
            again = await said(worker, r"invoice-1 is (\w+), attached: True")
            emulator.finish(started[1])
            await said(worker, "invoice-1 ended")

        assert again[1] == started[1]
        assert len(emulator.runs) == 2
