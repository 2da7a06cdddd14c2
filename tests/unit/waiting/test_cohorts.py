"""Which runs one list answers for: who joins, what its window is, and what a page tells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from refold_async import Page
from refold_async._waiting.pool import Field
from tests.support.meadow import EPOCH, GRACE, LATE, Meadow, entry, run

if TYPE_CHECKING:
    from refold_async._waiting.pool import Cohort


def test_two_runs_are_too_few_for_a_list_and_the_third_makes_a_cohort() -> None:
    """It is looked at when the first of them is due."""
    field = Field("acct_1", GRACE)
    runs = [run(number) for number in range(3)]
    assert [field.place(watch, 0.0) for watch in runs[:2]] == [None, None]
    cohort = field.place(runs[2], 0.0)
    assert cohort is not None
    assert cohort is field.open
    assert [watch.cohort for watch in runs] == [cohort] * 3
    assert (cohort.due, cohort.wanted, field.loose) == (10.0, True, {})


def test_later_runs_join_and_older_ones_do_not() -> None:
    """An older run would begin the list before what it is meant to show."""
    field = Meadow.of(3).field
    first = field.open
    assert field.place(run(7), 0.0) is first
    assert field.place(run(8, created=-0.9), 0.0) is first, "an id counts whole seconds"
    older = [run(number, created=-60.0) for number in (20, 21, 22)]
    placed = [field.place(watch, 0.0) for watch in older]
    assert placed[:2] == [None, None]
    assert placed[2] is field.open is not first


@pytest.mark.parametrize(
    "known", [{"created": None}, {"alone": True}], ids=["of unknown age", "alone"]
)
def test_some_runs_are_read_singly(known: dict[str, Any]) -> None:
    """Those whose creation is unknown, and those that lists have not shown."""
    meadow, watch = Meadow.of(3), run(5)
    for name, value in known.items():
        setattr(watch, name, value)
    assert meadow.field.place(watch, 0.0) is None
    assert (watch.cohort, meadow.field.loose) == (None, {})


def test_the_window_holds_all_runs_whatever_their_order() -> None:
    """From the oldest to a second after the newest: an id counts whole seconds, downwards."""
    cohort = Meadow.of(3).cohort
    cohort.field.place(run(9, created=30.0), 0.0)
    cohort.field.place(run(8, created=-0.5), 0.0)
    assert cohort.window() == (EPOCH - 0.5, EPOCH + 31)


def test_the_window_shrinks_with_its_runs() -> None:
    """Once the oldest is over, the list begins later."""
    meadow = Meadow.of(4)
    meadow.show(entry(0, "COMPLETED"), entry(1, "ERRORED"), entry(2), entry(3))
    assert meadow.cohort.window() == (EPOCH + 2, EPOCH + 4)


def test_a_time_that_is_only_estimated_widens_the_window() -> None:
    """Until the list has told it."""
    meadow = Meadow.of(3)
    meadow.runs[2].unsure = 4.0
    assert meadow.cohort.window() == (EPOCH, EPOCH + 6)
    meadow.show(entry(0), entry(1), entry(2, created=4.2))
    begin, end = meadow.cohort.window()
    assert (begin, round(end - begin, 3)) == (EPOCH, 5.2)


def test_an_id_of_zeros_is_a_time() -> None:
    """Nothing begins at minus infinity: no query could say so."""
    field = Field("acct_1", GRACE)
    for number in range(3):
        cohort = field.place(run(number, created=-EPOCH), 0.0)
    assert cohort is not None
    assert cohort.window() == (0.0, 1.0)


def test_what_ended_leaves_and_what_goes_on_stays() -> None:
    """Statuses nobody has heard of go on; strangers are passed over."""
    meadow = Meadow.of(4)
    seen = meadow.show(entry(0, "QUEUED"), entry(1, "STOPPED"), entry(99, created=1.5), entry(2))
    assert [meadow.runs.index(watch) for watch, _ in seen.running] == [0, 2]
    assert meadow.runs[1].cohort is None
    assert (seen.left, seen.rest, [*meadow.cohort.members]) == ([], None, ["run0", "run2", "run3"])


def test_a_full_page_ends_the_cohort_and_the_rest_make_up_the_next() -> None:
    """The next begins where the page ended, and is the one that new runs join."""
    meadow = Meadow.of(10)
    seen = meadow.show(*(entry(number) for number in range(5)), more=True)
    assert seen.rest is not None
    assert seen.rest is meadow.field.open
    assert [*meadow.cohort.members] == [f"run{n}" for n in range(5)]
    assert [*seen.rest.members] == [f"run{n}" for n in range(5, 10)]
    assert seen.rest.window() == (EPOCH + 5, EPOCH + 10)
    assert meadow.field.place(run(11), 0.0) is seen.rest


def test_a_smaller_page_than_asked_for_makes_smaller_cohorts() -> None:
    """Whatever the limit, each page's runs are a cohort of their own."""
    meadow, sizes = Meadow.of(50), []
    cohort: Cohort | None = meadow.cohort
    while cohort is not None:
        first = int(min(int(name[3:]) for name in cohort.members))
        rows = [entry(n) for n in range(first, min(first + 20, 50))]
        rest = meadow.show(*rows, cohort=cohort, more=first + 20 < 50).rest
        sizes.append(len(cohort.members))
        cohort = rest
    assert sizes == [20, 20, 10]
    assert meadow.field.blind_until < 0


def test_a_run_of_the_pages_last_second_may_stand_beyond_it() -> None:
    """Its id says 4, the page ends at 4.3: it is looked for on the next, from 4.3 on."""
    meadow = Meadow.of(5)
    rows = [*(entry(number) for number in range(4)), entry(99, created=4.3)]
    seen = meadow.show(*rows, more=True)
    assert seen.rest is not None
    assert [*seen.rest.members] == ["run4"]
    assert seen.rest.window() == (EPOCH + 4.3, EPOCH + 5)
    assert meadow.runs[4].missed == 0


def test_runs_that_join_while_the_list_is_under_way_follow_the_rest() -> None:
    """They are newer than the page, which nobody asked for them."""
    meadow = Meadow.of(10)
    begin, _ = meadow.cohort.window()
    asked = set(meadow.cohort.members)
    late = run(11)
    meadow.field.place(late, 0.0)
    page = Page(items=tuple(entry(number) for number in range(5)), has_next=True)
    seen = meadow.field.absorb(meadow.cohort, asked, page, begin, LATE)
    assert late.cohort is seen.rest is meadow.field.open


def test_runs_nobody_asked_for_are_not_missed() -> None:
    """The list was asked before they joined."""
    meadow = Meadow.of(4)
    begin, _ = meadow.cohort.window()
    asked = set(meadow.cohort.members)
    late = run(5)
    meadow.field.place(late, 0.0)
    page = Page(items=tuple(entry(number) for number in range(4)))
    meadow.field.absorb(meadow.cohort, asked, page, begin, LATE)
    assert (late.cohort, late.missed) == (meadow.cohort, 0)


def test_runs_released_while_the_list_is_under_way_are_let_alone() -> None:
    """Nobody waits for them: neither their row nor its absence tells anything."""
    meadow = Meadow.of(5)
    begin, _ = meadow.cohort.window()
    asked = set(meadow.cohort.members)
    for gone in meadow.runs[:2]:
        meadow.field.release(gone)
    page = Page(items=tuple(entry(number) for number in range(1, 5)))
    seen = meadow.field.absorb(meadow.cohort, asked, page, begin, LATE)
    assert [watch for watch, _ in seen.running] == meadow.runs[2:]
    assert [watch.missed for watch in meadow.runs[:2]] == [0, 0]
    assert (seen.left, seen.rest) == ([], None)


def test_all_released_while_the_list_is_under_way() -> None:
    """The page is about nobody; the next runs make a new cohort."""
    meadow = Meadow.of(3)
    begin, _ = meadow.cohort.window()
    asked = set(meadow.cohort.members)
    for gone in meadow.runs:
        meadow.field.release(gone)
    page = Page(items=(entry(0), entry(1)))
    seen = meadow.field.absorb(meadow.cohort, asked, page, begin, LATE)
    assert (seen.running, seen.left, seen.rest) == ([], [], None)
    assert (meadow.cohort.wanted, meadow.field.open, meadow.field.useless) == (False, None, 0)
    assert meadow.field.is_empty(LATE)


def test_a_new_run_may_be_missing_for_a_while() -> None:
    """Within the grace its absence is no news; afterwards it counts."""
    meadow = Meadow.of(4)
    rows = [entry(number) for number in range(3)]
    meadow.show(*rows, now=3 + GRACE)
    assert meadow.runs[3].missed == 0
    seen = meadow.show(*rows, now=3.1 + GRACE)
    assert (meadow.runs[3].missed, seen.left) == (1, [])


def test_a_run_missed_twice_is_read_singly_from_then_on() -> None:
    """A row in between is forgiveness."""
    meadow = Meadow.of(4)
    rows = [entry(number) for number in range(4)]
    for shown in (rows[:3], rows, rows[:3]):
        assert meadow.show(*shown).left == []
    assert meadow.show(*rows[:3]).left == [meadow.runs[3]]
    assert meadow.field.place(meadow.runs[3], LATE) is None
    assert [*meadow.cohort.members] == ["run0", "run1", "run2"]


def test_the_last_run_of_a_cohort_is_read_singly() -> None:
    """One read then tells the same and brings the output along."""
    meadow = Meadow.of(3)
    seen = meadow.show(entry(0, "COMPLETED"), entry(1, "COMPLETED"), entry(2), now=2.5)
    assert seen.left == [], "others may still join"
    assert meadow.show(entry(2), now=3.0).left == [meadow.runs[2]]
    assert not meadow.cohort.wanted


def test_an_open_cohort_that_was_emptied_is_not_joined() -> None:
    """The next three runs make one of their own."""
    meadow = Meadow.of(3)
    meadow.show(*(entry(n, "COMPLETED") for n in range(3)))
    placed = [meadow.field.place(run(n), LATE) for n in (5, 6, 7)]
    assert placed[:2] == [None, None]
    assert placed[2] is not meadow.cohort


def test_a_field_is_kept_while_a_closed_cohort_has_runs() -> None:
    """Else nobody could let go of them, and lists would go on for runs nobody waits for."""
    meadow = Meadow.of(10)
    rest = meadow.show(*(entry(number) for number in range(5)), more=True).rest
    assert rest is not None
    for watch in meadow.runs[5:]:
        meadow.field.release(watch)
    assert meadow.field.open is None
    assert not meadow.field.is_empty(LATE)
    for watch in meadow.runs[:5]:
        meadow.field.release(watch)
    assert meadow.field.is_empty(LATE)
    assert (meadow.cohort.wanted, meadow.field.pending) == (False, 0)


def test_a_loose_run_is_released_as_well() -> None:
    """Nobody waits for it any more."""
    field, watch = Field("acct_1", GRACE), run(1)
    field.place(watch, 0.0)
    assert not field.is_empty(0.0)
    field.release(watch)
    assert field.is_empty(0.0)
