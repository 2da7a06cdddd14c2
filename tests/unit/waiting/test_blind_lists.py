"""Lists that are not what was asked for, or not worth their price: noticed, and left alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from refold_async import Execution, ExecutionStatus
from refold_async._waiting.pool import Field
from tests.support.meadow import GRACE, LATE, Meadow, entry, run

if TYPE_CHECKING:
    from refold_async._waiting.pool import Cohort, Seen


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param([entry(0, created=-2.0), entry(1)], id="older than asked for"),
        pytest.param([entry(2), entry(1), entry(0)], id="newest first"),
        pytest.param(
            [Execution(execution_id="run0", status=ExecutionStatus.RUNNING)], id="without times"
        ),
    ],
)
def test_a_list_that_is_not_the_one_asked_for_is_given_up(rows: list[Execution]) -> None:
    """It would hide runs, so all are read singly and no list is asked for a minute."""
    meadow = Meadow.of(3)
    seen = meadow.show(*rows)
    assert seen.left == meadow.runs
    assert (seen.running, meadow.field.open) == ([], None)
    more = [run(number) for number in range(5, 8)]
    assert [meadow.field.place(watch, LATE + 59.9) for watch in more] == [None] * 3
    assert meadow.field.place(more[0], LATE + 60.1) is None, "one is too few, but it is kept"
    assert [*meadow.field.loose] == ["run5"]


def test_rows_within_the_slack_of_the_window_are_in_order() -> None:
    """The service may round the time it is asked for, by less than a second."""
    meadow = Meadow.of(3)
    assert meadow.show(entry(98, created=-0.9), entry(0), entry(1), entry(2)).left == []


def crowded(meadow: Meadow, cohort: Cohort, first: int) -> Seen:
    """Have a cohort see a page of which only the first run is ours."""
    others = [entry(1_000 + n, created=first + n / 1_000) for n in range(9)]
    return meadow.show(entry(first), *others, cohort=cohort, more=True)


def test_a_page_full_of_strangers_is_not_worth_its_price() -> None:
    """Its cohort is read singly, and the rest get another chance: twice."""
    meadow = Meadow.of(9)
    seen = crowded(meadow, meadow.cohort, 0)
    assert seen.left == meadow.runs[:1]
    assert seen.rest is not None
    seen = crowded(meadow, seen.rest, 1)
    assert seen.rest is not None
    assert not meadow.field.is_empty(LATE)
    seen = crowded(meadow, seen.rest, 2)
    assert seen.left == meadow.runs[2:], "the third time all of them"
    assert seen.rest is None
    assert meadow.field.blind_until == LATE + 60


def test_a_useful_page_in_between_restores_confidence() -> None:
    """Three useless ones in a row are needed."""
    meadow = Meadow.of(9)
    rest = crowded(meadow, meadow.cohort, 0).rest
    assert rest is not None
    rest = crowded(meadow, rest, 1).rest
    assert rest is not None
    meadow.show(*(entry(n) for n in range(2, 9)), cohort=rest)
    rest = crowded(meadow, rest, 2).rest
    assert rest is not None
    assert meadow.field.blind_until < LATE


def test_a_page_that_lacks_most_runs_is_not_worth_its_price() -> None:
    """A list that lags behind or hides our runs helps nobody."""
    meadow = Meadow.of(5)
    assert meadow.show(entry(0), entry(1)).left == meadow.runs


def test_blindness_doubles_up_to_an_hour_and_a_useful_page_ends_it() -> None:
    """Each time lists turn out to be of no use, they are left alone for longer."""
    field, now, spans = Field("acct_1", GRACE), 0.0, []
    for number in range(8):
        runs = [run(10 * number + n) for n in range(3)]
        for watch in runs:
            cohort = field.place(watch, now)
        assert cohort is not None
        assert field.give_up(cohort, now) == runs
        spans.append(field.blind_until - now)
        assert not field.is_empty(field.blind_until), "what was learned is kept for a while"
        now = field.blind_until
    assert spans == [60, 120, 240, 480, 960, 1_920, 3_600, 3_600]
    meadow = Meadow.of(3)
    meadow.field.blindness = 480
    meadow.show(*(entry(n) for n in range(3)))
    assert meadow.field.give_up(meadow.cohort, LATE) == meadow.runs
    assert meadow.field.blind_until == LATE + 60


def test_cohorts_that_meet_the_same_trouble_make_one_blindness() -> None:
    """An outage of some seconds is no reason to read singly for an hour."""
    meadow = Meadow.of(10)
    rest = meadow.show(*(entry(number) for number in range(5)), more=True).rest
    assert rest is not None
    for number, cohort in enumerate((meadow.cohort, rest)):
        assert len(meadow.field.give_up(cohort, LATE + number)) == 5
    assert (meadow.field.blind_until, meadow.field.blindness) == (LATE + 60, 120)
