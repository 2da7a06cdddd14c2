"""What is done about an answer: the table of `docs/explanation/outcomes.md`, as pure functions."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from refold_async._protocol import Evidence

if TYPE_CHECKING:
    from refold_async._config import RetryMode

_CUT_OFF = frozenset({504, 524})
"""Statuses by which a proxy says that it stopped waiting: a sync run very likely goes on."""


class Finding(Enum):
    """What a look at the list of runs came to, after an answer was lost."""

    FOUND = "exactly one run carries the call's tag"
    ABSENT = "no run does, and it would show if it existed"
    UNPROVEN = "no run was found, which proves nothing"
    AMBIGUOUS = "several runs do, or another call owns the one"


class Action(Enum):
    """What is done about an answer."""

    RETURN = "it is the outcome"
    ADOPT = "the run was found in the list: it is the outcome"
    RETRY = "try again after a pause"
    RAISE = "raise its error"
    UNKNOWN = "nobody knows whether a run started"


def decide(
    evidence: Evidence,
    *,
    mode: RetryMode,
    repeatable: bool = False,
    sync: bool = False,
    status: int | None = None,
    timed_out: bool = False,
    finding: Finding = Finding.UNPROVEN,
) -> Action:
    """Decide about one attempt.

    Args:
        evidence: what the attempt proves.
        mode: of the retry policy.
        repeatable: whether the request may be sent twice without harm (every GET, and stop).
        sync: whether a sync run was asked for.
        status: HTTP status of the reply, or None if the answer was lost.
        timed_out: whether no answer came in time.
        finding: what a look at the list came to, for an uncertain start.
    """
    if evidence is Evidence.ACCEPTED:
        return Action.RETURN
    if evidence in {Evidence.REFUSED, Evidence.MISCONFIGURED}:
        return Action.RAISE
    if repeatable or evidence in {Evidence.NOT_SENT, Evidence.REJECTED}:
        return Action.RAISE if mode == "never" else Action.RETRY
    if mode != "never" and finding is Finding.FOUND:
        return Action.ADOPT
    goes_on = sync and (timed_out or status in _CUT_OFF)
    if mode != "transient" or finding is Finding.AMBIGUOUS or goes_on:
        return Action.UNKNOWN
    server_failed = status is not None and 500 <= status < 600  # noqa: PLR2004
    return Action.RETRY if server_failed or finding is Finding.ABSENT else Action.UNKNOWN
