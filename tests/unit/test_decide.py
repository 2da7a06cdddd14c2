"""The table of outcomes: what is done about each proof, in each mode."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import pytest

from refold_async._protocol import Evidence
from refold_async._retry import Action, decide

E = Evidence
RETURN, RETRY, RAISE, UNKNOWN = Action.RETURN, Action.RETRY, Action.RAISE, Action.UNKNOWN
LOST = None
STATUSES = (LOST, 200, 204, 302, 400, 429, 499, 500, 502, 503, 504, 520, 524, 599)
SERVER_FAILED = {500, 502, 503, 504, 520, 524, 599}
CUT_OFF = {504, 524}
BOTH = (True, False)
MODES = ("never", "safe", "transient")

# Evidence, repeatable or not, sync or not, statuses, actions.
Row = tuple[Evidence, Iterable[bool], Iterable[bool], Iterable[int | None], tuple[Action, ...]]
ROWS: list[Row] = [
    # what is proven, by which requests and statuses: what is done in each of MODES
    (E.ACCEPTED, BOTH, BOTH, STATUSES, (RETURN, RETURN, RETURN)),
    (E.NOT_SENT, BOTH, BOTH, STATUSES, (RAISE, RETRY, RETRY)),
    (E.REJECTED, BOTH, BOTH, STATUSES, (RAISE, RETRY, RETRY)),
    (E.REFUSED, BOTH, BOTH, STATUSES, (RAISE, RAISE, RAISE)),
    (E.MISCONFIGURED, BOTH, BOTH, STATUSES, (RAISE, RAISE, RAISE)),
    (E.UNCERTAIN, [True], BOTH, STATUSES, (RAISE, RETRY, RETRY)),
    (E.UNCERTAIN, [False], BOTH, {*STATUSES} - SERVER_FAILED, (UNKNOWN, UNKNOWN, UNKNOWN)),
    (E.UNCERTAIN, [False], [False], SERVER_FAILED, (UNKNOWN, UNKNOWN, RETRY)),
    (E.UNCERTAIN, [False], [True], SERVER_FAILED - CUT_OFF, (UNKNOWN, UNKNOWN, RETRY)),
    (E.UNCERTAIN, [False], [True], CUT_OFF, (UNKNOWN, UNKNOWN, UNKNOWN)),
]


def _cases() -> dict[tuple[Any, ...], Action]:
    cases: dict[tuple[Any, ...], Action] = {}
    for evidence, repeatable, sync, statuses, actions in ROWS:
        for key in itertools.product([evidence], repeatable, sync, statuses):
            for mode, action in zip(MODES, actions, strict=True):
                assert (*key, mode) not in cases
                cases[*key, mode] = action
    return cases


CASES = _cases()


def test_table_names_every_case_once() -> None:
    """No combination of evidence, repeatability, sync, status and mode is left out."""
    assert set(CASES) == {*itertools.product(Evidence, BOTH, BOTH, STATUSES, MODES)}


@pytest.mark.parametrize("evidence", [pytest.param(each, id=each.name) for each in Evidence])
def test_decision_is_that_of_the_table(evidence: Evidence) -> None:
    """Every case of the table is decided as the table says."""
    ours = {case: action for case, action in CASES.items() if case[0] is evidence}
    decided = {
        case: decide(case[0], repeatable=case[1], sync=case[2], status=case[3], mode=case[4])
        for case in ours
    }
    assert decided == ours


def test_safe_mode_never_sends_again_what_may_have_started() -> None:
    """In `safe` mode an uncertain start is never followed by another."""
    uncertain_starts = {a for (e, r, *_, m), a in CASES.items() if (e, r, m) == UNCERTAIN_IN_SAFE}
    assert uncertain_starts == {UNKNOWN}


UNCERTAIN_IN_SAFE = (E.UNCERTAIN, False, "safe")


def test_a_start_in_doubt_is_the_default() -> None:
    """A caller that says nothing of the request gets the careful decision."""
    assert decide(Evidence.UNCERTAIN, mode="transient") is UNKNOWN
