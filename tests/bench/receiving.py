"""What a delivery costs the process that takes it: CPU per event, beside an empty ASGI route.

    python -m tests.bench.receiving [--events 5000]

uvicorn in a process of its own, 1,000 deliveries a second over 8 kept connections. *told* is `asgi`
with a client whose handles nobody awaits: verified, parsed and kept.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import sys
import time

import aiohttp

from tests.support.deliveries import KEY, encoded, sign, workflow_event

CONNECTIONS = 8
PER_SECOND = 1_000

SERVER = """
import asyncio, socket, sys, uvicorn
from refold_async import RefoldClient, webhooks

async def empty(scope, receive, send):
    while (await receive()).get("more_body"):
        pass
    headers = [(b"content-length", b"0")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b""})

async def main():
    app = empty if sys.argv[1] == "empty" else webhooks.asgi(RefoldClient(api_key=sys.argv[2]))
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, lifespan="off", access_log=False, log_level="warning", ws="none")
    server = uvicorn.Server(config)
    print(listener.getsockname()[1], flush=True)
    await server.serve(sockets=[listener])

asyncio.run(main())
"""


async def measure(kind: str, events: int) -> float:
    """Give the CPU seconds of a server that took so many deliveries."""
    server = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", SERVER, kind, KEY), stdout=asyncio.subprocess.PIPE
    )
    assert server.stdout is not None
    url = f"http://127.0.0.1:{int(await server.stdout.readline())}/"
    began = time.monotonic()
    async with aiohttp.ClientSession() as session:

        async def deliver(first: int) -> None:
            for number in range(first, events, CONNECTIONS):
                await asyncio.sleep(began + number / PER_SECOND - time.monotonic())
                body = encoded(workflow_event(instance_id=f"{number:024x}"))
                headers = {"x-cobalt-signature": sign(body), "Content-Type": "application/json"}
                async with session.post(url, data=body, headers=headers) as answer:
                    assert answer.status == 200, answer.status

        await asyncio.gather(*map(deliver, range(CONNECTIONS)))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    server.terminate()
    await server.wait()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime


async def main(events: int) -> None:
    """Print CPU per event, beyond what an idle server takes to start."""
    idle = {kind: await measure(kind, 0) for kind in ("empty", "told")}
    cost: dict[str, float] = {}
    for kind in ("empty", "told", "empty", "told"):
        used = (await measure(kind, events) - idle[kind]) / events
        cost[kind] = min(used, cost.get(kind, used))
    print(
        f"an empty route {cost['empty'] * 1e6:.0f} us per event, told {cost['told'] * 1e6:.0f} us:"
    )
    print(f"{cost['told'] / cost['empty']:.2f} times as much")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--events", type=int, default=5_000)
    asyncio.run(main(parser.parse_args().events))
