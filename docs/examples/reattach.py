"""A wait that times out, and a later process that picks the run up again by its id.

python reattach.py       starts a run and waits for less than it takes
python reattach.py ID    waits for that run
"""

import asyncio
import sys

from refold_async import RefoldClient, WaitTimeoutError


async def start() -> None:
    async with RefoldClient() as refold:
        handle = await refold.execute("wf_contact", slug="demo")
        try:
            await handle.result(timeout=0.8)
        except WaitTimeoutError as error:
            print(error.last_status, "after", round(error.waited, 1), "s")
            print("python reattach.py", error.execution_id)


async def resume(execution_id: str) -> None:
    async with RefoldClient() as refold:
        result = await refold.handle(execution_id).result(timeout=30)
        print(result.execution_id, result.status, result.output)


if __name__ == "__main__":
    asyncio.run(resume(sys.argv[1]) if sys.argv[1:] else start())
