"""Peak memory of `map` over 1,000,000 generated requests, beside 10,000; or of `run_batch`.

    python tests/bench/map_memory.py [--requests 1000000] [--journal]

With `--journal` it is `run_batch` with a journal and `out=`, over 100,000 requests beside 1,000.

Each figure is the largest resident set of a child process whose requests are answered by a stub in
the place of the socket: budget, retries, handles and the fan-out itself are the real ones.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
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

    async def main(many, folder):
        async with RefoldClient(
            api_key="tk_stub", linked_account_id="acct_1", rate_limit=None
        ) as refold:
            requests = (
                ExecutionRequest("wf_1", slug="hubspot", payload={"n": n}, sync=True, key=f"k{n}")
                for n in range(many)
            )
            if folder:
                report = await refold.run_batch(
                    requests, journal=f"{folder}/j.sqlite", out=f"{folder}/out.jsonl"
                )
                assert report.succeeded == many, report
                return
            succeeded = 0
            async with aclosing(refold.map(requests)) as items:
                async for item in items:
                    succeeded += item.outcome == "succeeded"
            assert succeeded == many, succeeded

    asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
    # Not `ru_maxrss`, which a child takes over from its parent.
    peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    print(int(peak.split()[1]) / 1024)
"""


def peak(requests: int, *, journal: bool) -> float:
    """Run so many requests in a process of its own; give its peak resident set in MB."""
    with tempfile.TemporaryDirectory() as folder:
        printed = subprocess.run(  # noqa: S603 - our own program
            [
                *(sys.executable, "-c", textwrap.dedent(CHILD)),
                *(str(requests), folder if journal else ""),
            ],
            stdout=subprocess.PIPE,
            check=True,
        ).stdout
    return float(printed)


def main(requests: int, *, journal: bool) -> None:
    """Print the figures."""
    few = requests // 100
    small = peak(few, journal=journal)
    print(f"{few:>11,} requests: peak {small:6.1f} MB")
    began = time.perf_counter()
    large = peak(requests, journal=journal)
    seconds = time.perf_counter() - began
    print(f"{requests:>11,} requests: peak {large:6.1f} MB, {requests / seconds:,.0f} per second")
    print(f"  the difference: {large - small:.1f} MB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--requests", type=int, default=None)
    parser.add_argument("--journal", action="store_true", help="run_batch, with a journal and out=")
    given = parser.parse_args()
    main(given.requests or (100_000 if given.journal else 1_000_000), journal=given.journal)
