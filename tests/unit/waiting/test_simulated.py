"""What waiting costs, in simulated time: how many reads per run, and how late ends are known."""

from __future__ import annotations

import math
import random
from statistics import mean, median
from typing import TYPE_CHECKING

import attrs
import pytest

from refold_async._stats import Counters
from tests.bench.simulate_waiting import World
from tests.bench.simulated_service import Kind, Setting, track
from tests.bench.virtual_time import simulate

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.long

SIGMA = 0.5


def twelve(run: int, start: float) -> float:
    """Give the median length that the issue speaks of."""
    return 12.0


@attrs.frozen
class Played:
    """What waiting for our runs of a world came to; all waits have ended."""

    world: World
    ours: list[int]
    counters: Counters

    @property
    def delays(self) -> list[float]:
        """Seconds from the end of each run to when it was known."""
        return [self.world.known[run] - self.world.ends[run] for run in self.ours]

    @property
    def reads(self) -> float:
        """Reads per run, those in which durations were learned included."""
        return self.world.reads / len(self.ours)

    @property
    def reads_of_a_loop(self) -> float:
        """What reading each run by itself every 3 s would take."""
        return mean(
            math.ceil((self.world.ends[run] - self.world.starts[run]) / 3) for run in self.ours
        )


def play(
    rate: float,
    count: int,
    length: Callable[[int, float], float] = twelve,
    setting: Setting | None = None,
    warm_up: int = 0,
) -> Played:
    """Wait for runs that start at a rate and whose median length is told by number and start."""
    setting = setting or Setting()
    world, draw = World(rate, count, warm_up), random.Random(1)
    world.ends = [
        start + draw.lognormvariate(math.log(length(run, start)), SIGMA)
        for run, start in enumerate(world.starts)
    ]
    random.seed(9)
    counters = simulate(track(world, setting))
    ours = [run for run in range(count) if setting.kind(run).ours]
    assert sorted(world.known) == ours
    return Played(world, ours, counters)


@pytest.mark.parametrize(
    ("rate", "runs", "warm_up", "reads", "delay"),
    [
        pytest.param(8, 1_600, 600, 0.5, 0.65, id="8 runs/s"),
        pytest.param(100, 5_000, 2_500, 0.2, 1.3, id="100 runs/s"),
    ],
)
def test_many_runs_cost_few_reads_and_little_delay(
    rate: float, runs: int, warm_up: int, reads: float, delay: float
) -> None:
    """Once durations are learned, about half a read per run, or a fifth, and a second of delay."""
    found = play(rate, runs, warm_up=warm_up).world.result()
    assert found.reads <= reads
    assert found.median <= delay


def test_a_run_alone_takes_no_more_reads_than_the_loop_and_is_known_sooner() -> None:
    """Two minutes apart no list is any use."""
    played = play(0, 150)
    assert played.counters.sweeps == 0
    assert played.reads <= played.reads_of_a_loop
    assert median(played.delays) < 1.5, "half of what it would be with the loop"


def by_length(run: int, start: float) -> float:
    """Give three lengths by turns."""
    return (2.0, 12.0, 60.0)[run % 3]


def with_a_slow_spell(run: int, start: float) -> float:
    """Give 12 s, and 40 s in the second minute and a bit."""
    return 40.0 if 60 <= start < 130 else 12.0


@pytest.mark.parametrize(
    ("length", "setting"),
    [
        pytest.param(
            by_length, Setting(kind=lambda run: Kind(workflow=f"wf_{run % 3}")), id="3 workflows"
        ),
        pytest.param(by_length, Setting(), id="3 lengths in one workflow"),
        pytest.param(
            twelve, Setting(kind=lambda run: Kind(account=f"acct_{run % 2}")), id="2 accounts"
        ),
        pytest.param(with_a_slow_spell, Setting(), id="durations that change"),
        pytest.param(twelve, Setting(lag=3.0), id="lists that lag by 3 s"),
        pytest.param(twelve, Setting(page_limit=20), id="20 to a page"),
        pytest.param(twelve, Setting(object_ids=False), id="ids that tell no time"),
        pytest.param(twelve, Setting(kind=lambda run: Kind(ours=run % 2 == 0)), id="half are ours"),
        pytest.param(
            twelve, Setting(kind=lambda run: Kind(ours=run % 8 == 0)), id="one in eight is ours"
        ),
    ],
)
def test_every_wait_ends_with_far_fewer_reads_than_a_loop(
    length: Callable[[int, float], float], setting: Setting
) -> None:
    """At 8 runs/s: less than half of what reading each every 3 s would take, and known sooner."""
    played = play(8, 1_000, length, setting)
    assert played.reads <= played.reads_of_a_loop / 2
    assert median(played.delays) < 1.5


@pytest.mark.parametrize(
    "setting",
    [
        pytest.param(Setting(lag=10.0), id="lists that lag by 10 s"),
        pytest.param(Setting(page_limit=1), id="one to a page"),
        pytest.param(Setting(kind=lambda run: Kind(ours=run % 100 == 0)), id="one in 100 is ours"),
    ],
)
def test_where_lists_are_no_use_hardly_any_is_read(setting: Setting) -> None:
    """Each run is then read by itself, more rarely than by the loop the more there are."""
    crowd = 100 if setting.kind(1) != Kind() else 1
    played = play(4.0 * crowd, 300 * crowd, setting=setting)
    assert played.counters.sweeps <= 0.2 * len(played.ours)
    assert played.reads <= played.reads_of_a_loop
    assert median(played.delays) < 3.2


@pytest.mark.parametrize("object_ids", [True, False])
def test_a_thousand_runs_started_at_once_are_listed_like_others(object_ids: bool) -> None:
    """A hundred fill a page; those that start while it is under way are on the next ones."""
    played = play(1_000, 1_000, setting=Setting(object_ids=object_ids))
    assert played.reads < 0.5
    assert median(played.delays) < 1.3


def test_the_delay_that_stats_tell_is_the_delay() -> None:
    """By the service's own times, where an entry of a list or a document tells them."""
    played = play(8, 800)
    stats = played.counters.snapshot()
    assert stats.settled == 800
    assert stats.noticed > 0.9 * 800
    assert stats.detection_delay == pytest.approx(mean(played.delays), rel=0.1)
    assert stats.reads_per_settled == played.reads
    assert stats.wasted <= stats.polls + stats.sweeps
