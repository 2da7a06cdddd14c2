"""Why is it not finished? What looks have shown of a run, in words for whoever has to find out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from refold_async._models import WaitTimeoutError

if TYPE_CHECKING:
    from refold_async._waiting.progress import Progress


def reattach(execution_id: str, account: str | None) -> str:
    """Give the line of code that waits for a run again, in any process."""
    whose = "" if account is None else f", linked_account_id={account!r}"
    return f"await refold.handle({execution_id!r}{whose})"


def wait_timeout(
    *, execution_id: str, account: str | None, progress: Progress, waited: float, now: float
) -> WaitTimeoutError:
    """Make the error of a wait whose time is over.

    Args:
        execution_id: the run.
        account: the linked account it belongs to, if known.
        progress: what the looks at it have shown.
        waited: seconds this wait took.
        now: monotonic seconds.
    """
    snapshot = progress.snapshot
    line = reattach(execution_id, account)
    facts = [
        _standing(execution_id, progress, waited),
        _looks(progress, now),
        _whereabouts(progress, now),
    ]
    advice = f"Read it again: {line}" if progress.over else f"It goes on: {line}"
    return WaitTimeoutError(
        " ".join(filter(None, facts)),
        execution_id=execution_id,
        last_status=progress.status,
        snapshot=snapshot,
        waited=waited,
        node=None if snapshot is None else snapshot.current_node,
        node_age=_age(progress.node_since, now),
        completion_percentage=None if snapshot is None else snapshot.completion_percentage,
        look_age=_age(progress.last_look_at, now),
        failed_looks=progress.failed_looks,
        last_error=progress.last_error,
        reattach=line,
    ).about(linked_account_id=account, advice=advice)


def _age(moment: float | None, now: float) -> float | None:
    return None if moment is None else now - moment


def _standing(execution_id: str, progress: Progress, waited: float) -> str:
    run = f"execution {execution_id}"
    if progress.status is None:
        return f"{run} was not seen to end within {waited:.1f} s."
    seen = progress.status if progress.snapshot is None else progress.snapshot.describe()
    if progress.over:
        return f"{run} has ended {seen}, but its output did not come within {waited:.1f} s."
    return f"{run} did not end within {waited:.1f} s; last seen {seen}."


def _looks(progress: Progress, now: float) -> str:
    failed, age = progress.failed_looks, _age(progress.last_look_at, now)
    if not failed:
        return (
            "No look has been answered yet." if age is None else f"That look was {age:.1f} s ago."
        )
    looks = "1 look has failed" if failed == 1 else f"{failed} looks have failed"
    why = f"the last one with {progress.last_error}".rstrip(".")
    if age is None:
        return f"No look has succeeded yet; {looks}, {why}."
    return f"That look was {age:.1f} s ago; {looks} since, {why}."


def _whereabouts(progress: Progress, now: float) -> str:
    """Tell since when it stands at its node: documents don't, but looks have seen it there."""
    since = _age(progress.node_since, now)
    if since is None or progress.node_since == progress.last_look_at:
        return ""
    return f"The run was first seen at that node {since:.1f} s ago."
