"""Workflow functions that take their own time: each runs as a task of the emulator's."""

import asyncio
from collections.abc import Awaitable, Callable

from ._real_time import RealTime
from ._runs import Run
from ._time import VirtualTime
from ._workflows import Outcome

_LONGEST_FAREWELL = 1.0


class Performances:
    """The coroutines of workflows that are under way.

    Args:
        now: The server's clock in epoch seconds.
        time: Held while functions run.
    """

    def __init__(self, now: Callable[[], float], time: RealTime | VirtualTime) -> None:
        self.decided: Callable[[Run], None] = lambda _: None  # who is told of what came to an end
        self._now = now
        self._time = time
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def begin(self, run: Run, outcome: Awaitable[Outcome]) -> None:
        """Wait for what a function will have come to, and let its run end so."""
        task = asyncio.ensure_future(self._perform(run, outcome))
        self._tasks[run.execution_id] = task
        task.add_done_callback(lambda _: self._tasks.pop(run.execution_id, None))

    def cancel(self, run: Run) -> None:
        """Cancel the function of a run that ends in another way; from any thread."""
        if task := self._tasks.get(run.execution_id):
            task.get_loop().call_soon_threadsafe(task.cancel)

    async def aclose(self) -> None:
        """Cancel all of them, and wait a second for their farewells."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_LONGEST_FAREWELL)

    async def _perform(self, run: Run, outcome: Awaitable[Outcome]) -> None:
        try:
            with self._time.hold(f"the function of workflow {run.workflow_id!r}"):
                decided = await outcome
            run.decide(decided, self._now())
        except asyncio.CancelledError:
            run.decide(run.workflow.failed("the function was cancelled"), self._now())
            raise
        finally:
            self.decided(run)
