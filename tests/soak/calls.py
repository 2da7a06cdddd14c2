"""Makes the calls of one cell and writes down what each of them was told."""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
import sys
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import attrs
from aiohttp import web

from refold_async import (
    ExecutionError,
    ExecutionOutcomeUnknownError,
    PollPolicy,
    RefoldClient,
    RefoldError,
    RetryPolicy,
    SystemClock,
    Timeouts,
)
from refold_async.webhooks import WebhookEvent, WebhookEventKind, aiohttp_handler
from tests.soak.cells import READ_TIMEOUT, SETTLE
from tests.soak.service import SLUG, WORKFLOW

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from refold_async._config import RetryMode

CALLERS = 300  # each for an account of its own
CANCELLED, AWAITED = 0.02, 0.1
"""Shares of the calls whose caller leaves early, and whose result is waited for."""
AWAITED_TOLD = 0.5
"""The latter where webhooks tell of ends."""


@attrs.define
class Told:
    """What the caller of one call learned."""

    execution_id: str | None = None
    unknown: bool = False
    flagged: bool = False  # warned that there may be a second run
    wrong: bool = False  # the result is that of another call
    error: str | None = None


class Overheard(logging.Handler):
    """Takes the tags out of the warnings about calls whose caller is gone, or that are resent."""

    def __init__(self, told: dict[int, Told]) -> None:
        super().__init__(logging.WARNING)
        self.told = told

    def emit(self, record: logging.LogRecord) -> None:
        """Note it with the call."""
        message = record.getMessage()
        for word in message.replace(")", " ").split("instance_tag=soak-")[1:]:
            told = self.told[int(word.split()[0])]
            told.flagged |= "possible duplicate" in message
            told.unknown |= "nobody knows" in message


class SteppingClock(SystemClock):
    """A clock whose wall time is wrong by another number of seconds every second."""

    def __init__(self, steps: tuple[float, ...]) -> None:
        self.steps = steps

    def time(self) -> float:
        """Give epoch seconds, more or less."""
        return super().time() + self.steps[int(self.monotonic()) % len(self.steps)]


class Caller:
    """Executes, cancels some, awaits some; with `pushed`, a webhook tells of their ends."""

    def __init__(
        self,
        base_url: str,
        mode: RetryMode,
        seed: int,
        *,
        pushed: bool = False,
        steps: tuple[float, ...] = (0.0,),
    ) -> None:
        self.told: dict[int, Told] = {}
        self.forged = 0  # events that were taken for true though all runs complete
        self.pushed = pushed
        self.awaited = AWAITED_TOLD if pushed else AWAITED
        self.draw = random.Random(seed)
        self.refold = RefoldClient(
            api_key="tk_emulator",
            base_url=base_url,
            rate_limit=None,
            clock=SteppingClock(steps),
            timeouts=Timeouts(read=READ_TIMEOUT),
            retry=RetryPolicy(mode=mode, wait=0.02, max_wait=0.1, settle=SETTLE),
            polling=PollPolicy(first=0.5 if pushed else 0.2, max_interval=1.0),
        )
        self.views = [self.refold.for_account(f"acct_{n}") for n in range(CALLERS)]

    async def make(self, calls: int, until: float) -> None:
        """Make so many calls, or fewer if the time is over; then collect the orphans."""
        numbers = itertools.count()

        async def work() -> None:
            while time.monotonic() < until and (number := next(numbers)) < calls:
                await self._call(number)

        listener = Overheard(self.told)
        logger = logging.getLogger("refold_async")
        logger.addHandler(listener)
        logger.propagate = False
        try:
            async with self.refold, self._subscribed():
                await asyncio.gather(*(work() for _ in range(CALLERS)))
                await self._callers_gone()
        finally:
            logger.removeHandler(listener)

    @asynccontextmanager
    async def _subscribed(self) -> AsyncIterator[None]:
        if not self.pushed:
            yield
            return
        app = web.Application()
        app.router.add_post("/", aiohttp_handler(self.refold, on_event=self._note))
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            await self.refold.webhooks.create(f"http://127.0.0.1:{site.port}/")
            yield
        finally:
            await runner.cleanup()

    async def _note(self, event: WebhookEvent) -> None:
        self.forged += event.kind != WebhookEventKind.WORKFLOW_COMPLETED

    async def _call(self, number: int) -> None:
        told = self.told[number] = Told()
        task = asyncio.ensure_future(self._execute(number, told))
        if self.draw.random() < CANCELLED:
            await asyncio.wait([task], timeout=self.draw.uniform(0, 0.2))
            task.cancel()
        await asyncio.wait([task])
        if task.cancelled():
            told.error = "cancelled"
        else:
            task.result()

    async def _execute(self, number: int, told: Told) -> None:
        refold = self.views[number % CALLERS]
        try:
            handle = await refold.execute(
                WORKFLOW,
                slug=SLUG,
                payload={"n": number},
                instance_tag=f"soak-{number}",
                unique_tag=True,
            )
        except ExecutionOutcomeUnknownError:
            told.unknown = True
        except RefoldError as error:
            told.error = f"{type(error).__name__}: {error}"
        else:
            told.execution_id = handle.execution_id
            told.flagged |= handle.possible_duplicate
            if self.draw.random() < self.awaited:
                told.wrong = await _is_wrong(handle, number)

    async def _callers_gone(self) -> None:
        """Wait for what goes on without its caller, and take the handles nobody holds."""
        parts = self.refold._caller.parts
        starter, transport = parts.starter, parts.transport
        while gone := [*starter.tasks, *transport._starts._tasks]:
            await asyncio.wait(gone)
        for handle in self.refold.orphans:
            number = int((handle.instance_tag or "").removeprefix("soak-"))
            self.told[number].execution_id = handle.execution_id


async def _is_wrong(handle: Any, number: int) -> bool:
    try:
        result = await handle.result(timeout=60)
    except ExecutionError:  # all runs complete
        return True
    return bool(result.output["n"] != number)


def descriptors_and_memory() -> tuple[int, float]:
    """Give the open file descriptors, and the resident memory in MB, of this process."""
    if sys.platform != "linux":
        return 0, 0.0
    from pathlib import Path

    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return len(list(Path("/proc/self/fd").iterdir())), pages * 4096 / 1e6
