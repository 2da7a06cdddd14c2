"""A journal that is opened again: workers of a batch that crashed may still start runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from refold_async._clock import sleep
from refold_async._logs import Log

if TYPE_CHECKING:
    from refold_async._batch import Batches
    from refold_async._clock import Clock
    from refold_async._starting import Reconciler, Sightings

logger = Log("dask")


class HeldBackLists:
    """A reconciler whose first look for lost starts waits until no worker can start anything.

    The journal is locked by then, so the process that gave the leases is gone: they run out within
    one lease, and what had left by then is answered or dropped within `Timeouts.read`.
    """

    def __init__(self, reconciler: Reconciler, clock: Clock, seconds: float) -> None:
        self._reconciler = reconciler
        self._clock = clock
        self._seconds = seconds

    @classmethod
    def of(cls, batches: Batches, seconds: float) -> Reconciler:
        """Hold the looks of batches back for so long."""
        return cast("Reconciler", cls(batches.reconciler, batches.clock, seconds))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reconciler, name)

    async def look_for(self, *arguments: Any, **options: Any) -> Sightings:
        """Look, but for the first time not before the leases of earlier processes are over."""
        seconds, self._seconds = self._seconds, 0.0
        if seconds:
            logger.info(
                "workers of an earlier batch may start runs for %.3g s yet: then those that nobody"
                " knows of are looked for",
                seconds,
            )
            await sleep(self._clock, seconds)
        return await self._reconciler.look_for(*arguments, **options)
