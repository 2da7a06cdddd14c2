"""Questions about the list of executions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from refold_async.probe._asking import V2
from refold_async.probe._scene import StoppedError

if TYPE_CHECKING:
    from refold_async.probe._asking import Answer
    from refold_async.probe._scene import Scene

LIST = f"{V2}/execution"
_OK = 200
_REFUSALS = {400, 413, 422}
_MOST = 1000
_DAY = len("2026-06-16")


async def find_pages(scene: Scene) -> None:
    """Ask for ever larger pages; it is the first that is asked of all."""
    notes = scene.notes
    answer = await _page(scene, 1)
    if answer.status != _OK:
        await _say_why_not(scene, answer)
    notes.tell("drop_underscore_headers", False, "the linked account arrived")
    answer = await _page(scene, _MOST)
    taken = answer.field("limit")
    if answer.status == _OK:
        if not isinstance(taken, int) or not 0 < taken <= _MOST or taken is True:
            notes.leave("max_page_size", f"the answer says limit {taken!r:.40}")
            return
        scene.limit = min(taken, 100)
        notes.tell("max_page_size", taken, f"of {_MOST} the answer says limit {taken}")
        if taken < _MOST:
            notes.tell("larger_page", "lowered", f"to {taken}")
        return
    low, high = 1, _MOST
    if answer.status not in _REFUSALS:
        notes.leave("max_page_size", f"limit {_MOST} was answered {answer}")
        return
    notes.tell("larger_page", "refused", str(answer))
    while high - low > 1:
        # The likely ones first: most services stop at a round number.
        middle = next((each for each in (100, 101, 50, 51) if low < each < high), (low + high) // 2)
        if (await _page(scene, middle)).status == _OK:
            low = middle
        else:
            high = middle
    scene.limit = min(low, 100)
    notes.tell("max_page_size", low, f"{low} is taken, {high} refused")


async def find_filters(scene: Scene) -> None:
    """Ask for what must not be there, and for pages that end before the run began."""
    notes, mine = scene.notes, {"limit": str(scene.limit)}
    every = (await scene.asker.read(LIST, mine)).docs
    missing = sum("createdAt" not in each for each in every)
    if every:
        notes.tell(
            "undated_every",
            round(len(every) / missing) if missing else 0,
            f"{missing} of {len(every)} entries",
        )
    nothing = await scene.asker.read(LIST, {**mine, "workflow_id": scene.nobody})
    if not every or nothing.status != _OK:
        why = f"the list has no run yet, or said {nothing}"
        notes.leave("ignores_filters", why)
        notes.leave("list_dates", why)
        return
    notes.tell("ignores_filters", bool(nothing.docs), f"{len(nothing.docs)} runs of nobody's")
    if nothing.docs:
        notes.leave("list_dates", "filters are ignored")
        return
    await _find_dates(scene, mine)


async def _find_dates(scene: Scene, mine: dict[str, str]) -> None:
    began = _moment(scene.document.get("createdAt"))
    if scene.first is None or began is None:
        scene.notes.leave("list_dates", "no run that was started has a date")
        return
    query = {**mine, "execution_id": scene.first}
    if not any(each.get("_id") == scene.first for each in (await _list(scene, query)).docs):
        scene.notes.leave("list_dates", "the list does not have the run")
        return
    earlier = began - timedelta(minutes=1)
    field, limit = "end_date", earlier
    if earlier.date() != began.date():  # just after midnight: only the other end tells
        field, limit = "start_date", began + timedelta(minutes=1)
    text = limit.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    answer = await _list(scene, {**query, field: text})
    if answer.status != _OK:
        scene.notes.tell("list_dates", "days", f"{field}={text}: {answer}")
        return
    there = any(each.get("_id") == scene.first for each in answer.docs)
    because = f"{field}={text} {'has' if there else 'has not'} a run of {began.isoformat()}"
    scene.notes.tell("list_dates", "days" if there else "times", because)


async def _list(scene: Scene, query: dict[str, str]) -> Answer:
    return await scene.asker.read(LIST, query)


async def _page(scene: Scene, limit: int) -> Answer:
    return await scene.asker.read(LIST, {"limit": str(limit)})


async def _say_why_not(scene: Scene, answer: Answer) -> None:
    """Find out why not even a list is to be had."""
    if answer.status in {401, 403}:
        raise StoppedError(f"the key is not taken: {answer}")
    if (await scene.asker.read(f"{V2}/workflow", {"limit": "1"})).status == _OK:
        # A list needs an account, which goes in a header with underscores; workflows do without.
        scene.notes.tell("drop_underscore_headers", True, f"the list said {answer}")
        raise StoppedError(
            "the linked account does not arrive: a proxy seems to drop headers with underscores"
            " (nginx: underscores_in_headers on)"
        )
    raise StoppedError(f"the list of executions is not to be had: {answer}")


def _moment(text: object) -> datetime | None:
    if not isinstance(text, str) or len(text) <= _DAY:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
