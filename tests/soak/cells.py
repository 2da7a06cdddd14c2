"""What the soak varies: how the service behaves, what goes wrong with starts, and the mode."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import attrs

from refold_async._config import RetryMode

if TYPE_CHECKING:
    from collections.abc import Iterator

READ_TIMEOUT = 1.0
SETTLE = 0.1
FAULTY = 0.2
"""The share of starts that go wrong."""

SERVICES: dict[str, dict[str, Any]] = {
    "tags visible": {},
    "list lags": {"list_lag": 2.5 * SETTLE},
    "list lags long": {"list_lag": 60.0},
    "list leads": {"list_lead": 1.0},
    "clock steps": {},
    "tags invisible": {"echo_instance_tag_in_list": False},
    "awkward list": {"ignores_filters": True, "max_page_size": 20, "clock_skew": 90.0},
    "webhooks": {},
}

TOLD = "webhooks"
"""The service that tells of ends, as badly as this."""
PUSHES: dict[str, Any] = {
    "lost": 0.1,
    "twice": 0.2,
    "delay": [0.0, 0.3],
    "forged": 0.2,
    "backoff": 0.1,
}
STOPPED = 1.0, 3.0
"""Seconds for which nothing is delivered, out of how many."""

STEPPED = "clock steps"
"""The service whose caller's wall clock steps by so many seconds, a second each."""
STEPS = (0.0, 300.0, -300.0)

FAULTS: dict[str, dict[str, Any]] = {
    "reset, not run": {"drop": "before"},
    "reset, run": {"drop": "after"},
    "cut short": {"truncate": True},
    "late answer": {"delay": 1.5 * READ_TIMEOUT},
    "200 garbage": {"status": 200, "body": "\x00}{", "perform": True},
    "200 without id": {"status": 200, "body": {"message": "ok"}, "perform": True},
    "500, not run": {"status": 500},
    "500, run": {"status": 500, "perform": True},
    "502 page, not run": {"status": 502, "html": True},
    "502 page, run": {"status": 502, "html": True, "perform": True},
    "503 page, run": {"status": 503, "html": True, "perform": True},
    "504 page, run": {"status": 504, "html": True, "perform": True},
    "503 of its own": {"status": 503},
    "429": {"status": 429},
}

READS = ("list_executions", "get_execution", "get_response")


@attrs.frozen
class Cell:
    """One combination."""

    mode: RetryMode
    service: str
    fault: str

    @property
    def is_told(self) -> bool:
        """Whether the service delivers to webhooks."""
        return self.service == TOLD

    @property
    def steps(self) -> tuple[float, ...]:
        """By how many seconds the caller's wall clock is wrong, by turns."""
        return STEPS if self.service == STEPPED else (0.0,)

    @property
    def settings(self) -> dict[str, Any]:
        """What the service is told."""
        if self.fault == "all":
            # The first rule that draws decides: together they meet FAULTY of all starts.
            each = 1 - (1 - FAULTY) ** (1 / len(FAULTS))
            faults = [["execute", fault, each] for fault in FAULTS.values()]
        else:
            faults = [["execute", FAULTS[self.fault], FAULTY]]
        faults += [[read, {"status": 502, "html": True}, FAULTY / 2] for read in READS]
        pushes = {"pushes": PUSHES, "stopped": STOPPED} if self.is_told else {}
        return {"behaviour": SERVICES[self.service], "faults": faults} | pushes


def everything() -> Iterator[Cell]:
    """Give all faults together in every mode against every service, and each alone in `safe`."""
    for service in SERVICES:
        for mode in get_args(RetryMode):
            yield Cell(mode, service, "all")
    for service in ("tags visible", "list lags", "tags invisible"):
        for fault in FAULTS:
            yield Cell("safe", service, fault)


def briefly() -> Iterator[Cell]:
    """Give all faults together against every service in the modes that send again or look."""
    for service in SERVICES:
        yield Cell("safe", service, "all")
        yield Cell("transient", service, "all")
