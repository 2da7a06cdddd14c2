"""Peak memory of `map` over 1,000,000 generated requests, beside 10,000.

    python tests/bench/map_memory.py [--requests 1000000]

Each figure is the largest resident set of a child process whose requests are answered by a stub in
the place of the socket: budget, retries, handles and the fan-out itself are the real ones.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import textwrap
import time

CHILD = """
    import asyncio, sys
    from contextlib import aclosing
    from refold_async import ExecutionRequest, RefoldClient
    from refold_async._protocol import Reply
    from refold_async._transport.wire import Wire

    BODY = (
        b'{"execution_id":"6a314c54d4616e99e7fa5a02","return_value":{"n":1},"errored":false,'
        b'"status_code":200}'
    )

    async def exchange(wire, request, secret, attempt):
        await asyncio.sleep(0)
        attempt.depart()
        return Reply(status=200, headers={}, body=BODY, received_at=1_781_615_700.0)

    Wire.exchange = exchange

    async def main(many):
        async with RefoldClient(
            api_key="tk_stub", linked_account_id="acct_1", rate_limit=None
        ) as refold:
            requests = (
                ExecutionRequest("wf_1", slug="hubspot", payload={"n": n}, sync=True)
                for n in range(many)
            )
            succeeded = 0
            async with aclosing(refold.map(requests)) as items:
                async for item in items:
                    succeeded += item.outcome == "succeeded"
            assert succeeded == many, succeeded

    asyncio.run(main(int(sys.argv[1])))
    # Not `ru_maxrss`, which a child takes over from its parent.
    peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    print(int(peak.split()[1]) / 1024)
"""


def peak(requests: int) -> float:
    """Map so many requests in a process of its own; give its peak resident set in MB."""
    printed = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", textwrap.dedent(CHILD), str(requests)],
        stdout=subprocess.PIPE,
        check=True,
    ).stdout
    return float(printed)


def main(requests: int) -> None:
    """Print the figures."""
    few = min(10_000, requests)
    small = peak(few)
    print(f"{few:>11,} requests: peak {small:6.1f} MB")
    began = time.perf_counter()
    large = peak(requests)
    seconds = time.perf_counter() - began
    print(f"{requests:>11,} requests: peak {large:6.1f} MB, {requests / seconds:,.0f} per second")
    print(f"  the difference: {large - small:.1f} MB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--requests", type=int, default=1_000_000)
    main(parser.parse_args().requests)
