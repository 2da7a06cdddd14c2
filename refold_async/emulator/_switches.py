"""What may go wrong at the turn of a switch: the faults that the page offers."""

from typing import Any

import attrs

from ._faults import ANY, Fault, Faults
from ._pushing import Pushes

SHARES = (1.0, 0.5, 0.1)
"""How many requests a fault may meet."""
_HELD = "held"


@attrs.frozen
class Switch:
    """One fault that can be switched on.

    Attributes:
        name: Its name on the wire.
        title: What it does.
        detail: What is answered.
        operation: Whose requests it meets.
        fault: What they meet.
    """

    name: str
    title: str
    detail: str
    operation: str
    fault: Fault


SWITCHES = (
    Switch(
        "shed",
        "Starts are shed",
        "503, come back in 1 s",
        "execute",
        Fault(status=503, headers={"Retry-After": "1"}),
    ),
    Switch(
        "lost",
        "Answers to starts are lost",
        "reset after the run has begun",
        "execute",
        Fault(drop="after"),
    ),
    Switch(
        "proxy",
        "A proxy fails after the start",
        "502 as a page, the run has begun",
        "execute",
        Fault(status=502, html=True, perform=True),
    ),
    Switch(
        "refused",
        "Requests are refused",
        "429, come back in 2 s",
        ANY,
        Fault(status=429, headers={"Retry-After": "2"}),
    ),
    Switch("slow", "Answers are slow", "2 s late", ANY, Fault(delay=2.0)),
    Switch(
        "cut", "Answers are cut in half", "and the connection closed", ANY, Fault(truncate=True)
    ),
    Switch("unread", "Runs can't be read", "500 for each", "get_execution", Fault(status=500)),
    Switch(
        "unlisted",
        "Runs can't be listed",
        "502 as a page",
        "list_executions",
        Fault(status=502, html=True),
    ),
    Switch("down", "Nothing gets through", "reset before it happens", ANY, Fault(drop="before")),
)
_BY_NAME = {each.name: each for each in SWITCHES}


def shown(faults: Faults, pushes: Pushes) -> list[dict[str, Any]]:
    """All switches, and how they stand."""
    on = faults.switched
    rows = [
        {
            "name": each.name,
            "title": each.title,
            "detail": each.detail,
            "on": each.name in on,
            "share": on.get(each.name, 1.0),
        }
        for each in SWITCHES
    ]
    held = {
        "name": _HELD,
        "title": "Webhooks are held back",
        "detail": "delivered once this is off",
        "on": pushes.stopped,
        "share": None,  # of all or of none
    }
    return [*rows, held]


def turn(faults: Faults, pushes: Pushes, *, name: object, on: object, share: object) -> None:
    """Turn a switch.

    Raises:
        ValueError: There is no such switch, or no such share.
    """
    if not isinstance(on, bool):
        raise ValueError("on is true or false")  # noqa: TRY004 - it is a field of a body
    if name == _HELD:
        pushes.stopped = on
        return
    switch = _BY_NAME.get(name) if isinstance(name, str) else None
    if switch is None:
        raise ValueError(f"there is no switch {name!r}")
    if share not in SHARES:
        raise ValueError(f"share is one of {', '.join(map(str, SHARES))}")
    fault = switch.fault if on else None
    faults.switch(switch.name, switch.operation, fault, share=float(str(share)))
