"""Follow a run while it goes on, and await it at the same time."""

import asyncio

from refold_async import RefoldClient


async def main() -> None:
    async with RefoldClient() as refold:
        handle = await refold.execute("wf_contact", slug="demo")
        waiting = asyncio.create_task(handle.result())
        async for execution in handle.snapshots(interval=0.3):
            done = [node.name for node in execution.nodes if node.status == "Success"]
            print(execution.status, done)
        result = await waiting
        print("output", result.output)


if __name__ == "__main__":
    asyncio.run(main())
