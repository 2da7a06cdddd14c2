"""What the emulator's page looks like: `python -m tests.captures.page` writes `docs/images` anew.

It needs Chromium, and looks its best where the fonts Inter and JetBrains Mono are installed.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from aiohttp import web

from refold_async import ExecutionFailedError
from refold_async.emulator import Emulator, Fault, NodeFailed
from tests.captures import ROOT
from tests.support import browser

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from playwright.async_api import Page

    from refold_async import RefoldClient

FOLDER = ROOT / "docs" / "images"
SCHEMES = ("light", "dark")
_BEGAN = datetime(2026, 3, 2, 9, 41, tzinfo=UTC).timestamp()
_ORDERS = ("Start", "Read orders", "Map fields", "Write to CRM", "Response")
_INVOICE = ("Start", "Look up", "Post", "Response")


def main() -> None:
    """Take the pictures."""
    asyncio.run(picture(FOLDER))


async def picture(folder: Path) -> None:
    """Take one picture in each scheme of colours."""
    jumped = [0.0]
    began = time.monotonic()
    emulator = Emulator(now=lambda: _BEGAN + jumped[0] + time.monotonic() - began)
    _add_workflows(emulator)
    async with emulator, _receiver() as url, browser.running() as chromium:
        async with emulator.client() as refold:
            await refold.webhooks.create(url)
            await _play(refold, emulator, jumped)
        for scheme in SCHEMES:
            page = await chromium.new_page(
                viewport={"width": 1440, "height": 900},
                device_scale_factor=1.5,
                color_scheme=scheme,  # type: ignore[arg-type]  # one of two
                reduced_motion="reduce",
            )
            await page.goto(emulator.page_url)
            await _settled(page)
            await page.screenshot(path=folder / f"emulator-page-{scheme}.png")
            await page.close()


def _add_workflows(emulator: Emulator) -> None:
    @emulator.workflow("wf_contact", slug="crm", name="Create contact", duration=0.8)
    def create(payload: dict[str, Any]) -> Any:
        return {"id": 1, **payload}

    @emulator.workflow("wf_invoice", slug="erp", name="Send invoice", duration=1.4, nodes=_INVOICE)
    def send(payload: dict[str, Any]) -> Any:
        raise NodeFailed(node="Post", message=f"customer {payload['customer']} is on hold")

    @emulator.workflow("wf_orders", slug="crm", name="Migrate orders", duration=90, nodes=_ORDERS)
    def migrate(payload: dict[str, Any]) -> Any:
        return {"rows": 1200}


async def _play(refold: RefoldClient, emulator: Emulator, jumped: list[float]) -> None:
    """Let happen what is seen: runs of every kind, a lost answer, starts that are shed."""
    early = await refold.execute("wf_orders", slug="crm", payload={"shop": "berlin"})
    jumped[0] += 95
    await early
    for number in range(1, 5):
        caller = refold.for_account(f"acct_{number}") if number > 1 else refold
        handle = await caller.execute(
            "wf_contact", slug="crm", payload={"email": f"jane{number}@example.com"}
        )
        jumped[0] += 1.1
        await handle
    emulator.faults.script("execute", Fault(drop="after"))
    invoice = await refold.execute("wf_invoice", slug="erp", payload={"customer": 4711})
    jumped[0] += 2.2
    with suppress(ExecutionFailedError):
        await invoice
    emulator.faults.script("execute", *[Fault(status=503, headers={"Retry-After": "0"})] * 2)
    payload = {"shop": "paris", "since": "2026-02-01", "limit": 1200}
    await refold.execute("wf_orders", slug="crm", payload=payload)
    emulator.faults.switch("shed", "execute", Fault(status=503), share=0.5)
    jumped[0] += 47


@asynccontextmanager
async def _receiver() -> AsyncIterator[str]:
    """Take deliveries, but for the third."""
    taken: list[str] = []

    async def take(request: web.BaseRequest) -> web.Response:
        taken.append(request.path)
        return web.Response(status=500 if len(taken) == 3 else 200)

    runner = web.ServerRunner(web.Server(take))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{site.port}/hooks"
    await runner.cleanup()


async def _settled(page: Page) -> None:
    await page.get_by_text("live", exact=True).wait_for()
    await page.locator("#detail").get_by_text("Map fields").wait_for()
    await page.locator("#webhooks").get_by_text("attempt 2").wait_for()


if __name__ == "__main__":
    main()
