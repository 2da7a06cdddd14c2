"""How fast a batch of runs of 2 s ends at the default ceiling of 20 requests per second.

    python tests/bench/batch_rate.py [--items 400]

Items per second with outputs, of which each takes a start and a read, and without; and how many
seconds after its end an item was known. The emulator runs in the same process.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from statistics import median

from refold_async import ExecutionRequest, RefoldClient
from refold_async.emulator import Emulator

SECONDS = 2.0
WORKFLOW = "6a106ba44480b80424a65289"


async def batch(items: int, *, output: bool) -> None:
    """Run one batch, and print its figures."""
    async with Emulator() as emulator:
        emulator.workflow(WORKFLOW, slug="s", duration=SECONDS)(dict)
        async with RefoldClient(
            api_key=emulator.api_key, linked_account_id="acct_1", base_url=emulator.base_url
        ) as refold:
            requests = (
                ExecutionRequest(WORKFLOW, slug="s", payload={"n": n}) for n in range(items)
            )
            known: dict[str | None, float] = {}
            began = time.monotonic()
            async for item in refold.map(requests, output=output):
                known[item.execution_id] = time.time()
            took = time.monotonic() - began
        late = [known[run.execution_id] - run.created_at - SECONDS for run in emulator.runs]
        print(
            f"{'with' if output else 'without'} outputs: {items / took:.1f} items/s, known"
            f" {median(late):.1f} s after their end in the median, {max(late):.1f} s at most",
            flush=True,
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--items", type=int, default=400)
    options = parser.parse_args()
    for wanted in (True, False):
        asyncio.run(batch(options.items, output=wanted))
