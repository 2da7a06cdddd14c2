"""A Refold with workflows of your own, to try a service by hand: until Ctrl-C."""

import asyncio
import contextlib
import os
from typing import Any

from refold_async.emulator import Emulator


def add_workflows(emulator: Emulator) -> None:
    """Refold, as the service knows it; its tests may call this too."""

    @emulator.workflow("wf_contact", slug="crm", duration=2.0)
    def contact(payload: dict[str, Any]) -> Any:
        return {"id": 1, **payload}


async def main() -> None:
    async with Emulator(port=int(os.environ.get("PORT", "8080"))) as emulator:
        add_workflows(emulator)
        for name, value in emulator.settings.items():
            print(f"export REFOLD_{name.upper()}={value}", flush=True)
        print("#", emulator.page_url, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
