"""The way of a probe: what starts nothing first, then the runs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from refold_async._logs import Log
from refold_async.probe._asking import (
    Asker,
    NoAnswerError,
    SpentError,
    Target,
    is_number,
    moment,
)
from refold_async.probe._connection import find_keepalive
from refold_async.probe._findings import Notes, ProbeReport
from refold_async.probe._lists import find_filters, find_pages
from refold_async.probe._reads import find_accounts, find_event, find_tokens, find_unknown
from refold_async.probe._runs import find_bodies, find_first, find_rerun, find_response, find_sync
from refold_async.probe._scene import Scene, StoppedError, Work

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

logger = Log("probe")

_RESERVED = 20
"""Requests that are not spent on looking at the first run."""


_STEPS: tuple[Callable[[Scene], Awaitable[None]], ...] = (
    find_pages,
    find_unknown,
    find_event,
    find_accounts,
    find_tokens,
    find_first,
    find_bodies,
    find_response,
    find_filters,
    find_sync,
    find_rerun,
    find_keepalive,
)


async def probe(target: Target, work: Work) -> ProbeReport:
    """Ask a service what its documentation leaves open.

    It starts at most `work.runs` runs, makes at most `work.max_requests` requests, five a second at
    most, and stops nothing. Whatever goes wrong, what was found until then is told. Cancelled, it
    leaves the runs that it has started, and logs which.

    Args:
        target: the service.
        work: what may be done.
    """
    notes = Notes()
    async with Asker(target, work.max_requests) as asker:
        scene = Scene(asker=asker, notes=notes, work=work, reserved=_RESERVED)
        try:
            stopped = await _asked(scene)
        except asyncio.CancelledError:
            logger.warning(
                "the probe was cancelled; it had started %s",
                ", ".join([*scene.execution_ids, *scene.uncertain]) or "no run",
            )
            raise
        _conclude(scene)
        return ProbeReport(
            findings=notes.all(stopped or "; ".join(scene.failures) or "nothing shows it"),
            execution_ids=tuple(scene.execution_ids),
            uncertain=tuple(scene.uncertain),
            requests=asker.made,
            stopped=stopped,
        )


async def _asked(scene: Scene) -> str | None:
    """Take all steps; give why not."""
    for step in _STEPS:
        try:
            await step(scene)
        except StoppedError as error:
            return str(error)
        except SpentError as error:
            return str(error)
        except NoAnswerError as error:
            if step is find_pages:  # the first of all
                return f"the service can't be reached: {error}"
            scene.failures.append(str(error))
        except Exception as error:
            # What was found until then, and the runs that were started, are worth more.
            logger.exception("a question of the probe broke")
            scene.failures.append(f"a mistake of the probe's, {type(error).__name__}: see its log")
    return None


def _conclude(scene: Scene) -> None:
    """Note what all answers together tell."""
    asker, notes = scene.asker, scene.notes
    low, high = asker.skew
    if low <= high:
        inside = low <= 0 <= high
        skew = 0.0 if inside else round((low + high) / 2, 1)
        notes.tell("clock_skew", skew, f"between {low:.1f} and {high:.1f}")
    rates = asker.told_of_rate
    notes.tell("rate_headers", rates or None, f"{asker.made} answers")
    if asker.refused is not None:
        headers = {name.lower(): value for name, value in asker.refused.headers.items()}
        after = headers.get("retry-after")
        because = f"{asker.refused.status}, Retry-After: {after}"
        if after is None or is_number(after):
            notes.tell("retry_after", None if after is None else float(after), because)
        elif moment(after) is not None:
            notes.tell("retry_after", "date", because)
        else:
            notes.leave("retry_after", f"it makes no sense: {because}")
        notes.tell("rate_limit_html", asker.refused.body is None, because)
    else:
        for name in ("retry_after", "rate_limit_html"):
            notes.leave(name, "nothing was refused by load")
