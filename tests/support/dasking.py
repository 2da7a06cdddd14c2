"""Batches on Dask: how their processes make a client, and what a batch of a test holds.

The workers outlive the emulators of tests. So where the service is stands in a file, whose name is
in their environment.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from refold_async import ExecutionRequest, PollPolicy, RefoldClient, RetryPolicy, Timeouts
from refold_async.dask import run_batch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from refold_async import BatchReport

LEASE = 2.0
"""Seconds: long enough for a busy machine's beats, short enough for a test."""
READ = 2.0
PLACE = "DASK_TEST_PLACE"
"""The variable with the name of the file that holds the base URL."""
KEY = "tk_emulator"


def connect() -> RefoldClient:
    """Make the client of a process; the key is in its environment."""
    return RefoldClient(
        base_url=Path(os.environ[PLACE]).read_text(encoding="utf-8"),
        linked_account_id="acct_1",
        rate_limit=None,
        timeouts=Timeouts(read=READ),
        polling=PollPolicy(first=0.05, max_interval=0.2),
        retry=RetryPolicy(mode="safe", settle=0.1, wait=0.05, max_wait=0.1),
    )


def connect_by_place() -> RefoldClient:
    """Make a client of another account in each process."""
    return RefoldClient(linked_account_id=f"acct_{os.getpid()}")


async def connect_async() -> RefoldClient:
    """Be no function that makes a client."""
    return connect()


def requests(count: int, **options: Any) -> Iterator[ExecutionRequest]:
    """Give a batch's items."""
    for number in range(count):
        yield ExecutionRequest("wf_1", slug="s", payload={"n": number}, **options)


def connect_narrow() -> RefoldClient:
    """Make a client that sends few at a time, so that a chunk takes a while."""
    return RefoldClient(
        base_url=Path(os.environ[PLACE]).read_text(encoding="utf-8"),
        linked_account_id="acct_1",
        rate_limit=None,
        max_connections=4,
        timeouts=Timeouts(read=READ),
        polling=PollPolicy(first=0.05, max_interval=0.2),
        retry=RetryPolicy(mode="safe", settle=0.1, wait=0.05, max_wait=0.1),
    )


async def run(
    scheduler: str, journal: str, count: int, out: str | os.PathLike[str] | None = None
) -> BatchReport:
    """Run the batch of a test, from wherever its journal says."""
    from distributed import Client

    async with Client(scheduler, asynchronous=True) as cluster:
        return await run_batch(
            requests(count),
            cluster=cluster,
            connect="tests.support.dasking:connect_narrow",
            journal=journal,
            chunk=10,
            lease=LEASE,
            out=out,
        )


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1], sys.argv[2], int(sys.argv[3]), *sys.argv[4:]))
