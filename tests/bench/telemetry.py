"""What telemetry costs an `execute`: nothing while it is off, and with OpenTelemetry on.

    python -m tests.bench.telemetry [--rounds 41] [--calls 1280] [--before ../another/checkout]

First the bytecode instructions of one `execute`: those of the SDK's own code, and all of Python's,
medians of 50 calls one after the other. `--before` counts them of another checkout too. Then CPU
per call, 64 in flight, in alternating rounds as in `execute_cpu.py`: with telemetry off, on, and on
where no trace is sampled. On means spans through a `BatchSpanProcessor` to an exporter that drops
them, and metrics.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    SpanExporter,
    SpanExportResult,
)
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from refold_async import RefoldClient
from refold_async.otel import RefoldInstrumentor
from tests.bench.execute_cpu import PAYLOAD, one_round, server

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.sdk.trace import ReadableSpan

ROOT = Path(__file__).parents[2]
COUNT = textwrap.dedent("""
    import asyncio, statistics, sys
    from refold_async import RefoldClient

    seen = [0, 0]  # the SDK's own, all

    def enter(frame, event, argument):
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        ours = "refold_async" in frame.f_code.co_filename

        def step(frame, event, argument):
            if event == "opcode":
                seen[0] += ours
                seen[1] += 1
            return step

        return step

    def switch_on():
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import InMemoryMetricReader
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
        from refold_async.otel import RefoldInstrumentor

        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(InMemorySpanExporter()))
        meters = MeterProvider([InMemoryMetricReader()])
        RefoldInstrumentor().instrument(tracer_provider=provider, meter_provider=meters)

    async def main():
        if sys.argv[2] == "on":
            switch_on()
        counts = []
        async with RefoldClient(
            api_key="tk_bench", linked_account_id="a", base_url=sys.argv[1], rate_limit=None
        ) as refold:
            for number in range(60):
                seen[:] = 0, 0
                sys.settrace(enter)
                await refold.execute("wf_1", slug="hubspot", payload={"email": "j@example.com"})
                sys.settrace(None)
                counts.append(tuple(seen))
        print(*(statistics.median(each) for each in zip(*counts[10:])))

    asyncio.run(main())
""")


class Drop(SpanExporter):
    """Takes spans, and keeps none."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Drop them."""
        return SpanExportResult.SUCCESS


async def instructions(checkout: Path, base_url: str, switch: str) -> tuple[float, float]:
    """Count the instructions of an `execute`, by the code of a checkout."""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", COUNT, base_url, switch),
        cwd=checkout,
        env=os.environ | {"PYTHONPATH": str(checkout)},
        stdout=asyncio.subprocess.PIPE,
    )
    printed, _ = await child.communicate()
    ours, everything = map(float, printed.split())
    return ours, everything


async def cpu(rounds: int, calls: int, base_url: str) -> dict[str, list[float]]:
    """Alternate telemetry off and on, and collect microseconds per call."""
    sampled, unsampled = TracerProvider(), TracerProvider(sampler=ALWAYS_OFF)
    for provider in (sampled, unsampled):
        provider.add_span_processor(BatchSpanProcessor(Drop()))
    meters = MeterProvider([InMemoryMetricReader()])
    contenders = {"off": None, "on": sampled, "on, not sampled": unsampled}
    figures: dict[str, list[float]] = {name: [] for name in contenders}
    async with RefoldClient(
        api_key="tk_bench", linked_account_id="acct_1", base_url=base_url, rate_limit=None
    ) as refold:
        await one_round(
            lambda: refold.execute("wf_1", slug="hubspot", payload=PAYLOAD), calls
        )  # warm-up
        for number in range(rounds):
            for name in [*contenders][:: -1 if number % 2 else 1]:
                provider_ = contenders[name]
                if provider_ is not None:
                    RefoldInstrumentor().instrument(
                        tracer_provider=provider_, meter_provider=meters
                    )
                figures[name].append(
                    await one_round(
                        lambda: refold.execute("wf_1", slug="hubspot", payload=PAYLOAD), calls
                    )
                )
                if provider_ is not None:
                    RefoldInstrumentor().uninstrument()
    for each in (sampled, unsampled, meters):
        each.shutdown()
    return figures


async def main() -> None:
    """Print both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=41)
    parser.add_argument("--calls", type=int, default=1280)
    parser.add_argument("--before", type=Path)
    options = parser.parse_args()
    async with server() as base_url:
        print("Bytecode instructions per execute: the SDK's own, all of Python's")
        counted = {"off, before": options.before, "off": ROOT, "on": ROOT}
        for name, checkout in counted.items():
            if checkout is not None:
                switch = name.partition(",")[0]
                ours, everything = await instructions(checkout.resolve(), base_url, switch)
                print(f"  {name:<18} {ours:6,.0f} {everything:6,.0f}")
        figures = await cpu(options.rounds, options.calls, base_url)
    print(f"CPU per execute, {options.rounds} rounds of {options.calls} calls")
    for name, values in figures.items():
        beside = [*zip(values, figures["off"], strict=True)]
        more = statistics.median(ours - off for ours, off in beside)
        ratio = statistics.median(ours / off for ours, off in beside)
        middle = statistics.median(values)
        print(f"  {name:<18} median {middle:6.1f} µs   {more:+6.1f} µs   ratio {ratio:.2f}")


if __name__ == "__main__":
    asyncio.run(main())
