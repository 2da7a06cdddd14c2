"""Debian's Chromium, driven by playwright: no browser is downloaded."""

from __future__ import annotations

import os
import shutil
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import Browser

EXECUTABLE = shutil.which("chromium")
"""Where it is, None where it is not installed."""
MISSING = "chromium is not installed: apt-get install chromium"


@asynccontextmanager
async def running() -> AsyncIterator[Browser]:
    """Run it without a window."""
    from playwright.async_api import async_playwright

    sandbox = [] if os.getuid() else ["--no-sandbox"]  # which root can't have
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=EXECUTABLE, args=sandbox)
        try:
            yield browser
        finally:
            await browser.close()
