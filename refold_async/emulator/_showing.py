"""What the page shows: the newest of everything, as rows of short text and numbers."""

import json
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from types import FunctionType
from typing import Any

from . import _switches
from ._app import App
from ._documents import ending_text, node_type
from ._pushing import Pusher
from ._real_time import RealTime
from ._runs import TERMINAL, Run
from ._service import Service
from ._time import VirtualTime

Row = dict[str, Any]

NEWEST = 100
"""Rows of a table that are shown at most."""
_NODES = 50
_TEXT = 120
_JSON = 20_000
"""Characters that are shown of a name, and of a payload or an output."""


class Tally:
    """How many runs there are of each status; a run that is over is looked at once."""

    def __init__(self, runs: list[Run]) -> None:
        self._runs = runs
        self._seen = 0
        self._going: list[Run] = []
        self._over: Counter[str] = Counter()

    def counted(self, now: float) -> dict[str, int]:
        """Count them as of a moment."""
        new = self._runs[self._seen :]
        self._seen += len(new)
        going = []
        for run in (*self._going, *new):
            status = run.status(now)
            if status in TERMINAL:
                self._over[status] += 1
            else:
                going.append(run)
        self._going = going
        return {"going": len(going), **self._over}


class Showing:
    """The emulator as the page shows it; nothing here changes anything.

    Args:
        service: Its workflows, runs and webhooks.
        app: Its requests and faults.
        pusher: Its deliveries.
        time: Its time.
    """

    def __init__(
        self, service: Service, app: App, pusher: Pusher, time: RealTime | VirtualTime
    ) -> None:
        self._service, self._app, self._pusher, self._time = service, app, pusher, time
        self.base_url = ""  # where it listens
        self._tally = Tally(service.state.runs)

    def sections(self, selected: str | None) -> dict[str, Any]:
        """Everything but the tables of runs and requests.

        Args:
            selected: The run whose nodes are shown, None for the newest.
        """
        now, skips = self._service.now(), isinstance(self._time, VirtualTime)
        state, pushes = self._service.state, self._pusher.pushes
        run = state.run(selected) if selected else next(iter(state.runs[-1:]), None)
        return {
            "about": {"base_url": self.base_url, "api_key": self._service.api_key},
            "clock": {"now": round(now, 3) if skips else int(now), "skips": skips},
            "totals": {**self._tally.counted(now), "requests": self._app.counts.total()},
            "workflows": [_workflow(each) for each in [*state.workflows.values()][:NEWEST]],
            "accounts": sorted(self._service.behaviour.linked_accounts or ())[:NEWEST],
            "webhooks": [_webhook(each) for each in self._service.webhooks.all()[:NEWEST]],
            "deliveries": [*self._deliveries()],
            "switches": _switches.shown(self._app.faults, pushes),
            "rules": str(self._app.faults).splitlines()[:20],
            "detail": None if run is None else detail(run, now),
        }

    def runs(self) -> dict[str, Row]:
        """The newest runs by id."""
        now, runs = self._service.now(), self._service.state.runs
        first = max(0, len(runs) - NEWEST)
        return {
            run.execution_id: _run(run, number, now)
            for number, run in enumerate(runs[first:], first)
        }

    def requests(self) -> dict[str, Row]:
        """The latest requests by their number."""
        now = self._service.now()
        return {str(each.number): _request(each, now) for each in self._app.traffic.latest}

    def _deliveries(self) -> Iterator[Row]:
        for each in islice(reversed([*self._pusher.pushes.deliveries]), NEWEST):
            yield {
                "event": each.event,
                "run": each.execution_id,
                "webhook": each.webhook_id,
                "attempt": each.attempt,
                "status": each.status,
                "at": each.at,
                "forged": each.forged,
            }


class Feed:
    """What is new to one who watches.

    Args:
        showing: What there is to be seen.
        selected: The run whose nodes are watched, None for the newest.
    """

    def __init__(self, showing: Showing, selected: str | None) -> None:
        self._showing, self._selected = showing, selected
        self._sections: dict[str, Any] = {}
        self._tables: dict[str, dict[str, Row]] = {"runs": {}, "requests": {}}

    def news(self) -> dict[str, Any]:
        """The sections that have changed, and the rows of tables that have."""
        sections = self._showing.sections(self._selected)
        told = {
            k: v for k, v in sections.items() if k not in self._sections or self._sections[k] != v
        }
        self._sections = sections
        for name, rows in (("runs", self._showing.runs()), ("requests", self._showing.requests())):
            known = self._tables[name]
            if changed := [row for key, row in rows.items() if known.get(key) != row]:
                told[name] = changed
            self._tables[name] = rows
        return told


def detail(run: Run, now: float) -> Row:
    """One run with its nodes on a line of time, which begins when it left the queue."""
    status = run.status(now)
    over, completed = status in TERMINAL, status == "COMPLETED"
    return {
        **_run(run, 0, now),
        "config": _short(run.config_id),
        "source": "Event" if run.event else "Rerun" if run.rerun_of else "API call",
        "queued": round(min(now, run.begins_at) - run.created_at, 3),
        "duration": run.duration,
        "over": over,
        "ends": [*_ends(run, now)],
        "payload": _written(run.payload),
        "output": _written(run.outcome.output) if completed else None,
        "error": ending_text(run)[:_JSON] if over and not completed else None,
    }


def _ends(run: Run, now: float) -> Iterator[Row]:
    """The nodes, each with the seconds at which it began and ended."""
    progress = run.progress(now)
    each = run.seconds(now) / progress.position if progress.position else 0.0
    for index, name in enumerate(run.workflow.nodes[:_NODES]):
        status, reached = progress.node_status(index), index <= progress.node
        since = min(index, progress.position) * each
        until = min(index + 1, progress.position) * each
        if reached and not each:  # one whose length nobody knows
            since, until = 0.0, run.seconds(now)
        yield {
            "name": _short(name),
            "type": node_type(name),
            "status": status,
            "since": round(since, 3) if reached else None,
            "until": round(until, 3) if reached else None,
        }


def _run(run: Run, number: int, now: float) -> Row:
    progress = run.progress(now)
    return {
        "id": run.execution_id,
        "number": number,
        "workflow": _short(run.workflow_id),
        "name": _short(run.workflow.name),
        "account": _short(run.linked_account_id),
        "tag": _short(run.instance_tag),
        "sync": run.sync,
        "status": progress.status,
        "percent": progress.percentage,
        "node": _short(run.workflow.nodes[progress.node]),
        "at": run.created_at,
        "seconds": round(run.seconds(now), 3),
    }


def _request(exchange: Any, now: float) -> Row:
    until = now if exchange.ended is None else exchange.ended
    return {
        "number": exchange.number,
        "operation": exchange.operation,
        "method": exchange.method,
        "path": exchange.path,
        "account": exchange.account,
        "at": exchange.at,
        "seconds": round(until - exchange.at, 3),
        "status": exchange.status,
        "over": exchange.ended is not None,
        "fault": exchange.fault,
    }


def _workflow(workflow: Any) -> Row:
    function = workflow.function
    told = function.__doc__ if isinstance(function, FunctionType) else None
    return {
        "id": workflow.workflow_id,
        "name": _short(workflow.name),
        "slug": _short(workflow.slug),
        "about": _short((told or "").strip().partition("\n")[0]),
        "published": workflow.published,
    }


def _webhook(hook: Any) -> Row:
    return {
        "id": hook["_id"],
        "url": _short(hook["webhook_url"]),
        "events": len(hook["webhook_events"]),
        "enabled": hook.get("is_enabled", True),
    }


def _short(value: object) -> str | None:
    """Text of a length that can be shown, whatever somebody has taken for a name."""
    if value is None:
        return None
    text = str(value)
    return text if len(text) <= _TEXT else f"{text[:_TEXT]}..."


def _written(value: Any) -> str:
    """JSON for people, no more of it than is shown."""
    text = ""
    for part in json.JSONEncoder(indent=2, ensure_ascii=False).iterencode(value):
        text += part
        if len(text) > _JSON:
            return f"{text[:_JSON]}\n..."
    return text
