"""A lost answer: the client looks for the run by its tag; what it can't find, nobody guesses."""

import asyncio

from refold_async import ExecutionOutcomeUnknownError, RefoldClient, RetryPolicy


async def main() -> None:
    async with RefoldClient(retry=RetryPolicy(mode="safe")) as refold:
        try:
            handle = await refold.execute("wf_echo", slug="demo", payload={"amount": 100})
        except ExecutionOutcomeUnknownError as error:
            # Later, and by hand: the list may lag behind, or the deployment may not show tags.
            print("unknown after", error.attempts, "attempt")
            found = await refold.find(str(error.instance_tag), workflow_id="wf_echo")
            if len(found) != 1:
                return
            handle = found[0]
        result = await handle
        print(result.status, result.output)


if __name__ == "__main__":
    asyncio.run(main())
