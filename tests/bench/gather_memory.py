"""Peak memory and sockets of 10,000 `execute` calls under one `asyncio.gather`.

    python tests/bench/gather_memory.py [--calls 10000]

The emulator runs in this process, the client in a child of its own; the figure is the child's
largest resident set, beside that of a child that only imports the package.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import textwrap
import time

from refold_async.emulator import Emulator

CLIENT = """
    import asyncio, sys
    from refold_async import RefoldClient

    async def main(base_url, calls):
        async with RefoldClient(
            api_key="tk_emulator", linked_account_id="acct_1", base_url=base_url, rate_limit=None
        ) as refold:
            handles = await asyncio.gather(
                *(refold.execute("wf_1", slug="hubspot", payload={"n": n}) for n in range(calls))
            )
            await asyncio.gather(*handles)

    if int(sys.argv[2]):
        asyncio.run(main(sys.argv[1], int(sys.argv[2])))
    # Not `ru_maxrss`, which a child takes over from its parent.
    peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    print(int(peak.split()[1]) / 1024)
"""


async def peak(base_url: str, calls: int) -> float:
    """Run the client; give its peak resident set in MB."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        textwrap.dedent(CLIENT),
        base_url,
        str(calls),
        stdout=subprocess.PIPE,
    )
    printed, _ = await child.communicate()
    return float(printed)


async def main(calls: int) -> None:
    """Print the figures."""
    async with Emulator() as emulator:
        emulator.recording = False
        emulator.workflow("wf_1", slug="hubspot", duration=0.0)(lambda payload: payload["n"])
        idle = await peak(emulator.base_url, 0)
        began = time.perf_counter()
        busy = await peak(emulator.base_url, calls)
        seconds = time.perf_counter() - began
        print(f"{calls:,} calls under one gather, then all handles awaited: {seconds:.1f} s")
        print(f"  peak memory        {busy:6.1f} MB   (package imported, nothing done: {idle:.1f})")
        print(f"  sockets at most    {emulator.peak_connections:6d}      (max_connections=100)")
        print(f"  runs started       {len(emulator.runs):6d}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=10_000)
    asyncio.run(main(parser.parse_args().calls))
