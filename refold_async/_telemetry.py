"""The one place at which telemetry comes in. While it is off, `telemetry` is None.

Calls, attempts and waits are told to it as scopes: entered where one begins, left where it ends,
with whatever ended it. Private: what it is told may change with any release. `refold_async.otel`
stands on it.
"""

from __future__ import annotations

from contextvars import Context, ContextVar
from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from refold_async._clock import Clock


class Scope(Protocol):
    """One thing that is under way."""

    traceparent: str | None
    """Its name in traces (W3C Trace Context), once it is entered; None for one without a span."""

    def __enter__(self) -> Self:
        """Begin."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None:
        """End, by an error or without."""

    def note(self, **known: object) -> None:
        """Take down what has become known of it; None is not known."""


class Telemetry(Protocol):
    """Makes scopes. None of these may raise, and none may wait."""

    def call(self, names: Mapping[str, str | None], clock: Clock, *, starts: bool) -> Scope:
        """A call, from its first attempt to its answer: whose it is, and whether it starts a run.

        `note` is told `execution_id`, `status`, `attempts`, `possible_duplicate`.
        """

    def attempt(
        self,
        clock: Clock,
        *,
        method: str,
        template: str,
        base_url: str,
        target: str,
        resends: int,
    ) -> Scope:
        """An attempt of the call that is current where this is made; it may be entered elsewhere.

        `note` is told `status`, and `error`: the error an answer stands for.
        """

    def wait(
        self,
        names: Mapping[str, str | None],
        clock: Clock,
        *,
        traceparent: str | None,
        started_at: float | None,
    ) -> Scope:
        """A wait for the end of a run.

        Args:
            names: whose it is.
            clock: what tells the time.
            traceparent: of the call that started it.
            started_at: when that was, in monotonic seconds; None if it was not here, or if the
                end is known already and only the output is waited for.

        `note` is told `status`.
        """

    def context(self) -> Context:
        """A context in which nothing of the caller's goes on but its trace."""


telemetry: Telemetry | None = None
"""What is told of everything, in all clients of the process; None: nobody is."""

is_shared: ContextVar[bool] = ContextVar("refold_async_shared", default=False)
"""Whether what runs here serves all who wait, and belongs to no caller's trace."""

_SHARED = Context()
_SHARED.run(is_shared.set, True)  # noqa: FBT003 - it is set


def shared_context() -> Context:
    """Give the context of work that serves all who wait: empty, and marked as such."""
    return _SHARED.copy()


def callers_trace() -> Context:
    """Give the context of work that goes on without its caller: empty but for its trace."""
    return Context() if telemetry is None else telemetry.context()
