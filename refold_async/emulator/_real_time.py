"""The emulator's time where none is skipped."""

import asyncio
import time
from contextlib import AbstractContextManager, nullcontext
from typing import Any

_AN_HOUR = 3600.0


class RealTime:
    """The machine's time, under the names of `VirtualTime`."""

    skips = False

    def time(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    async def nap(self, seconds: float, _about: Any = None) -> None:
        """Sleep, an hour at most: who does so for ever looks again."""
        await asyncio.sleep(min(seconds, _AN_HOUR))

    async def keep_waiting(self, seconds: float, _about: Any = None, **_: Any) -> None:
        """Sleep."""
        await self.nap(seconds)

    def tick(self) -> None:
        """Do nothing: it passes by itself."""

    def stir(self, *_: Any) -> None:
        """Do nothing: naps are short."""

    def hold(self, _: str) -> AbstractContextManager[None]:
        """Do nothing: time can't be held."""
        return nullcontext()
