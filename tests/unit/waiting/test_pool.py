"""Which runs one list answers for: where they are placed, what a list tells, whether it is good."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refold_async import Execution, ExecutionStatus
from refold_async._waiting.pool import Account, Lists, created_of
from tests.support.meadow import EPOCH, NOW, Meadow, entry, run


@pytest.mark.parametrize("order", ["oldest first", "newest first", "any"])
def test_pages_are_full_in_whatever_order_runs_are_placed(order: str) -> None:
    """A thousand make ten pages, or not many more: each is one list."""
    numbers = list(range(1_000))
    if order == "newest first":
        numbers.reverse()
    elif order == "any":
        random.Random(1).shuffle(numbers)
    meadow = Meadow.of(*map(float, numbers))
    assert sum(meadow.sizes) == 1_000
    assert len(meadow.sizes) <= (10 if order != "any" else 20)
    assert max(meadow.sizes) < 200


@given(st.lists(st.floats(0, 50), min_size=1, max_size=80), st.randoms())
def test_a_run_is_in_the_page_whose_list_shows_it(created: list[float], draw: Any) -> None:
    """However they come and go: every run is in one page, and within the times asked for."""
    meadow = Meadow.of(*created, size=5)
    for watch in draw.sample(meadow.runs, len(meadow.runs) // 2):
        meadow.account.release(watch)
    left = [watch for page in meadow.account.pages for watch in page.runs.values()]
    assert {id(watch) for watch in left} == {id(w) for w in meadow.runs if w.page is not None}
    for page in meadow.account.pages:
        assert page.runs
        begin, end = page.window()
        for watch in page.runs.values():
            assert watch.created is not None
            assert begin <= watch.created + watch.unsure <= end


def test_runs_of_one_second_stay_together() -> None:
    """Nothing tells which of them come first, before a list does."""
    assert Meadow.of(*[7.0] * 450).sizes == [450]


def test_a_full_list_ends_the_page_and_the_rest_makes_up_the_next() -> None:
    """The next begins where the list ended, and later runs join that."""
    meadow = Meadow.of(*[float(n) for n in range(10)])
    worth_it, missed, rest = meadow.show(*(entry(n) for n in range(5)), more=True)
    assert (worth_it, missed, meadow.sizes) == (True, [], [5, 5])
    assert rest is meadow.account.pages[1]
    assert rest.window() == (EPOCH + 5, EPOCH + 10)
    assert meadow.account.place(run(11), single=False) is rest


def test_what_a_list_leaves_over_joins_the_next_page() -> None:
    """Else a page with one run too many would leave a page of one behind."""
    meadow = Meadow.of(*[float(2 * n) for n in range(20)], size=10)
    assert meadow.sizes == [10, 10]
    meadow.show(*(entry(n, created=2 * n) for n in range(8)), more=True)
    assert meadow.sizes == [8, 12]
    assert meadow.account.pages[1].window()[0] == EPOCH + 16


def test_a_page_ends_only_where_the_order_is_certain() -> None:
    """Times that are estimated may be wrong by seconds: a list tells, and cuts the page."""
    meadow = Meadow.of()
    for number in range(450):
        watch = run(number, number / 100)
        watch.unsure = 4.0
        meadow.account.place(watch, single=False)
    assert meadow.sizes[0] > 300


def test_a_run_of_the_lists_last_second_may_stand_beyond_it() -> None:
    """Its id says 4, the list ends at 4.3: it is looked for on the next, from 4.3 on."""
    meadow = Meadow.of(*[float(n) for n in range(5)])
    rows = [*(entry(number) for number in range(4)), entry(99, created=4.3)]
    _, missed, rest = meadow.show(*rows, more=True)
    assert (missed, rest and [*rest.runs]) == ([], ["run4"])
    assert rest is not None
    assert rest.window() == (EPOCH + 4.3, EPOCH + 5)


def test_times_in_whole_seconds_may_fill_a_list() -> None:
    """Then the next page is asked for by its number, and the one after that by its time again."""
    meadow = Meadow.of(*[4.0] * 5)
    meadow.show(*(entry(number, created=4.0) for number in range(2)), more=True)
    assert meadow.sizes == [2, 3]
    assert [page.number for page in meadow.account.pages] == [1, 2]
    meadow.show(*(entry(number, created=4.0) for number in (2, 3)), at=1, more=True)
    assert [page.number for page in meadow.account.pages] == [1, 2, 3]
    assert {page.window() for page in meadow.account.pages} == {(EPOCH + 4, EPOCH + 5)}


def test_strangers_that_fill_a_list_move_the_page_on() -> None:
    """Ours come later; but such a list was not worth its price."""
    meadow = Meadow.of(50.0, 50.5, 52.0)
    rows = [entry(100 + n, created=50.1 + n / 100) for n in range(5)]
    worth_it, missed, rest = meadow.show(*rows, more=True)
    assert (worth_it, missed, rest) == (False, [], None)
    assert meadow.account.pages[0].window()[0] == pytest.approx(EPOCH + 50.14)


def test_runs_a_list_should_show_and_does_not_are_missed() -> None:
    """Those that joined since it was asked for are not."""
    meadow = Meadow.of(0.0, 1.0, 2.0, 3.0)
    page = meadow.account.pages[0]
    asked = set(page.runs) - {"run1"}
    reply: Any = type("Reply", (list,), {"has_next": False})([entry(0), entry(2)])
    worth_it, missed, _ = meadow.account.absorb(page, asked, reply, EPOCH, NOW)
    assert (worth_it, missed) == (True, [meadow.runs[3]])


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param([entry(0, created=-2.0), entry(1)], id="older than asked for"),
        pytest.param([entry(2), entry(1), entry(0)], id="newest first"),
    ],
)
def test_a_list_that_is_not_the_one_asked_for_is_recognised(rows: list[Execution]) -> None:
    """It would hide runs: nothing is taken from it to be missing."""
    assert Meadow.of(0.0, 1.0, 2.0).show(*rows) == (False, [], None)


def test_rows_within_the_slack_of_the_window_are_in_order() -> None:
    """The service may round the time it is asked for, by less than a second."""
    meadow = Meadow.of(0.0, 1.0, 2.0)
    rows = [entry(98, created=-0.9), entry(0), entry(1), entry(2)]
    assert meadow.show(*rows) == (True, [], None)


@pytest.mark.parametrize(
    "odd",
    [
        pytest.param(entry(1, created=2e11), id="9999"),
        pytest.param(entry(1, created=-EPOCH - 1), id="before 1970"),
        pytest.param(
            Execution(execution_id="run1", status=ExecutionStatus.RUNNING), id="without a time"
        ),
    ],
)
def test_an_entry_of_an_odd_time_costs_nobody_anything(odd: Execution) -> None:
    """It is passed over; the others show how far the list goes."""
    meadow = Meadow.of(*[float(n) for n in range(6)])
    worth_it, missed, rest = meadow.show(entry(0), odd, entry(2), entry(3), more=True)
    assert (worth_it, missed) == (True, [])
    assert rest is not None
    assert [*rest.runs] == ["run4", "run5"]


def test_the_time_of_an_entry_without_one_is_read_from_its_id() -> None:
    """An ObjectId tells it; an absurd one is none."""

    def told(execution_id: str) -> float | None:
        return created_of(Execution(execution_id=execution_id, status=ExecutionStatus.RUNNING), NOW)

    assert told(f"{int(EPOCH):08x}" + "0" * 16) == EPOCH
    assert (told("f" * 24), told("0" * 24), told("run-1")) == (None, None, None)


# -- whether lists are any good --------------------------------------------------------------------


def test_lists_are_left_alone_for_longer_each_time_and_always_tried_again() -> None:
    """Up to a minute if they can't be read, up to an hour if they show something else."""
    for passing, longest in [(True, 60), (False, 3_600)]:
        lists, now, rests = Lists(100), 0.0, []
        for _ in range(15):
            now += 1
            lists.failed(now, now, passing=passing)
            rests.append(lists.good_from - now)
            now = lists.good_from
        assert rests[:4] == [1, 2, 4, 8]
        assert rests[-1] == longest
        lists.worked()
        lists.failed(now, now + 1, passing=passing)
        assert lists.good_from == now + 2


def test_lists_that_meet_the_same_trouble_count_once() -> None:
    """Five that were under way when the service went down are one outage."""
    lists = Lists(100)
    for number in range(5):
        lists.failed(10.0, 11.0 + number, passing=True)
    assert lists.good_from == 12


def test_a_list_that_hung_is_left_alone_for_as_long_as_it_took() -> None:
    """Its runs, which nobody looked at meanwhile, are read by themselves for as long."""
    lists = Lists(100)
    lists.failed(10.0, 40.0, passing=True)
    assert lists.good_from == 70


def test_a_refused_size_is_halved_and_tried_again_after_an_hour() -> None:
    """Down to ten, which the service gives by itself."""
    lists, sizes = Lists(100), []
    while lists.refused_size(5.0):
        sizes.append(lists.size)
    assert sizes == [50, 25, 12, 10]
    lists.forget_refusals(3_600.0)
    assert lists.size == 10
    lists.forget_refusals(3_606.0)
    assert lists.size == 100


def test_an_account_is_idle_once_nobody_waits_for_its_runs() -> None:
    """Also if they were read by themselves."""
    account = Account("acct_1", Lists(100))
    runs = [run(number) for number in range(5)]
    for number, watch in enumerate(runs):
        account.place(watch, single=number > 2)
    assert (account.idle, account.read_singly(-math.inf)) == (False, 2 + 0)
    for watch in runs:
        account.release(watch)
    assert account.idle
    assert account.pages == []
