"""Print what happens in a run, as it happens."""

import asyncio

from refold_async import (
    NodeErrored,
    NodeFinished,
    NodeRetried,
    NodeStarted,
    Progress,
    RefoldClient,
    StatusChanged,
)


async def main() -> None:
    async with RefoldClient() as refold:
        handle = await refold.execute("wf_fails", slug="demo")
        async for event in handle.events(interval=0.1):
            match event:
                case NodeStarted(node=node):
                    print(node.name, "started")
                case NodeRetried(node=node):
                    print(node.name, "again:", node.attempts, "of", node.max_attempts, "tries")
                case NodeErrored(node=node):
                    print(node.name, "failed:", node.output)
                case NodeFinished(node=node):
                    print(node.name, "finished")
                case Progress(percentage=percentage):
                    print(percentage, "%")
                case StatusChanged(status=status):
                    print(status)
                case _:
                    pass  # kinds that later versions tell of


if __name__ == "__main__":
    asyncio.run(main())
