"""What OpenTelemetry was told, read back from its in-memory exporters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from refold_async.otel import RefoldInstrumentor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import SpanContext


class Told:
    """Spans and metrics of what happens while it is entered."""

    def __init__(self, **options: Any) -> None:
        self._spans = InMemorySpanExporter()
        self._reader = InMemoryMetricReader()
        self._options = options
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self._spans))
        self.meters = MeterProvider([self._reader], shutdown_on_exit=False)
        self.tracer = self.provider.get_tracer("tests")

    def __enter__(self) -> Self:
        RefoldInstrumentor().instrument(
            tracer_provider=self.provider, meter_provider=self.meters, **self._options
        )
        return self

    def __exit__(self, *_: object) -> None:
        RefoldInstrumentor().uninstrument()

    @property
    def spans(self) -> list[ReadableSpan]:
        """All spans that have ended, in the order they began."""
        return sorted(self._spans.get_finished_spans(), key=lambda span: span.start_time or 0)

    def named(self, name: str) -> list[ReadableSpan]:
        """The spans of a name."""
        return [span for span in self.spans if span.name == name]

    def one(self, name: str) -> ReadableSpan:
        """The only span of a name."""
        (span,) = self.named(name)
        return span

    def tree(self) -> dict[str, Any]:
        """The names of spans, each with those below it."""
        return _below(None, self.spans)

    def points(self) -> Iterator[tuple[str, Any]]:
        """Every point of every metric, by the metric's name."""
        data = self._reader.get_metrics_data()
        for resource in () if data is None else data.resource_metrics:
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    for point in metric.data.data_points:
                        yield metric.name, point


def context_of(span: ReadableSpan) -> SpanContext:
    """What identifies a span."""
    context = span.get_span_context()
    assert context is not None
    return context


def _below(parent: int | None, spans: list[ReadableSpan]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for span in spans:
        above = None if span.parent is None else span.parent.span_id
        if above == parent:
            name, number = span.name, 2
            while name in tree:
                name, number = f"{span.name} ({number})", number + 1
            tree[name] = _below(context_of(span).span_id, spans)
    return tree
