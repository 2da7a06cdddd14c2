"""A Refold whose time runs faster, as a process of its own: `python ... BEGAN SCALE DELAY PUSHED`.

BEGAN is the epoch second at which both clocks agree, SCALE how many times faster it runs,
DELAY the real seconds before each answer to a read, PUSHED those before a delivery. A run takes the
`seconds` of its payload. It prints its base URL, for each line on stdin the ends of all runs as
JSON, and ends with stdin.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

from refold_async.emulator import Emulator, Fault

WORKFLOW = "6a314c54d4616e99e7fa5a02"


async def main(began: float, scale: float, delay: float, pushed: float) -> None:
    """Serve until stdin ends."""
    emulator = Emulator(now=lambda: began + (time.time() - began) * scale)
    emulator.pushes.delay = (pushed, pushed)
    emulator.recording = False
    for operation in ("get_execution", "get_response", "list_executions"):
        emulator.faults.always(operation, Fault(delay=delay))

    @emulator.workflow(WORKFLOW, slug="bench", duration=lambda payload: payload["seconds"])
    def work(payload: dict[str, Any]) -> Any:
        return payload

    loop = asyncio.get_running_loop()
    async with emulator:
        print(emulator.base_url, flush=True)
        while await loop.run_in_executor(None, sys.stdin.readline):
            print(json.dumps({run.execution_id: run.ends_at for run in emulator.runs}), flush=True)


if __name__ == "__main__":
    asyncio.run(main(*map(float, sys.argv[1:])))
