"""Instructions per `execute`, layer by layer, beside an ordinary aiohttp call, 64 in flight.

    python -m tests.bench.execute_layers [--calls 1280]

Each row does what the row above does and one thing more. The calls run under valgrind, which counts
instructions in user space: the counts hardly differ between runs, on however busy a machine. It
needs valgrind and a Python that is not stripped of its symbols: `gc.freeze()`, which nobody else
calls, marks where a row begins and ends.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import re
import subprocess
import sys
import tempfile
from contextvars import Context
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp

from refold_async import RefoldClient
from refold_async._clock import done_within
from refold_async._protocol import Request, execute_request
from refold_async._transport.attempt import under_way
from tests.bench.execute_cpu import PAYLOAD, PLENTY, one_round, server

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

ROWS = {
    "ordinary": "an ordinary aiohttp call: json=, .json()",
    "aiohttp": "aiohttp as the SDK uses it, with a ready body",
    "exchange": "+ credential, deadline, sent mark, reply (Wire.exchange)",
    "task": "+ a task of its own, its caller waits for it",
    "send": "+ token, slot, judging, JSON decoded (Transport.send)",
    "build": "+ request checked and built, JSON encoded",
    "execute": "+ own tag, orphans' and reconcile's due, handle (execute)",
    "budget": "the same with a rate_limit",
}


def contenders(
    base_url: str, session: aiohttp.ClientSession, free: RefoldClient, paced: RefoldClient
) -> dict[str, Callable[[], Awaitable[object]]]:
    """Give a call for each row."""

    def build() -> Request:
        return execute_request(
            "wf_1",
            slug="hubspot",
            payload=PAYLOAD,
            account="acct_1",
            own_tag="rfa-" + "0" * 32,
            max_payload_bytes=10_000,
        )

    request = build()
    credentials = {"x-api-key": "tk_bench", "linked_account_id": "acct_1"}
    url, headers = base_url + request.target, {**request.headers, **credentials}
    transport = free._caller.parts.transport
    send = free._caller.parts.services.api.send
    wire, secret = transport.wire, transport.auth.current
    assert secret is not None

    async def ordinary() -> None:
        own = {**credentials, "slug": "hubspot"}
        async with session.post(url, json={"payload": PAYLOAD}, headers=own) as response:
            await response.json()

    async def bare() -> None:
        assert wire._session is not None
        under_way.set(wire.attempt(request, wire.timeouts))
        await wire._read(
            await wire._session.request(
                "POST", url, data=request.body, headers=headers, allow_redirects=False
            )
        )

    async def exchange() -> None:
        await wire.exchange(request, secret, wire.attempt(request, wire.timeouts))

    async def own_task() -> None:
        going = asyncio.get_running_loop().create_task(exchange(), context=Context())
        await done_within(transport.clock, going, None)

    return {
        "ordinary": ordinary,
        "aiohttp": bare,
        "exchange": exchange,
        "task": own_task,
        "send": lambda: send(request),
        "build": lambda: send(build()),
        "execute": lambda: free.execute("wf_1", slug="hubspot", payload=PAYLOAD),
        "budget": lambda: paced.execute("wf_1", slug="hubspot", payload=PAYLOAD),
    }


async def make_calls(calls: int) -> None:
    """Make the calls of each row between two marks."""
    async with (
        server() as base_url,
        aiohttp.ClientSession() as session,
        RefoldClient(
            api_key="tk_bench", linked_account_id="acct_1", base_url=base_url, rate_limit=None
        ) as free,
        RefoldClient(
            api_key="tk_other", linked_account_id="acct_1", base_url=base_url, rate_limit=PLENTY
        ) as paced,
    ):
        rows = contenders(base_url, session, free, paced)
        for name in ROWS:
            await one_round(rows[name], 256)  # connections, caches, adaptive bytecode
            gc.freeze()
            await one_round(rows[name], calls)
            gc.freeze()


def count(calls: int) -> dict[str, float]:
    """Make the calls in a child under valgrind; give the instructions per call of each row."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "out")
        valgrind = f"valgrind --tool=callgrind --dump-before=gc_freeze --callgrind-out-file={out}"
        python = [sys.executable, "-m", "tests.bench.execute_layers", "--count"]
        subprocess.run(  # noqa: S603
            [*valgrind.split(), *python, "--calls", str(calls)],
            env={**os.environ, "PYTHONHASHSEED": "0"},
            stderr=subprocess.DEVNULL,
            check=True,
        )
        found: dict[str, float] = {}
        for number, name in enumerate(ROWS):
            # Dumps are counted from 1, and every second one is what went before a row.
            dump = Path(f"{out}.{2 * number + 2}").read_text(encoding="utf-8")
            total = re.search(r"^(?:summary|totals): (\d+)", dump, re.MULTILINE)
            assert total is not None
            found[name] = int(total[1]) / calls
        return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=1280)
    parser.add_argument("--count", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.count:
        asyncio.run(make_calls(options.calls))
        return
    found = count(options.calls)
    before = 0.0
    print("thousands of instructions per call, and beside an ordinary call")
    for name, words in ROWS.items():
        added = f"{(found[name] - before) / 1e3:+7.1f}" if words.startswith("+") else " " * 7
        ratio = found[name] / found["ordinary"]
        print(f"  {words:<58} {found[name] / 1e3:7.1f} {added} {ratio:6.2f}")
        before = found[name]


if __name__ == "__main__":
    main()
