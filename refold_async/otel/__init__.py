"""Traces and metrics by OpenTelemetry, for all clients of the process (extra `otel`).

`opentelemetry-instrument python service.py` finds and switches it on by itself; else
`RefoldInstrumentor().instrument()` does. What it records is listed in `docs/how-to/observing.md`.
"""

from __future__ import annotations

from contextvars import Context
from typing import TYPE_CHECKING, Any

from opentelemetry import context as otel_context
from opentelemetry.instrumentation.instrumentor import (  # type: ignore[attr-defined] # it opts out
    BaseInstrumentor,
)

from refold_async import _telemetry as seam
from refold_async.otel._instruments import Instruments
from refold_async.otel._scopes import Attempt, Call, Wait

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from refold_async._clock import Clock

__all__ = ["RefoldInstrumentor"]


class RefoldInstrumentor(BaseInstrumentor):  # type: ignore[misc]
    """Switches telemetry on and off, for all clients of the process, also those that are there.

    `instrument()` takes:

    - `tracer_provider`, `meter_provider`: where spans and metrics go; the global ones if left out.
    - `poll_spans`: whether looks at pending runs get spans too. They serve all who wait and belong
      to no caller, so each is a trace of its own. Their metrics are counted in any case.

    Switched on, aiohttp's own instrumentation makes no spans of the SDK's requests.
    """

    def instrumentation_dependencies(self) -> Collection[str]:
        """Nothing: it comes with what it instruments."""
        return ()

    def _instrument(self, **options: Any) -> None:
        instruments = Instruments(options.get("tracer_provider"), options.get("meter_provider"))
        seam.telemetry = _Telemetry(instruments, poll_spans=bool(options.get("poll_spans")))

    def _uninstrument(self, **_: Any) -> None:
        seam.telemetry = None


class _Telemetry:
    """Makes scopes; see `refold_async._telemetry.Telemetry`."""

    def __init__(self, instruments: Instruments, *, poll_spans: bool) -> None:
        self._instruments = instruments
        self._poll_spans = poll_spans

    def call(self, names: Mapping[str, str | None], clock: Clock, *, starts: bool) -> Call:
        name = f"refold.{names['operation']}" if starts else None
        return Call(self._instruments, names, clock, name)

    def attempt(self, clock: Clock, **request: Any) -> Attempt:
        with_span = self._poll_spans or not seam.is_shared.get()
        return Attempt(self._instruments, clock, **request, with_span=with_span)

    def wait(
        self,
        names: Mapping[str, str | None],
        clock: Clock,
        *,
        traceparent: str | None,
        started_at: float | None,
    ) -> Wait:
        return Wait(self._instruments, names, clock, traceparent, started_at)

    def context(self) -> Context:
        current, context = otel_context.get_current(), Context()
        context.run(otel_context.attach, current)
        return context
