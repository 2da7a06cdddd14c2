"""The table of outcomes: what is done about each proof, in each mode."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import pytest

from refold_async._protocol import Evidence
from refold_async._transport.decision import Action, Finding, decide

E, F = Evidence, Finding
ADOPT, RETURN, RETRY = Action.ADOPT, Action.RETURN, Action.RETRY
RAISE, UNKNOWN = Action.RAISE, Action.UNKNOWN
LOST = None
STATUSES = (LOST, 200, 204, 302, 400, 429, 499, 500, 502, 503, 504, 520, 524, 599, 600)
FAILED = {500, 502, 503, 504, 520, 524, 599}
CUT_OFF = {504, 524}
REST = {*STATUSES} - FAILED
BOTH, YES, NO = (True, False), (True,), (False,)
MODES = ("never", "safe", "transient")

# Evidence, repeatable, sync, timed out, findings, statuses: what is done in each of MODES.
Flags = Iterable[bool]
Row = tuple[
    Evidence, Flags, Flags, Flags, Iterable[Finding], Iterable[int | None], tuple[Action, ...]
]
ROWS: list[Row] = [
    (E.ACCEPTED, BOTH, BOTH, BOTH, F, STATUSES, (RETURN, RETURN, RETURN)),
    (E.NOT_SENT, BOTH, BOTH, BOTH, F, STATUSES, (RAISE, RETRY, RETRY)),
    (E.REJECTED, BOTH, BOTH, BOTH, F, STATUSES, (RAISE, RETRY, RETRY)),
    (E.REFUSED, BOTH, BOTH, BOTH, F, STATUSES, (RAISE, RAISE, RAISE)),
    (E.MISCONFIGURED, BOTH, BOTH, BOTH, F, STATUSES, (RAISE, RAISE, RAISE)),
    (E.UNCERTAIN, YES, BOTH, BOTH, F, STATUSES, (RAISE, RETRY, RETRY)),
    (E.UNCERTAIN, NO, BOTH, BOTH, [F.FOUND], STATUSES, (UNKNOWN, ADOPT, ADOPT)),
    (E.UNCERTAIN, NO, BOTH, BOTH, [F.AMBIGUOUS], STATUSES, (UNKNOWN, UNKNOWN, UNKNOWN)),
    # Proven absent: sent again, but for a sync run that very likely goes on.
    (E.UNCERTAIN, NO, NO, BOTH, [F.ABSENT], STATUSES, (UNKNOWN, UNKNOWN, RETRY)),
    (E.UNCERTAIN, NO, YES, NO, [F.ABSENT], {*STATUSES} - CUT_OFF, (UNKNOWN, UNKNOWN, RETRY)),
    (E.UNCERTAIN, NO, YES, NO, [F.ABSENT], CUT_OFF, (UNKNOWN, UNKNOWN, UNKNOWN)),
    (E.UNCERTAIN, NO, YES, YES, [F.ABSENT], STATUSES, (UNKNOWN, UNKNOWN, UNKNOWN)),
    # Absence not provable: a 5xx is sent again, a lost answer is not.
    (E.UNCERTAIN, NO, BOTH, BOTH, [F.UNPROVEN], REST, (UNKNOWN, UNKNOWN, UNKNOWN)),
    (E.UNCERTAIN, NO, NO, BOTH, [F.UNPROVEN], FAILED, (UNKNOWN, UNKNOWN, RETRY)),
    (E.UNCERTAIN, NO, YES, NO, [F.UNPROVEN], FAILED - CUT_OFF, (UNKNOWN, UNKNOWN, RETRY)),
    (E.UNCERTAIN, NO, YES, NO, [F.UNPROVEN], CUT_OFF, (UNKNOWN, UNKNOWN, UNKNOWN)),
    (E.UNCERTAIN, NO, YES, YES, [F.UNPROVEN], FAILED, (UNKNOWN, UNKNOWN, UNKNOWN)),
]


def _cases() -> dict[tuple[Any, ...], Action]:
    cases: dict[tuple[Any, ...], Action] = {}
    for evidence, *others, actions in ROWS:
        for key in itertools.product([evidence], *others):
            for mode, action in zip(MODES, actions, strict=True):
                assert (*key, mode) not in cases
                cases[*key, mode] = action
    return cases


CASES = _cases()


def test_table_names_every_case_once() -> None:
    """No combination is left out, and none stands in two rows."""
    assert set(CASES) == {*itertools.product(Evidence, BOTH, BOTH, BOTH, Finding, STATUSES, MODES)}


@pytest.mark.parametrize("evidence", [pytest.param(each, id=each.name) for each in Evidence])
def test_decision_is_that_of_the_table(evidence: Evidence) -> None:
    """Every case of the table is decided as the table says."""
    ours = {case: action for case, action in CASES.items() if case[0] is evidence}
    decided = {
        case: decide(
            case[0],
            repeatable=case[1],
            sync=case[2],
            timed_out=case[3],
            finding=case[4],
            status=case[5],
            mode=case[6],
        )
        for case in ours
    }
    assert decided == ours


def test_safe_mode_never_sends_again_what_may_have_started() -> None:
    """In `safe` mode an uncertain start is adopted or unknown, and never sent again."""
    actions = {
        action
        for (evidence, repeatable, *_, mode), action in CASES.items()
        if evidence is Evidence.UNCERTAIN and not repeatable and mode == "safe"
    }
    assert actions == {ADOPT, UNKNOWN}


def test_a_start_in_doubt_is_the_default() -> None:
    """A caller that says nothing of the request gets the careful decision."""
    assert decide(Evidence.UNCERTAIN, mode="transient") is UNKNOWN
