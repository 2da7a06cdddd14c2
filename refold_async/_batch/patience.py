"""How long a batch that sends nothing more waits for what has begun."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from refold_async._clock import Deadline, limited
from refold_async._errors import RefoldError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from refold_async._clock import Clock

T = TypeVar("T")


class ImpatientError(Exception):
    """The batch does not wait any more; what was waited for goes on."""


class Patience:
    """What all waits of a batch share: they end together, and none begins afterwards."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waits: set[Deadline] = set()
        self.has_end = False  # whether it is known that they end, some time
        self.is_over = False

    def end(self) -> None:
        """Wait for nothing more."""
        self.is_over = True
        for wait in self._waits:
            wait.strike()

    async def bear(self, work: Callable[[], Awaitable[T]]) -> T:
        """Await something for as long as the batch has patience.

        Raises:
            ImpatientError: it has none.
        """
        if self.is_over:
            raise ImpatientError
        wait = Deadline(self._clock)
        try:
            with limited(self._clock, self._is_limited):
                async with wait:
                    self._waits.add(wait)
                    return await work()
        except RefoldError:  # some of them are TimeoutErrors
            raise
        except TimeoutError:
            if not wait.expired:
                raise
            raise ImpatientError from None
        finally:
            self._waits.discard(wait)

    def _is_limited(self) -> bool:
        return self.has_end
