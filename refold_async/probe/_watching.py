"""One run as it goes: when the list showed what, and when its document did."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import attrs

from refold_async.probe._asking import V2
from refold_async.probe._findings import Notes
from refold_async.probe._lists import LIST

if TYPE_CHECKING:
    from refold_async.probe._scene import Scene

_ENDED = {"COMPLETED", "ERRORED", "STOPPED", "TIMED_OUT", "TERMINATED"}
_FIRST_PAUSE = 0.25
_GROWTH = 1.5
_ENTRIES = 20
_ROUNDING = 1e-6


def is_over(document: dict[str, Any] | None) -> bool:
    """Tell whether a run has ended, as an entry or a document shows it."""
    return document is not None and str(document.get("status", "")).upper() in _ENDED


def up(seconds: float) -> float:
    """Round up to a tenth: what is told is a bound."""
    return math.ceil(seconds * 10 - _ROUNDING) / 10


async def watch(scene: Scene, execution_id: str) -> None:
    """Look at list and document in turn, until both show the run's end."""
    clock, seen, pause = scene.asker.clock, Watch(scene.notes, scene.tag), _FIRST_PAUSE
    begun = clock.monotonic()
    query = {"limit": str(min(_ENTRIES, scene.limit)), "execution_id": execution_id}
    while True:
        # The list first: an end that it shows, and a document read after it does not, is ahead.
        docs = (await scene.asker.read(LIST, query)).docs
        entry = next((each for each in docs if each.get("_id") == execution_id), None)
        seen.listed(entry, clock.monotonic() - begun)
        document = (await scene.asker.read(f"{V2}/execution/{execution_id}")).body
        at = clock.monotonic() - begun
        if isinstance(document, dict):
            scene.document = document
            seen.read(document, at)
        spent = scene.asker.left <= scene.reserved
        if (is_over(entry) and is_over(scene.document)) or at > scene.work.patience or spent:
            scene.notes.leave("list_lag", f"the list did not show the run within {at:.0f} s")
            scene.notes.leave("list_lead", f"the run's end was not seen within {at:.0f} s")
            return
        await scene.asker.pause(pause)
        pause *= _GROWTH


@attrs.define(eq=False)
class Watch:
    """What was seen when, in seconds since the run was started."""

    _notes: Notes
    _tag: str
    _unlisted: float = 0.0
    _list_ended: float | None = None
    _queued: float = 0.0
    _is_ahead: bool = False

    def listed(self, entry: dict[str, Any] | None, at: float) -> None:
        """Note what the list shows of the run."""
        if entry is None:
            self._unlisted = at
            return
        if "list_lag" not in self._notes:
            lag = up(at) if self._unlisted else 0.0
            because = f"not there after {self._unlisted:.1f} s, there after {at:.1f} s"
            self._notes.tell("list_lag", lag, because if lag else "the first list had the run")
            tag = entry.get("instance_tag")
            bears = f"the entry bears {tag!r}"
            self._notes.tell("echo_instance_tag_in_list", tag == self._tag, bears)
        if self._list_ended is None and is_over(entry):
            self._list_ended = at

    def read(self, document: dict[str, Any], at: float) -> None:
        """Note what the document shows."""
        if str(document.get("status", "")).upper() == "QUEUED":
            self._queued = at
        elif "queued_for" not in self._notes:
            waited = up(at) if self._queued else 0.0
            because = f"QUEUED after {self._queued:.1f} s, not after {at:.1f} s"
            self._notes.tell("queued_for", waited, because if waited else "it began at once")
        if self._list_ended is None:
            return
        if not is_over(document):
            self._is_ahead = True
            return
        lead = up(at - self._list_ended) if self._is_ahead else 0.0
        because = f"the list showed the end after {self._list_ended:.1f} s, the document {at:.1f} s"
        self._notes.tell("list_lead", lead, because if lead else "no list was ahead")
