"""Calls, attempts and waits, as spans and in metrics."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.instrumentation.utils import suppress_http_instrumentation
from opentelemetry.trace import Link, SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from refold_async._errors import RefoldError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from opentelemetry.trace import Span

    from refold_async._clock import Clock
    from refold_async.otel._instruments import Instruments

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
_PROPAGATOR = TraceContextTextMapPropagator()


class Scope:
    """Something under way, whose telling can break and harms nothing: no run is lost for a span."""

    traceparent: str | None = None
    _instruments: Instruments

    def __enter__(self) -> Self:
        self._harmlessly(self._begin)
        return self

    def note(self, **known: Any) -> None:
        self._harmlessly(self._learn, known)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._harmlessly(self._end, error)

    def _harmlessly(self, do: Callable[..., None], *arguments: Any) -> None:
        try:
            do(*arguments)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as broken:  # noqa: BLE001 - whatever it is, it is somebody else's
            self._instruments.broke(broken)

    def _begin(self) -> None:
        raise NotImplementedError

    def _learn(self, known: Mapping[str, Any]) -> None:
        raise NotImplementedError

    def _end(self, error: BaseException | None) -> None:
        raise NotImplementedError


class Call(Scope):
    """A call; a span if it starts a run, and a metric in any case."""

    def __init__(
        self,
        instruments: Instruments,
        names: Mapping[str, str | None],
        clock: Clock,
        span_name: str | None,
    ) -> None:
        self._instruments = instruments
        self._names = names
        self._clock = clock
        self._span_name = span_name
        self._span: Span | None = None
        self._token: Any = None

    def _begin(self) -> None:
        self._began = self._clock.monotonic()
        if self._span_name is not None:
            self._span = self._instruments.tracer.start_span(
                self._span_name, attributes=_given(self._names)
            )
            self.traceparent = _traceparent(self._span)
            self._token = otel_context.attach(set_span_in_context(self._span))

    def _learn(self, known: Mapping[str, Any]) -> None:
        if self._span is not None:
            self._span.set_attributes(_given(known))
            _judge_ending(self._span, known.get("status"))

    def _end(self, error: BaseException | None) -> None:
        attributes = {"refold.operation": self._names["operation"] or ""}
        if error is not None:
            attributes["error.type"] = type(error).__name__
        if self._span is not None:
            otel_context.detach(self._token)
        self._instruments.calls.record(self._clock.monotonic() - self._began, attributes)
        if self._span is not None:
            _end_span(self._span, error)


class Attempt(Scope):
    """An attempt; a client's span unless it is a look, and a metric in any case."""

    def __init__(
        self,
        instruments: Instruments,
        clock: Clock,
        *,
        method: str,
        template: str,
        base_url: str,
        target: str,
        resends: int,
        with_span: bool,
    ) -> None:
        self._instruments = instruments
        self._clock = clock
        self._attributes = dict(_request_attributes(method, template, base_url))
        self._span_name = f"{method} {template}" if with_span else None
        self._details: dict[str, str | int] = {"url.full": base_url + target}
        if resends:
            self._details["http.request.resend_count"] = resends
        self._parent = otel_context.get_current()  # where it is asked for: it may be made elsewhere
        self._span: Span | None = None
        self._error: BaseException | None = None

    def _begin(self) -> None:
        self._began = self._clock.monotonic()
        self._context = self._parent
        if self._span_name is not None:
            attributes = self._attributes | self._details
            self._span = self._instruments.tracer.start_span(
                self._span_name, self._parent, SpanKind.CLIENT, attributes
            )
            self._context = set_span_in_context(self._span, self._parent)
        self._token = otel_context.attach(self._context)
        self._silenced = suppress_http_instrumentation()  # aiohttp's own
        self._silenced.__enter__()

    def _learn(self, known: Mapping[str, Any]) -> None:
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

    def _end(self, error: BaseException | None) -> None:
        self._silenced.__exit__(None, None, None)
        otel_context.detach(self._token)
        if error is not None:
            self._error = error
            self._attributes["error.type"] = type(error).__name__
        self._instruments.requests.record(
            self._clock.monotonic() - self._began, self._attributes, context=self._context
        )
        if self._span is not None:
            _end_span(self._span, self._error, str(self._attributes.get("error.type", "")))


class Wait(Scope):
    """A wait for a run: a span that is linked to the call that started it."""

    def __init__(
        self,
        instruments: Instruments,
        names: Mapping[str, str | None],
        clock: Clock,
        traceparent: str | None,
        started_at: float | None,
    ) -> None:
        self._instruments = instruments
        self._names = names
        self._clock = clock
        self._started_by = traceparent
        self._started_at = started_at

    def _begin(self) -> None:
        self._instruments.joined(self._names, self._started_at)
        self._span = self._instruments.tracer.start_span(
            "refold.wait", attributes=_given(self._names), links=_links(self._started_by)
        )

    def _learn(self, known: Mapping[str, Any]) -> None:
        status: str = known["status"]
        self._instruments.ended(self._names["execution_id"], status)
        self._span.set_attributes(_given({"status": status}))
        _judge_ending(self._span, status)

    def _end(self, error: BaseException | None) -> None:
        self._instruments.left(self._names["execution_id"], self._clock)
        _end_span(self._span, error)


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


def _end_span(span: Span, error: BaseException | None, kind: str = "") -> None:
    """End a span, by an error or without."""
    if error is not None or kind:
        span.set_attribute("error.type", kind or type(error).__name__)
        # Of a stranger's error only the class is told: who knows what is in its words.
        words = error.describe() if isinstance(error, RefoldError) else None
        span.set_status(Status(StatusCode.ERROR, words))
    span.end()
