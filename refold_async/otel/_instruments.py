"""What spans are made with, and metrics: and how many runs are waited for."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from opentelemetry.metrics import get_meter
from opentelemetry.trace import get_tracer

from refold_async._logs import Log
from refold_async._version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

    from refold_async._clock import Clock

logger = Log("otel")

_NAME = "refold_async"
_SCHEMA = "https://opentelemetry.io/schemas/1.36.0"
_REQUESTS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
"""Bounds of buckets, in seconds, as the semantic conventions have them."""
_CALLS = (*_REQUESTS, 30, 60, 120)
_RUNS = (0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 3 * 3600, 12 * 3600)


class Instruments:
    """Where spans and metrics go, for as long as telemetry is on."""

    def __init__(
        self,
        tracer_provider: TracerProvider | None,
        meter_provider: MeterProvider | None,
    ) -> None:
        self.tracer = get_tracer(_NAME, __version__, tracer_provider, _SCHEMA)
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
        self._is_broken = False
        self._waited: dict[str | None, _Run] = {}
        self._lock = threading.Lock()  # clients live on loops of several threads

    def broke(self, error: BaseException) -> None:
        """Say once that whoever takes spans or metrics does not work."""
        if not self._is_broken:
            self._is_broken = True
            logger.error(
                "telemetry broke, and may do so again; the calls it is told of go on",
                exc_info=error,
            )

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
            attributes = {"refold.execution.status": run.status}
            if run.workflow_id is not None:
                attributes["refold.workflow.id"] = run.workflow_id
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
