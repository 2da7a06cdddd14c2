"""A process that starts runs under keys, and may end or freeze itself between two steps.

`python -m tests.support.keyed SETTINGS`; SETTINGS is JSON: `base_url`, `redis` (null for none),
`name`, `keys`, and for one that comes to grief `instant` and `how`. The instant is `claimed`,
`sent` or `answered`: the first key has just come so far, and the next step is not done. It says so,
and is killed, or frozen until somebody wakes it. One that `waits` says `ready`, and begins when it
is sent a line. Each key's run is printed as `[key, execution_id]`, or the error's name instead.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from typing import Any, Literal

from refold_async import PollPolicy, RefoldClient, RefoldError, RetryPolicy, Shared, Timeouts
from refold_async._shared import claim
from refold_async._shared.keys import Keys

WORKFLOW = "6a314c54d4616e99e7fa5a02"
HOLD = 1.0
"""Seconds in which a request is over."""


class Worker:
    """Such a process, as who starts it sees it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    @classmethod
    async def start(cls, base_url: str, redis: str | None, name: str, **more: Any) -> Worker:
        """Start one."""
        settings = {"base_url": base_url, "redis": redis, "name": name, **more}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.support.keyed", json.dumps(settings)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        return cls(process)

    async def line(self) -> Any:
        """Wait for what it says next."""
        assert self.process.stdout is not None
        return json.loads(await self.process.stdout.readline())

    def begin(self) -> None:
        """Have one that waits begin."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")

    def freeze(self) -> None:
        """Have it stand still."""
        self.process.send_signal(signal.SIGSTOP)

    def wake(self) -> None:
        """Have it go on."""
        self.process.send_signal(signal.SIGCONT)

    async def end(self) -> list[Any]:
        """Wait for its end; give what it said."""
        told, _ = await self.process.communicate()
        return [json.loads(line) for line in told.splitlines()]


def client(base_url: str, redis: str | None, name: str, **settings: Any) -> RefoldClient:
    """Give a client that doesn't wait long."""
    if redis is not None:
        settings["shared"] = Shared(redis, name)
    defaults: dict[str, Any] = {
        "api_key": "tk_emulator",
        "linked_account_id": "acct_1",
        "rate_limit": None,
        "polling": PollPolicy(first=0.02, max_interval=0.1),
        "timeouts": Timeouts(connect=HOLD / 2, read=HOLD / 2),
        "retry": RetryPolicy(settle=0.05, wait=0, max_wait=0),
    }
    return RefoldClient(base_url=base_url, **(defaults | settings))


def say(line: object) -> None:
    """Print a line whole."""
    os.write(1, f"{json.dumps(line)}\n".encode())


def come_to_grief(instant: str, how: str) -> None:
    """Have the process end, or freeze, at an instant; once."""
    claim, send, started = Keys.claim, Keys.send, Keys.started
    due = [True]

    def strike(now: str) -> None:
        if now == instant and due:
            due.clear()
            say(now)
            os.kill(os.getpid(), signal.SIGKILL if how == "killed" else signal.SIGSTOP)

    async def claiming(*args: Any, **named: Any) -> Any:
        state = await claim(*args, **named)
        strike("claimed")
        return state

    async def sending(*args: Any) -> bool:
        sent = await send(*args)
        strike("sent")
        return sent

    async def starting(*args: Any) -> bool:
        strike("answered")
        return await started(*args)

    for name, function in (("claim", claiming), ("send", sending), ("started", starting)):
        setattr(Keys, name, function)


async def main(settings: dict[str, Any]) -> None:
    """Ask for all keys at once."""
    claim.CLAIM = 0.5
    scope: Literal["shared", "process"] = "shared" if settings["redis"] else "process"
    if "instant" in settings:
        come_to_grief(settings["instant"], settings["how"])
    async with client(settings["base_url"], settings["redis"], settings["name"]) as refold:

        async def ask(key: str) -> None:
            for _ in range(50):
                try:
                    handle = await refold.execute(
                        WORKFLOW, slug="s", payload={"key": key}, once=key, once_scope=scope
                    )
                except RefoldError as error:
                    failed = type(error).__name__
                    await asyncio.sleep(0.1)
                else:
                    say([key, handle.execution_id])
                    return
            say([key, failed])

        if settings.get("waits"):
            say("ready")
            await asyncio.to_thread(sys.stdin.readline)
        await asyncio.gather(*map(ask, settings["keys"]))


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
