"""The emulator's page in a real browser: seen, clicked, and used by keyboard alone."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web

from refold_async.emulator import Emulator, NodeFailed
from tests.support import browser
from tests.support.asking import RUN, ask, start

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import Browser, Page

pytestmark = [
    pytest.mark.long,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(browser.EXECUTABLE is None, reason=browser.MISSING),
]
STAGES = ("Start", "Extract", "Load", "Response")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chromium() -> AsyncIterator[Browser]:
    """One browser for all tests of this file."""
    async with browser.running() as chromium:
        yield chromium


@pytest_asyncio.fixture(loop_scope="module")
async def emulator() -> AsyncIterator[Emulator]:
    """An emulator whose time stands still until the page advances it."""
    async with Emulator(skip_time=True) as emulator:
        emulator.workflow("wf", slug="hubspot", name="Migrate", duration=120.0, nodes=STAGES)(dict)
        yield emulator


@pytest_asyncio.fixture(loop_scope="module")
async def page(chromium: Browser, emulator: Emulator) -> AsyncIterator[Page]:
    """The page, opened; whatever the browser complains of fails the test."""
    complaints: list[str] = []
    page = await chromium.new_page(viewport={"width": 1280, "height": 800})
    page.set_default_timeout(60_000)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda told: complaints.append(told.text) if told.type == "error" else None)
    await page.goto(emulator.page_url)
    await page.get_by_text("live", exact=True).wait_for()
    yield page
    await page.close()
    assert complaints == []


async def test_a_run_is_seen_as_it_goes(page: Page, emulator: Emulator) -> None:
    """Its nodes come one after the other as the page advances the time, and then its output."""
    await start(emulator, {"email": "jane@example.com"})
    row, nodes = page.locator("#runs tbody tr"), page.locator("#detail .track i:visible")
    await row.get_by_text("running").wait_for()
    assert await nodes.count() == 1
    await page.get_by_role("button", name="+1 min").click()
    await row.get_by_text("50 % · Load").wait_for()
    assert await nodes.count() == 3
    await page.get_by_role("button", name="+1 min").click()
    await row.get_by_text("completed").wait_for()

    assert await nodes.count() == 4
    assert await page.locator("#output").inner_text() == '{\n  "email": "jane@example.com"\n}'
    figures = (await page.locator("#figures").inner_text()).split()
    assert figures == ["going", "0", "completed", "1", "failed", "0"]
    assert "execute wf" in await page.locator("#requests tbody").inner_text()


async def test_the_form_starts_a_run(page: Page, emulator: Emulator) -> None:
    """What is filled in is what the run is given; a payload that is no JSON is said so."""
    await page.get_by_role("button", name="Start a run").click()
    form = page.get_by_role("dialog")
    await form.get_by_label("Linked account").fill("acct_7")
    await form.get_by_label("Payload").fill("{")
    await form.get_by_role("button", name="Start").click()
    await form.get_by_role("alert").get_by_text("The payload is no JSON").wait_for()
    refused = [*emulator.runs]
    await form.get_by_label("Payload").fill('{"n": 1}')
    await form.get_by_role("button", name="Start").click()
    await page.get_by_role("status").get_by_text("has started").wait_for()
    await page.locator("#detail").get_by_text("acct_7").wait_for()

    assert refused == []
    (run,) = emulator.runs
    assert (run.linked_account_id, run.payload) == ("acct_7", {"n": 1})
    assert emulator.counts == {}


async def test_a_fault_that_is_switched_on_is_obeyed(page: Page, emulator: Emulator) -> None:
    """The next request meets it, and is listed with it; off again, the next one does not."""
    switch = page.get_by_role("switch", name="Starts are shed")
    statuses = []
    for is_on in (True, False):
        await switch.set_checked(is_on)
        while bool(emulator.faults.switched) is not is_on:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.01)
        statuses.append((await ask(emulator, "POST", RUN, json={"payload": {}})).status)
    first = page.locator("#requests tbody tr").last
    await first.get_by_text("503, Retry-After: 1").wait_for()

    assert statuses == [503, 200]


async def test_it_is_used_by_keyboard_alone(page: Page, emulator: Emulator) -> None:
    """Without a mouse a run is started and chosen, and a fault switched on; the focus is seen."""
    older = await start(emulator)
    await page.locator("#runs tbody tr").wait_for()

    async def tab_to(selector: str) -> None:
        for _ in range(40):
            await page.keyboard.press("Tab")
            if await page.evaluate("s => document.activeElement.matches(s)", selector):
                break
        else:
            pytest.fail(f"Tab does not lead to {selector}")
        outline = "getComputedStyle(document.activeElement).outlineStyle"
        assert await page.evaluate(outline) == "solid", selector

    await tab_to("#open")
    await page.keyboard.press("Enter")
    await tab_to("textarea")
    await page.keyboard.press("Control+A")
    await page.keyboard.type('{"by": "keyboard"}')
    await tab_to("#start .main")
    await page.keyboard.press("Enter")
    await page.locator("#payload").get_by_text("keyboard").wait_for()
    await tab_to(".pick")
    await page.keyboard.press("ArrowDown")
    await page.locator("#detail").get_by_text(older).wait_for()
    assert await page.evaluate("document.activeElement.closest('tr').dataset.run") == older
    await tab_to("#switch-lost")
    await page.keyboard.press("Space")
    await page.get_by_text("1 on", exact=True).wait_for()

    assert emulator.runs[-1].payload == {"by": "keyboard"}
    assert emulator.faults.switched == {"lost": 1.0}


async def test_what_comes_from_a_run_is_text(page: Page, emulator: Emulator) -> None:
    """Names, tags, payloads, errors and paths that are HTML are shown, and do nothing."""
    evil = "<img src=x onerror='window.hacked=1'><script>window.hacked=1</script>"

    def fail(_: dict[str, Any]) -> Any:
        raise NodeFailed(node=evil, message=evil)

    emulator.workflow("evil", slug=evil, name=evil, nodes=("Start", evil))(fail)
    body = {"payload": {evil: evil}}
    headers = {"linked_account_id": evil, "instance_tag": evil, "slug": evil}
    await ask(emulator, "POST", RUN.replace("wf", "evil"), headers, json=body)
    await ask(emulator, "GET", f"/{evil}")
    emulator.workflow("later", slug="s", name=evil)(dict)
    await page.get_by_text("errored").first.wait_for()
    for where in (".title b", ".facts", ".line", ".why", "#payload"):
        assert evil in await page.locator(f"#detail {where}").inner_text(), where
    for where in ("#runs tbody", "#requests tbody"):
        assert evil in (await page.locator(where).inner_text()), where

    assert await page.evaluate("window.hacked") is None
    assert await page.locator("img, body > script + script, td script").count() == 0


async def test_another_site_changes_nothing(chromium: Browser, emulator: Emulator) -> None:
    """A page of another origin in the same browser may neither post, nor read, nor embed it."""

    async def serve(_: web.BaseRequest) -> web.Response:
        return web.Response(text="<title>evil</title>", content_type="text/html")

    runner = web.ServerRunner(web.Server(serve))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    page = await chromium.new_page()
    await page.goto(f"http://localhost:{site.port}/")
    told = await page.evaluate(
        """async url => {
            const body = JSON.stringify({name: "down", on: true, share: 1});
            const post = settings => fetch(url + "switch", {method: "POST", body, ...settings})
                .then(answer => answer.status, error => error.name);
            const stream = new EventSource(url + "events");
            const opened = new Promise(done => {
                stream.onopen = stream.onerror = event => done(event.type);
            });
            return [
                await post({}),
                await post({mode: "no-cors"}),
                await post({headers: {"Content-Type": "application/json"}}),
                await opened,
            ];
        }""",
        emulator.page_url,
    )
    await page.close()
    await runner.cleanup()

    assert told == ["TypeError", "TypeError", "TypeError", "error"]
    assert emulator.faults.switched == {}
    async with aiohttp.request("GET", emulator.page_url) as answer:
        assert answer.status == 200
