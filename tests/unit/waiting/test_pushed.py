"""What waiting costs where webhooks tell of ends, in simulated time: few reads, and few seconds."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from refold_async import PollPolicy
from tests.bench import push
from tests.bench.push import Pushing

pytestmark = pytest.mark.long

BUSY = Pushing(rate=100, runs=1_500, warm_up=1_000)


@pytest.mark.parametrize(
    "pushing",
    [
        pytest.param(Pushing(), id="8 runs/s"),
        pytest.param(Pushing(accounts=40), id="8 runs/s in 40 accounts"),
        pytest.param(BUSY, id="100 runs/s"),
        pytest.param(attrs.evolve(BUSY, accounts=40), id="100 runs/s in 40 accounts"),
    ],
)
def test_a_service_with_webhooks_hardly_looks(pushing: Pushing) -> None:
    """A status read for one run in twenty at most; ends are known after one round trip."""
    found = push.push(pushing)
    assert found["reads"] <= 0.05
    assert found["median delay"] <= 0.15


@pytest.mark.parametrize("accounts", [1, 40])
@pytest.mark.parametrize("trouble", [{"lost": 0.1}, {"late": 1.0}], ids=["lost", "late"])
def test_what_is_lost_or_late_is_looked_for(accounts: int, trouble: dict[str, Any]) -> None:
    """A tenth lost, or all 1 s late: a third of a read per run, and 99 of 100 known within 13 s.

    So few runs tell that to a second: the bench plays ten thousand, and is to tell 12 s at most.
    """
    found = push.push(attrs.evolve(Pushing(accounts=accounts), **trouble))
    assert found["reads"] <= 0.3
    assert found["p99"] <= 13
    assert found["latest"] <= 30


@pytest.mark.parametrize("accounts", [1, 40])
def test_webhooks_that_stop_are_replaced_by_looks_within_a_minute(accounts: int) -> None:
    """What ends after that is known as without webhooks, and nothing was lost meanwhile."""
    found = push.stopped(accounts=accounts)
    assert found["median after it"] <= found["median of polling"] * 1.15
    assert found["latest in the first minute"] <= 20


@pytest.mark.parametrize("seconds", [0.0, 0.05])
def test_runs_that_hardly_last_settle_by_their_push(seconds: float) -> None:
    """95 in 100 without any status read."""
    assert push.short(seconds)["status reads per run"] <= 0.05


def test_a_storm_of_ends_delays_no_start() -> None:
    """A hundred ends a second at a ceiling of twenty requests: reads wait, starts don't."""
    found = push.storm()
    assert found["longest wait of a start"] <= 2
    assert found["latest result"] <= 60


def test_a_pause_may_grow_to_the_sweep_and_no_further() -> None:
    """A run whose push is lost is seen all the same, if late."""
    patient = PollPolicy(push=True, push_sweep=300.0)
    lost = Pushing(rate=0.02, runs=60, warm_up=10, none_from=0.0, policy=patient)
    assert push.push(lost)["latest"] <= 310


def test_without_webhooks_nothing_changes() -> None:
    """The same reads and delays, to the last digit, whatever is trusted where nothing is told."""
    plain = Pushing(none_from=0.0, runs=500, warm_up=200)
    never = attrs.evolve(plain, policy=PollPolicy(push=False))
    assert push.push(plain) == push.push(never)
