"""What each failure says about the run: it did not start, nobody knows, it failed, it goes on."""

import asyncio
from typing import Any

from refold_async import (
    ApiError,
    ExecutionError,
    ExecutionHandle,
    ExecutionOutcomeUnknownError,
    RefoldClient,
    TransportError,
    WaitTimeoutError,
)


async def start(refold: RefoldClient, workflow_id: str) -> ExecutionHandle[Any] | None:
    try:
        return await refold.execute(workflow_id, slug="demo", payload={"email": "j@example.com"})
    except ExecutionOutcomeUnknownError as error:  # nobody knows: don't just send it again
        print(workflow_id, "may have started; look for the tag", error.instance_tag)
    except (ApiError, TransportError) as error:  # refused, or never sent
        print(workflow_id, "did not start:", error)
    return None


async def finish(handle: ExecutionHandle[Any], timeout: float) -> None:
    try:
        result = await handle.result(timeout=timeout)
    except ExecutionError as error:  # the run ended badly
        node = error.failed_node
        print(handle.workflow_id, "failed at", node.name if node else "?", node and node.output)
    except WaitTimeoutError as error:  # the run goes on
        print(handle.workflow_id, "was last seen", error.last_status, "and goes on")
    except (ApiError, TransportError) as error:  # the run exists, but can't be read
        print(handle.execution_id, "can't be read:", error)
    else:
        print(handle.workflow_id, "returned", result.output)


async def main() -> None:
    async with RefoldClient() as refold:
        for workflow_id in ("wf_echo", "wf_fails", "wf_slow", "wf_nobody_published"):
            handle = await start(refold, workflow_id)
            if handle is not None:
                await finish(handle, timeout=1.5)


if __name__ == "__main__":
    asyncio.run(main())
