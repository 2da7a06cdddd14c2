"""Logs as JSON, and traces: what a service switches on where it begins."""

import asyncio
import json
import logging
import sys

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

from refold_async import RefoldClient
from refold_async.otel import RefoldInstrumentor

IDS = ("execution_id", "workflow_id", "linked_account_id", "instance_tag", "request_id")


class AsJson(logging.Formatter):
    """A line that a log store can search by ids."""

    def format(self, record: logging.LogRecord) -> str:
        ids = {name: vars(record)[name] for name in IDS if name in vars(record)}
        named = {"level": record.levelname, "logger": record.name, "said": record.getMessage()}
        return json.dumps(named | ids)


def brief(span: ReadableSpan) -> str:
    status = (span.attributes or {}).get("refold.execution.status", "")
    return f"span {span.name} {status}".rstrip() + "\n"


def observe() -> None:
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(AsJson())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("refold_async").setLevel(logging.DEBUG)  # INFO in production

    provider = TracerProvider()  # in production: a BatchSpanProcessor with an OTLP exporter
    provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter(formatter=brief)))
    trace.set_tracer_provider(provider)
    RefoldInstrumentor().instrument()  # not needed under `opentelemetry-instrument`


async def main() -> None:
    observe()
    async with RefoldClient() as refold:
        with trace.get_tracer("shop").start_as_current_span("new customer"):
            handle = await refold.execute("wf_contact", slug="demo", payload={"email": "a@b.c"})
            await handle
        print("to wait elsewhere:", handle.ref.traceparent)


if __name__ == "__main__":
    asyncio.run(main())
