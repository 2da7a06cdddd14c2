"""The emulator as a process of its own, for the soak: `python -m tests.soak.service SETTINGS`.

SETTINGS is JSON: `behaviour`, the arguments of a `Behaviour`; `faults`, a list of
`[operation, arguments of a Fault, share]`; and `seconds`, from and to which runs take. It
prints its base URL; for each line on stdin it prints all its runs as a JSON list of
`[number of the call, execution_id]`; it ends with stdin.
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
    draw = random.Random(1)
    seconds = settings.get("seconds", (0, 0.2))

    @emulator.workflow(WORKFLOW, slug=SLUG, duration=lambda _: draw.uniform(*seconds))
    def echo(payload: dict[str, Any]) -> Any:
        return payload

    loop = asyncio.get_running_loop()
    async with emulator:
        print(emulator.base_url, flush=True)
        while await loop.run_in_executor(None, sys.stdin.readline):
            runs = [[run.payload["n"], run.execution_id] for run in emulator.runs]
            print(json.dumps(runs), flush=True)


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
