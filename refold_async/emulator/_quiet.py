"""Whether event loops have come to rest: asked turn by turn, on each loop in its own thread."""

import asyncio
from collections.abc import Callable
from contextvars import Context
from threading import RLock

_QUIET_TURNS = 3
_BLIND_TURNS = 128  # of a loop that does not show what it has to run, as uvloop's
_RESTLESS_TURNS = 10_000  # on a loop on which somebody spins: it is as quiet as it gets

Loop = asyncio.AbstractEventLoop


class Quiet:
    """Goes from loop to loop until none has anything to run, three times in a row.

    Args:
        lock: held whenever one of the functions is called.
        loops: gives those that have to be quiet; they run.
        news: counts what has been told: whatever is new begins the round anew.
        wanted: whether anybody wants to know.
        found: called once all is quiet.
    """

    def __init__(
        self,
        lock: RLock,
        *,
        loops: Callable[[], set[Loop]],
        news: Callable[[], int],
        wanted: Callable[[], bool],
        found: Callable[[], None],
    ) -> None:
        self._lock, self._loops_now, self._wanted, self._found = lock, loops, wanted, found
        self._news_now = news
        self._round = 0  # its number, for turns of one that was given up
        self._at: Loop | None = None  # who has been asked
        self._loops: list[Loop] = []
        self._news = self._quiet = self._turns = 0

    def look(self) -> None:
        """Begin, unless a look is under way; with the lock held."""
        if self._at is None or self._at not in self._loops_now():  # it may never answer
            self._round += 1
            self._begin()
            self._ask()

    def _begin(self) -> None:
        self._loops = [*self._loops_now()]
        self._news = self._news_now()
        self._quiet = self._turns = 0

    def _ask(self) -> None:
        """Have the next loop answer at the end of a turn of its own."""
        self._at = None
        if not self._loops:
            return
        context = Context()  # of its own: a context can't be entered in two threads at a time
        loop = self._loops.pop(0)
        self._loops.append(loop)
        try:
            if loop is running_loop():
                loop.call_later(0, self._answer, loop, self._round, context=context)
            else:
                loop.call_soon_threadsafe(
                    loop.call_later, 0, self._answer, loop, self._round, context=context
                )
        except RuntimeError:  # it was closed just now
            self._begin()
            self._ask()
        else:
            self._at = loop

    def _answer(self, loop: Loop, number: int) -> None:
        with self._lock:
            if number != self._round:
                return
            if not self._wanted():
                self._at = None  # what is told next begins another look
                return
            self._turns += 1
            if self._news != self._news_now():
                self._begin()
            elif getattr(loop, "_ready", ()) and self._turns < _RESTLESS_TURNS:
                self._quiet = 0
            else:
                self._quiet += 1
            is_blind = any(not hasattr(each, "_ready") for each in self._loops)
            if self._quiet < len(self._loops) * (_BLIND_TURNS if is_blind else _QUIET_TURNS):
                self._ask()
                return
            self._at = None
            self._found()


def running_loop() -> Loop | None:
    """Give the loop that runs in this thread, None without one."""
    return asyncio._get_running_loop()  # noqa: SLF001 - documented, for event loops
