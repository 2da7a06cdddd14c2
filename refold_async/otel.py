"""Traces and metrics by OpenTelemetry, for all clients of the process (extra `otel`).

`opentelemetry-instrument python service.py` finds and switches it on by itself; else
`RefoldInstrumentor().instrument()` does. What it records is listed in `docs/how-to/observing.md`.
"""

from __future__ import annotations

import threading
from contextvars import Context
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.instrumentation.instrumentor import (  # type: ignore[attr-defined] # it opts out
    BaseInstrumentor,
)
from opentelemetry.instrumentation.utils import suppress_http_instrumentation
from opentelemetry.metrics import get_meter
from opentelemetry.trace import Link, SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from refold_async import _telemetry as seam
from refold_async._errors import RefoldError
from refold_async._version import __version__

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from types import TracebackType

    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import Span, TracerProvider

    from refold_async._clock import Clock

__all__ = ["RefoldInstrumentor"]

_NAME = "refold_async"
_SCHEMA = "https://opentelemetry.io/schemas/1.36.0"
_NAMED = {
    "operation": "refold.operation",
    "execution_id": "refold.execution.id",
    "workflow_id": "refold.workflow.id",
    "slug": "refold.application.slug",
    "linked_account_id": "refold.linked_account.id",
    "instance_tag": "refold.instance_tag",
    "status": "refold.execution.status",
    "attempts": "refold.attempts",
    "possible_duplicate": "refold.possible_duplicate",
}
"""The attributes of spans, by the names that the seam has for them."""
_GOOD = "COMPLETED"
_FROM_ERROR = 400
"""The HTTP status from which on a client's span has failed, by the semantic conventions."""
_REQUESTS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
"""Bounds of buckets, in seconds, as the semantic conventions have them."""
_CALLS = (*_REQUESTS, 30, 60, 120)
_RUNS = (0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 3 * 3600, 12 * 3600)
_PROPAGATOR = TraceContextTextMapPropagator()


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
        seam.telemetry = _Telemetry(
            options.get("tracer_provider"),
            options.get("meter_provider"),
            poll_spans=bool(options.get("poll_spans", False)),
        )

    def _uninstrument(self, **_: Any) -> None:
        seam.telemetry = None


class _Telemetry:
    """Makes scopes; see `refold_async._telemetry.Telemetry`."""

    def __init__(
        self,
        tracer_provider: TracerProvider | None,
        meter_provider: MeterProvider | None,
        *,
        poll_spans: bool,
    ) -> None:
        self.poll_spans = poll_spans
        self.tracer = trace.get_tracer(_NAME, __version__, tracer_provider, _SCHEMA)
        meter = get_meter(_NAME, __version__, meter_provider, _SCHEMA)
        self.requests = meter.create_histogram(
            "http.client.request.duration",
            unit="s",
            description="Duration of HTTP client requests.",
            explicit_bucket_boundaries_advisory=_REQUESTS,
        )
        self.calls = meter.create_histogram(
            "refold.client.operation.duration",
            unit="s",
            description="Duration of calls, with their retries and the waits for a slot.",
            explicit_bucket_boundaries_advisory=_CALLS,
        )
        self.runs = meter.create_histogram(
            "refold.client.execution.duration",
            unit="s",
            description="From the start of a run here to when its end was known here.",
            explicit_bucket_boundaries_advisory=_RUNS,
        )
        self.pending = meter.create_up_down_counter(
            "refold.client.executions.pending",
            unit="{execution}",
            description="Runs that are waited for.",
        )
        self._waited: dict[str | None, _Run] = {}
        self._lock = threading.Lock()  # clients live on loops of several threads

    def call(self, names: Mapping[str, str | None], clock: Clock, *, starts: bool) -> _Call:
        name = f"refold.{names['operation']}" if starts else None
        return _Call(self, names, clock, name)

    def attempt(
        self,
        clock: Clock,
        *,
        method: str,
        template: str,
        base_url: str,
        target: str,
        resends: int,
    ) -> _Attempt:
        attributes = _request_attributes(method, template, base_url)
        span = None
        if self.poll_spans or not seam.is_shared.get():
            details = {**attributes, "url.full": base_url + target}
            if resends:
                details["http.request.resend_count"] = resends
            span = f"{method} {template}", details
        return _Attempt(self, clock, attributes, span)

    def wait(
        self,
        names: Mapping[str, str | None],
        clock: Clock,
        *,
        traceparent: str | None,
        started_at: float | None,
    ) -> _Wait:
        return _Wait(self, names, clock, traceparent, started_at)

    def context(self) -> Context:
        current, context = otel_context.get_current(), Context()
        context.run(otel_context.attach, current)
        return context

    def joined(self, names: Mapping[str, str | None], started_at: float | None) -> None:
        """Count a run as pending with the first wait for it."""
        with self._lock:
            run = self._waited.get(names["execution_id"])
            if run is None:
                run = self._waited[names["execution_id"]] = _Run()
                self.pending.add(1)
            run.waits += 1
            if started_at is not None:
                run.started_at, run.workflow_id = started_at, names["workflow_id"]

    def left(self, execution_id: str | None, clock: Clock) -> None:
        """Count it no more with the end of the last wait, and tell how long it took."""
        with self._lock:
            run = self._waited[execution_id]
            run.waits -= 1
            if run.waits:
                return
            del self._waited[execution_id]
            self.pending.add(-1)
        if run.status is not None and run.started_at is not None:
            attributes = _given({"workflow_id": run.workflow_id, "status": run.status})
            self.runs.record(clock.monotonic() - run.started_at, attributes)

    def ended(self, execution_id: str | None, status: str) -> None:
        """Take down how a run ended."""
        self._waited[execution_id].status = status


class _Run:
    """A run that is waited for."""

    __slots__ = ("started_at", "status", "waits", "workflow_id")

    def __init__(self) -> None:
        self.waits = 0
        self.started_at: float | None = None  # monotonic seconds, if it was started here
        self.workflow_id: str | None = None
        self.status: str | None = None


class _Call:
    """A call; a span if it starts a run, and a metric in any case."""

    traceparent: str | None = None

    def __init__(
        self,
        telemetry: _Telemetry,
        names: Mapping[str, str | None],
        clock: Clock,
        span_name: str | None,
    ) -> None:
        self._telemetry = telemetry
        self._names = names
        self._clock = clock
        self._span_name = span_name
        self._span: Span | None = None
        self._token: Any = None

    def __enter__(self) -> Self:
        self._began = self._clock.monotonic()
        if self._span_name is not None:
            self._span = self._telemetry.tracer.start_span(
                self._span_name, attributes=_given(self._names)
            )
            self.traceparent = _traceparent(self._span)
            self._token = otel_context.attach(set_span_in_context(self._span))
        return self

    def note(self, **known: Any) -> None:
        if self._span is not None:
            self._span.set_attributes(_given(known))
            _judge_ending(self._span, known.get("status"))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        attributes = {"refold.operation": self._names["operation"] or ""}
        if error is not None:
            attributes["error.type"] = type(error).__name__
        self._telemetry.calls.record(self._clock.monotonic() - self._began, attributes)
        if self._span is not None:
            otel_context.detach(self._token)
            _end(self._span, error)


class _Attempt:
    """An attempt; a client's span unless it is a look, and a metric in any case."""

    traceparent: str | None = None

    def __init__(
        self,
        telemetry: _Telemetry,
        clock: Clock,
        attributes: Mapping[str, str | int],
        span: tuple[str, Mapping[str, str | int]] | None,
    ) -> None:
        self._telemetry = telemetry
        self._clock = clock
        self._attributes = dict(attributes)
        self._planned = span
        self._parent = otel_context.get_current()  # where it is asked for: it may be made elsewhere
        self._span: Span | None = None
        self._error: BaseException | None = None

    def __enter__(self) -> Self:
        self._began = self._clock.monotonic()
        self._context = self._parent
        if self._planned is not None:
            name, attributes = self._planned
            self._span = self._telemetry.tracer.start_span(
                name, self._parent, SpanKind.CLIENT, attributes
            )
            self._context = set_span_in_context(self._span, self._parent)
        self._token = otel_context.attach(self._context)
        self._silenced = suppress_http_instrumentation()  # aiohttp's own
        self._silenced.__enter__()
        return self

    def note(self, **known: Any) -> None:
        status: int | None = known["status"]
        error: BaseException | None = known["error"]
        self._error = error
        if status is not None:
            self._attributes["http.response.status_code"] = status
            if self._span is not None:
                self._span.set_attribute("http.response.status_code", status)
        failed = status is not None and status >= _FROM_ERROR
        if failed or error is not None:
            self._attributes["error.type"] = str(status) if failed else type(error).__name__

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._silenced.__exit__(None, None, None)
        otel_context.detach(self._token)
        if error is not None:
            self._error = error
            self._attributes["error.type"] = type(error).__name__
        self._telemetry.requests.record(
            self._clock.monotonic() - self._began, self._attributes, context=self._context
        )
        if self._span is not None:
            _end(self._span, self._error, str(self._attributes.get("error.type", "")))


class _Wait:
    """A wait for a run: a span that is linked to the call that started it."""

    traceparent: str | None = None

    def __init__(
        self,
        telemetry: _Telemetry,
        names: Mapping[str, str | None],
        clock: Clock,
        traceparent: str | None,
        started_at: float | None,
    ) -> None:
        self._telemetry = telemetry
        self._names = names
        self._clock = clock
        self._started_by = traceparent
        self._started_at = started_at

    def __enter__(self) -> Self:
        self._span = self._telemetry.tracer.start_span(
            "refold.wait", attributes=_given(self._names), links=_links(self._started_by)
        )
        self._telemetry.joined(self._names, self._started_at)
        return self

    def note(self, **known: Any) -> None:
        status: str = known["status"]
        self._telemetry.ended(self._names["execution_id"], status)
        self._span.set_attributes(_given({"status": status}))
        _judge_ending(self._span, status)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._telemetry.left(self._names["execution_id"], self._clock)
        _end(self._span, error)


def _given(known: Mapping[str, Any]) -> dict[str, Any]:
    """Give the attributes of what is known."""
    return {_NAMED[name]: value for name, value in known.items() if value is not None}


@lru_cache(maxsize=256)
def _request_attributes(method: str, template: str, base_url: str) -> Mapping[str, str | int]:
    """Give what all requests of a kind have in common, by the conventions for HTTP spans."""
    parts = urlsplit(base_url)
    return {
        "http.request.method": method,
        "url.template": parts.path + template,
        "server.address": parts.hostname or "",
        "server.port": parts.port or (443 if parts.scheme == "https" else 80),
    }


def _traceparent(span: Span) -> str | None:
    context = span.get_span_context()
    if not context.is_valid:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def _links(traceparent: str | None) -> list[Link]:
    if traceparent is None:
        return []
    extracted = _PROPAGATOR.extract({"traceparent": traceparent}, otel_context.Context())
    context = trace.get_current_span(extracted).get_span_context()
    return [Link(context)] if context.is_valid else []


def _judge_ending(span: Span, status: str | None) -> None:
    """Mark the span of a run that ended badly: nothing was raised so far."""
    if status is not None and status != _GOOD:
        span.set_attribute("error.type", status)
        span.set_status(Status(StatusCode.ERROR, f"the run is {status}"))


def _end(span: Span, error: BaseException | None, kind: str = "") -> None:
    """End a span, by an error or without."""
    if error is not None or kind:
        span.set_attribute("error.type", kind or type(error).__name__)
        # Of a stranger's error only the class is told: who knows what is in its words.
        words = error.describe() if isinstance(error, RefoldError) else None
        span.set_status(Status(StatusCode.ERROR, words))
    span.end()
