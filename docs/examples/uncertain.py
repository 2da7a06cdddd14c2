"""What to do when nobody knows whether a run started: look for its tag, and don't guess."""

import asyncio

from refold_async import ExecutionOutcomeUnknownError, RefoldClient, RetryPolicy


async def main() -> None:
    async with RefoldClient(retry=RetryPolicy(mode="safe")) as refold:
        try:
            handle = await refold.execute("wf_echo", slug="demo", payload={"amount": 100})
        except ExecutionOutcomeUnknownError as error:
            print("unknown after", error.attempts, "attempt")
            runs = refold.executions.list(workflow_id=error.workflow_id)
            found = [run async for run in runs if run.instance_tag == error.instance_tag]
            if not found:
                # No proof: the list may lag behind, or the deployment may not show tags.
                print("not in the list")
                return
            handle = refold.handle(found[0].execution_id)
        result = await handle
        print(result.status, result.output)


if __name__ == "__main__":
    asyncio.run(main())
