"""Sync runs: the reply brings the result, and the Response node's status with it."""

import asyncio

from refold_async import BadRequestError, RefoldClient


async def main() -> None:
    async with RefoldClient() as refold:
        result = await refold.run("wf_echo", slug="demo", payload={"n": 1}, sync=True)
        print(result.status, result.status_code, result.output)

        # The workflow ran and answered 422: a result, not an exception.
        result = await refold.run("wf_rejects", slug="demo", sync=True)
        print(result.status, result.status_code, "ok" if result.ok else "not ok")
        try:
            result.raise_for_status()
        except BadRequestError as error:
            print("raise_for_status:", error.status, error.body)


if __name__ == "__main__":
    asyncio.run(main())
