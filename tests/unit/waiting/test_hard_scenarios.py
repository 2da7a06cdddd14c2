"""Waiting under attack, in virtual time: outages pass, and nobody pays for another account."""

from __future__ import annotations

from typing import Any

import pytest

from refold_async._waiting.pool import Page
from tests.bench import hard_waiting as hard

pytestmark = pytest.mark.long


def test_one_run_at_a_time_costs_its_start_and_one_read() -> None:
    """For a hundred accounts with runs of exactly 1 s: known a third of a second late."""
    found = hard.one_at_a_time(seconds=30.0)
    assert found["requests per run"] <= 2.2
    assert found["median delay"] <= 0.35


@pytest.mark.parametrize("accounts", [1, 40])
def test_a_batch_at_the_ceiling_reads_what_it_starts(accounts: int) -> None:
    """Runs of 2 s at 20 requests/s: each known within 4 s of its end, and slots not spent on it."""
    found = hard.batch(accounts)
    assert found["latest delay"] <= 4
    assert found["items/s"] >= (9.5 if accounts == 1 else 9)


def test_a_thousand_runs_of_an_hour_cost_ten_reads_a_second() -> None:
    """In 500 accounts, where no list tells of more than two."""
    assert hard.an_hour(until=661.0)["reads/s after 10 min"] <= 10


def test_a_run_of_an_hour_is_known_within_forty_seconds() -> None:
    """However short the runs were for which the pauses grow."""
    assert hard.an_hour(1, 1, until=3_700.0)["latest delay"] <= 40


@pytest.mark.parametrize(("seconds", "pending"), [(3.0, 1_000), (10.0, 2_000)])
def test_an_outage_of_lists_is_forgotten_a_minute_later(seconds: float, pending: int) -> None:
    """Meanwhile hardly any run is read by itself, and lists come back."""
    found = hard.lists_down(seconds, pending)
    assert found["meanwhile"] <= 10
    assert found["the minute after"] <= 2 * found["reads/s before"] + 1
    assert found["a minute later"] <= found["reads/s before"] * 1.2
    assert found["read singly"] == 0


@pytest.mark.parametrize("trouble", [{"slow": 30.0}, {"broken": True}], ids=["slow", "broken"])
def test_an_account_that_misbehaves_delays_no_other(trouble: dict[str, Any]) -> None:
    """2,000 slow or broken reads: another account's runs of 5 s are known within 3 s."""
    assert hard.misbehaving(**trouble)["latest delay"] <= 3


@pytest.mark.parametrize(
    ("handles", "first_minute"),
    [
        pytest.param({}, 120, id="oldest first"),
        pytest.param({"newest_first": True}, 120, id="newest first"),
        pytest.param({"object_ids": False}, 1_120, id="other ids"),
    ],
)
def test_a_thousand_handles_cost_two_lists_a_second(
    handles: dict[str, bool], first_minute: float
) -> None:
    """In whatever order they are awaited; ids that tell no time need one read each, once."""
    found = hard.reattached(**handles)
    assert found["reads in the first minute"] <= first_minute
    assert found["reads/s then"] <= 2


def test_a_list_touches_the_runs_it_is_asked_for_and_no_others() -> None:
    """Four times as many pending runs: as many of ours are looked at for each list."""

    def touched(pending: int) -> float:
        counted: list[int] = []
        window = Page.window

        def count(page: Page) -> tuple[float, float]:
            counted.append(len(page.runs))
            return window(page)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Page, "window", count)
            hard.crowd(pending, 10.0)
        return max(counted)

    assert touched(1_000) <= 200 >= touched(4_000)


def test_more_runs_a_second_than_a_list_shows_are_listed_all_the_same() -> None:
    """Where times are told in whole seconds, they stand on the next page of the same second."""
    found = hard.whole_seconds()
    assert found["lists per run"] <= 0.2
    assert found["single reads per run"] <= 0.05
