"""What a fan-out looks like in a trace, from its real spans."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from refold_async import ExecutionRequest, RateLimit, RefoldClient
from refold_async.emulator import Emulator, Fault
from tests.support.telemetry import Told, context_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.sdk.trace import ReadableSpan

_ITEMS = 50
_REFUSED = (12, 25, 38)
"""The requests that are turned away with 503, to be sent again."""
_NAMES, _BARS = 60, 32
"""Columns for names, and for bars."""


async def capture_trace() -> str:
    """Fan 50 runs out, 3 of whose starts are refused at first, and draw the spans."""
    emulator = Emulator()

    @emulator.workflow("wf_contact", slug="crm", duration=0.3)
    def create(payload: dict[str, Any]) -> Any:
        return {"id": payload["n"]}

    emulator.faults.script(
        "execute",
        *(Fault(status=503) if n in _REFUSED else None for n in range(_ITEMS)),
    )
    requests = (ExecutionRequest("wf_contact", slug="crm", payload={"n": n}) for n in range(_ITEMS))
    with Told() as told:
        async with (
            emulator,
            RefoldClient(
                api_key=emulator.api_key,
                base_url=emulator.base_url,
                linked_account_id="acct_1",
                rate_limit=RateLimit(per_second=60, burst=5),
            ) as refold,
        ):
            with told.tracer.start_as_current_span("import contacts"):
                async for item in refold.map(requests):
                    assert item.outcome == "succeeded", item
    return "\n".join(_drawn(told.spans)) + "\n"


def _drawn(spans: list[ReadableSpan]) -> Iterator[str]:
    root = next(span for span in spans if span.parent is None)
    calls = [span for span in spans if span.name == "refold.execute"]
    tries = {id(call): _below(call, spans) for call in calls}
    plain = [call for call in calls if len(tries[id(call)]) == 1]
    again = [call for call in calls if len(tries[id(call)]) > 1]
    yield _line("", root, root, "")
    for call in (*plain[:1], *again):
        yield _line("├─ ", call, root, "")
        *early, last = tries[id(call)]
        for attempt in early:
            yield _line("│  ├─ ", attempt, root, _came_to(attempt))
        yield _line("│  └─ ", last, root, _came_to(last))
        wait = next(span for span in spans if span.links and _is_of(span, call))
        yield _line("├─ ", wait, root, f"{_of(wait, 'refold.execution.status')}")
    waits = sum(span.name == "refold.wait" for span in spans)
    shown = 1 + len(again)
    yield f"└─ ... {len(calls) - shown} calls and {waits - shown} waits more, like the first"


def _line(branch: str, span: ReadableSpan, root: ReadableSpan, told: str) -> str:
    whole, began, took = _took(root), (span.start_time or 0) - (root.start_time or 0), _took(span)
    before = round(began / whole * _BARS)
    bar = " " * before + "━" * max(1, min(round(took / whole * _BARS), _BARS - before))
    name = f"{branch}{span.name}".replace("/api/v2/public", "...")
    return f"{name:<{_NAMES - len(told) - 1}} {told} {took / 1e6:5,.0f} ms  {bar}".rstrip()


def _took(span: ReadableSpan) -> int:
    return (span.end_time or 0) - (span.start_time or 0)


def _below(call: ReadableSpan, spans: list[ReadableSpan]) -> list[ReadableSpan]:
    own = context_of(call).span_id
    return [span for span in spans if span.parent is not None and span.parent.span_id == own]


def _is_of(wait: ReadableSpan, call: ReadableSpan) -> bool:
    return any(link.context.span_id == context_of(call).span_id for link in wait.links)


def _of(span: ReadableSpan, name: str) -> object:
    return (span.attributes or {}).get(name)


def _came_to(attempt: ReadableSpan) -> str:
    again = _of(attempt, "http.request.resend_count")
    return f"{'again ' * bool(again)}{_of(attempt, 'http.response.status_code')}"
