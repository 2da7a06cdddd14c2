"""A client made before the fork and used after it, as `gunicorn --preload` has it.

`python -m tests.support.forking BASE_URL CHILDREN CALLS` forks children that use the one client
they all inherited. Each prints a line per run: its own number, and what the run it was given says.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys

from refold_async import PollPolicy, RefoldClient, RefoldError, RetryPolicy


def say(line: object) -> None:
    """Print a line whole, whatever the other processes print."""
    os.write(1, f"{json.dumps(line)}\n".encode())


async def work(refold: RefoldClient, child: int, calls: int) -> None:
    """Start runs at the same time as the other children, and say what came of them."""
    async with refold:
        for number in range(calls):
            asked = [child, number]
            try:
                result = await refold.run("wf_1", slug="s", payload={"asked": asked})
            except RefoldError as error:
                say([asked, type(error).__name__])
            else:
                say([asked, result.output["asked"]])


def main(base_url: str, children: int, calls: int) -> None:
    """Make a client, fork, and wait for the children."""
    refold = RefoldClient(
        api_key="tk_emulator",
        linked_account_id="acct_1",
        base_url=base_url,
        rate_limit=None,
        polling=PollPolicy(first=0.02, max_interval=0.1),
        retry=RetryPolicy(mode="safe", settle=0.01, wait=0, max_wait=0),
    )
    pids = []
    for child in range(children):
        pid = os.fork()
        if pid == 0:
            asyncio.run(work(refold, child, calls))
            os._exit(0)
        pids.append(pid)
    for pid in pids:
        os.waitpid(pid, 0)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
