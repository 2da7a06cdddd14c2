"""The emulator as a process of its own, for the soak: `python -m tests.soak.service SETTINGS`.

SETTINGS is JSON: `behaviour`, the arguments of a `Behaviour`; `faults`, a list of
`[operation, arguments of a Fault, share]`; `seconds`, from and to which runs take; `pushes`, how
deliveries fare; and `stopped`, for how many seconds out of how many there are none. It prints its
base URL; for each line on stdin it prints all its runs as a JSON list of
`[number of the call, execution_id]`. After the line `well` nothing goes wrong any more. It ends
with stdin.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from typing import Any

from refold_async.emulator import Behaviour, Emulator, Fault

WORKFLOW = "6a314c54d4616e99e7fa5a02"
SLUG = "soak"


async def main(settings: dict[str, Any]) -> None:
    """Serve until stdin ends."""
    emulator = Emulator(behaviour=Behaviour(**settings["behaviour"]))
    emulator.recording = False
    for seed, (operation, fault, share) in enumerate(settings["faults"]):
        emulator.faults.share(operation, Fault(**fault), share=share, seed=seed)
    for name, value in settings.get("pushes", {}).items():
        setattr(emulator.pushes, name, value)
    draw = random.Random(1)
    seconds = settings.get("seconds", (0, 0.2))

    @emulator.workflow(WORKFLOW, slug=SLUG, duration=lambda _: draw.uniform(*seconds))
    def echo(payload: dict[str, Any]) -> Any:
        return payload

    loop = asyncio.get_running_loop()
    async with emulator, asyncio.TaskGroup() as tasks:
        stopping = tasks.create_task(stop_now_and_then(emulator, *settings.get("stopped", ())))
        print(emulator.base_url, flush=True)
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            if line == "well\n":
                emulator.faults.clear()
            runs = [[run.payload["n"], run.execution_id] for run in emulator.runs]
            print(json.dumps(runs), flush=True)
        stopping.cancel()


async def stop_now_and_then(emulator: Emulator, seconds: float = 0.0, every: float = 0.0) -> None:
    """Have nothing delivered for so many seconds out of so many, the last ones of them."""
    while seconds:
        await asyncio.sleep(every - seconds)
        emulator.pushes.stopped = True
        await asyncio.sleep(seconds)
        emulator.pushes.stopped = False


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
