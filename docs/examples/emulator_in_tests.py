"""The emulator in a test of your own: real HTTP, on a free port, with faults you choose."""

import asyncio
from typing import Any

from refold_async import RefoldClient
from refold_async.emulator import Emulator, Fault


async def main() -> None:
    async with Emulator() as emulator:

        @emulator.workflow("wf_double", slug="demo", duration=0.1)
        def double(payload: dict[str, Any]) -> dict[str, Any]:
            return {"n": payload["n"] * 2}

        emulator.faults.script("execute", Fault(status=503), Fault(status=429))
        async with RefoldClient(
            base_url=emulator.base_url, api_key=emulator.api_key, linked_account_id="acct_1"
        ) as refold:
            handle = await refold.execute("wf_double", slug="demo", payload={"n": 21})
            result = await handle

        print(result.output, "after", handle.attempts, "attempts")
        print("runs started:", len(emulator.runs))


if __name__ == "__main__":
    asyncio.run(main())
