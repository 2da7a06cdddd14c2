"""One start's claim to its key: taken, held while it queues, and let go by what became of it."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

from refold_async._clock import pause
from refold_async._errors import SharedStateError
from refold_async._logs import Log, about

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from refold_async._clock import Clock
    from refold_async._shared.asked import Asked
    from refold_async._shared.keys import Keys, KeyState

logger = Log("shared")

CLAIM = 10.0
"""Seconds for which a claim is good; who waits for a slot renews it."""


class Claim:
    """What one start tells Redis of its key. Nobody waits for what is told when it has ended.

    Args:
        keys: the states of keys.
        asked: the start and its key.
        hold: seconds after which a request that has left is over, and its run is in the list.
        clock: what tells the time.
        later: does something for which nobody waits.
    """

    def __init__(
        self,
        keys: Keys,
        asked: Asked,
        *,
        hold: float,
        clock: Clock,
        later: Callable[[Coroutine[Any, Any, object]], object],
    ) -> None:
        self.owner = os.urandom(8).hex()  # us, to Redis
        self._keys = keys
        self._asked = asked
        self._hold = hold
        self._clock = clock
        self._later = later

    async def take(self, cleared: str) -> KeyState:
        """Claim the key if it is free, or the state named so is void; say whose it is now."""
        asked = self._asked
        try:
            return await self._keys.claim(
                asked.tag,
                self.owner,
                hold=CLAIM,
                fingerprint=asked.fingerprint,
                within=asked.options.within,
                cleared=cleared,
            )
        except BaseException:  # it may have been claimed all the same
            self.free()
            raise

    async def renew(self) -> None:
        """Hold it for as long as we wait for a slot; it ends where the request leaves."""
        while True:
            await pause(self._clock, CLAIM / 3)
            try:
                if not await self._keys.renew(self._asked.tag, self.owner):
                    return
            except SharedStateError:
                continue

    async def leave(self) -> bool:
        """Say that the request leaves now; False if somebody else has the key, and it must not."""
        return await self._keys.send(self._asked.tag, self.owner, self._hold)

    def record(self, execution_id: str, age: float = 0.0) -> None:
        """Tell everybody which run it is, started so many seconds ago."""
        self._later(self._persistently(partial(self._write, execution_id, age)))

    def free(self) -> None:
        """Give the key back: nothing has started for it here, and nothing will."""
        self._later(self._persistently(partial(self._keys.free, self._asked.tag, self.owner)))

    async def _persistently(self, tell: Callable[[], Coroutine[Any, Any, object]]) -> None:
        for _ in range(max(int(self._hold), 1)):
            try:
                await tell()
            except SharedStateError:
                await pause(self._clock, 1.0)
            else:
                return

    async def _write(self, execution_id: str, age: float) -> None:
        asked = self._asked
        alone = await self._keys.started(
            asked.tag, execution_id, asked.options.within, asked.fingerprint, age
        )
        if not alone:
            logger.error(
                "two runs were started for one key (instance_tag=%s): execution %s is one of them."
                " Was a process paused, or Redis emptied, for longer than %.3g s?",
                asked.tag,
                execution_id,
                self._hold,
                extra=about(**asked.request.ids | {"execution_id": execution_id}),
            )
