"""Ctrl-C, step by step: what it does the first time, the next, and that it always ends.

SIGTERM, by which cron and Kubernetes end a command, does the same.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from refold_async.cli._endings import INTERRUPTED

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

T = TypeVar("T")
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_SHOW_CURSOR = b"\x1b[?25h"


@attrs.define(eq=False)
class Interrupts:
    """Does one thing per interrupt, in the event loop; when all are done, the process ends.

    asyncio's own way raises `KeyboardInterrupt` wherever the second one meets the loop, which can
    leave tasks that never wake up again.

    Attributes:
        steps: what is done, in order.
        count: how many interrupts there were.
    """

    steps: list[Callable[[], object]] = attrs.field(factory=list)
    count: int = 0
    _loop: asyncio.AbstractEventLoop | None = None

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run something in an event loop of its own; the first interrupt cancels it.

        Raises:
            KeyboardInterrupt: it was cancelled.
        """

        async def main() -> T:
            task = asyncio.current_task()
            assert task is not None  # noqa: S101 - for types: a coroutine runs in one
            self._loop, self.steps = asyncio.get_running_loop(), [task.cancel]
            return await work

        with self._handled():
            try:
                return asyncio.run(main())
            except asyncio.CancelledError:
                raise KeyboardInterrupt from None
            finally:
                work.close()

    @contextmanager
    def _handled(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        # signal.signal, since loop.add_signal_handler does not exist on Windows.
        before = {each: signal.signal(each, self._interrupt) for each in _SIGNALS}
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)

    def _interrupt(self, *_: object) -> None:
        if self._loop is None:
            raise KeyboardInterrupt
        if self._loop.is_closed():
            return
        self.count += 1
        if self.count > len(self.steps):
            if sys.stderr.isatty():
                os.write(2, _SHOW_CURSOR)
            os._exit(INTERRUPTED)
        self._loop.call_soon_threadsafe(self.steps[self.count - 1])
