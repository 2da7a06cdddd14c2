"""What commands and a trace look like, captured for the documentation."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from refold_async import RefoldClient
from refold_async.emulator import Behaviour, Emulator, NodeFailed
from tests.captures.traces import capture_trace
from tests.support.terminal import Terminal

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "captures"
COLUMNS = 80
_STEPS = ("Start", "Read orders", "Map fields", "Write to CRM", "Response")
_ITEMS = 60


async def capture_watch() -> str:
    """Watch a run of five nodes: once at its third node, once at its end."""
    begun = time.time()

    def now() -> float:
        """Go by the looks: a busy machine draws each state of the run, however long it takes."""
        return begun + 0.2 * max(0, emulator.counts["get_execution"] - 2)

    emulator = Emulator(now=now)

    @emulator.workflow("wf_orders", slug="crm", name="Migrate orders", duration=3.0, nodes=_STEPS)
    def migrate(payload: dict[str, Any]) -> Any:
        return {"rows": 1200}

    async with emulator:
        async with RefoldClient(
            api_key=emulator.api_key, base_url=emulator.base_url, linked_account_id="acct_1"
        ) as refold:
            handle = await refold.execute("wf_orders", slug="crm")
        arguments = ("watch", str(handle.execution_id), "--interval", "0.2")
        with _terminal(emulator, *arguments) as terminal:
            third = r"▸  Map fields +\w+ +[\d.]+ s [\s\S]+ left"  # all of it is drawn
            going = await asyncio.to_thread(terminal.wait_for, third)
            await asyncio.to_thread(terminal.end)
            ended = "\n".join(terminal.screen)
    return _told(["refold", *arguments[:2]], going, ended)


async def capture_batch() -> str:
    """Run a batch at a service that sheds load: once on its way, once at its end."""
    emulator = Emulator(behaviour=Behaviour(capacity=25))

    @emulator.workflow("wf_contact", slug="crm", duration=0.5)
    def create(payload: dict[str, Any]) -> Any:
        if payload["n"] % 20 == 7:
            raise NodeFailed(node="Work", message="email is taken")
        return {"id": payload["n"]}

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "contacts.jsonl"
        lines = (json.dumps({"n": n}) for n in range(_ITEMS))
        file.write_text("\n".join(lines), encoding="utf-8")
        options = ("--workflow", "wf_contact", "--slug", "crm", "--key-field", "n", "--rate", "60")
        async with emulator:
            with _terminal(emulator, "batch", str(file), *options) as terminal:
                half = rf"[2-5]\d of {_ITEMS}[\s\S]+left\n.* refused"
                going = await asyncio.to_thread(terminal.wait_for, half)
                await asyncio.to_thread(terminal.end)
                ended = "\n".join(terminal.screen)
    return _told(["refold", "batch", file.name, *options], going, ended)


CAPTURES = {"watch": capture_watch, "batch": capture_batch, "trace": capture_trace}


def skeleton(capture: str) -> list[str]:
    """What of a capture does not depend on time: its words, without figures, ids and bars."""
    words = re.sub(r"[0-9a-f]{24}", "<id>", capture)
    words = re.sub(r"[━╸╺]+", "", words)
    words = re.sub(r"[\d.,:-]*\d[\d.,:-]*", "#", words)
    words = re.sub(r"slowest: .*(\n#.*)*", "slowest: ...", words)
    return [" ".join(line.split()) for line in words.splitlines()]


def _terminal(emulator: Emulator, *arguments: str) -> Terminal:
    kept = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME"}}
    environ = {
        **kept,
        "PYTHONPATH": str(ROOT),
        "PYTHONUTF8": "1",
        "TZ": "UTC",
        "REFOLD_BASE_URL": emulator.base_url,
        "REFOLD_API_KEY": emulator.api_key,
        "REFOLD_LINKED_ACCOUNT_ID": "acct_1",
    }
    command = [sys.executable, "-m", "refold_async.cli", *arguments]
    return Terminal(command, environ, columns=COLUMNS)


def _told(command: list[str], going: str, ended: str) -> str:
    line = " ".join(command)
    return f"$ {line}\n{going.rstrip()}\n\n... and at the end:\n\n$ {line}\n{ended.rstrip()}\n"
