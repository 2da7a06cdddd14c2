"""When a run was created, how long it will still take, and what its end teaches."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from refold_async import Execution, ExecutionStatus, PollPolicy
from refold_async._protocol import read_execution
from refold_async._stats import Counters
from refold_async._transport.server_clock import ServerClock
from refold_async._waiting.planning import Planner
from refold_async._waiting.pool import Account, Lists, Page
from refold_async._waiting.push import Pushes
from refold_async._waiting.watch import Watch
from tests.support.service import RUN, House

if TYPE_CHECKING:
    from tests.support.clock import FakeClock

POLICY = PollPolicy(first=1, max_interval=10)
CREATED = 1_781_615_700.0
"""When `RUN` was, by its id; the clock of these tests begins there."""


class Desk:
    """A planner, and what it works with."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.server_clock = ServerClock()
        self.counters = Counters()
        self.account = Account("acct", Lists(100))
        accounts: dict[str | None, Account] = {"acct": self.account}
        pushes = Pushes(POLICY, clock)
        self.planner = Planner(POLICY, clock, self.server_clock, self.counters, accounts, pushes)

    def watch(self, execution_id: str = RUN, *, fresh: bool = True, workflow: str = "wf") -> Watch:
        """Give the watch of a run that was started, or is picked up again, now."""
        watch = Watch(execution_id, "acct", self.clock.monotonic(), workflow, fresh)
        self.planner.date(watch)
        return watch

    def teach(self, seconds: float, times: int = 5, workflow: str = "wf") -> None:
        """Let runs of ours end after so many seconds."""
        for _ in range(times):
            self.planner.learn(self.watch(workflow=workflow), ended(seconds))

    def page(self, *watches: Watch) -> Page:
        """Give a page of these, planned."""
        page = Page(self.account)
        for watch in watches:
            page.add(watch)
        self.planner.plan(page)
        return page


def ended(seconds: float, *, at: float = CREATED) -> Execution:
    """Give the document of a run that was over after so many seconds."""
    created = datetime.fromtimestamp(at, UTC)
    return Execution(
        execution_id=RUN,
        status=ExecutionStatus.COMPLETED,
        created_at=created,
        completed_at=created + timedelta(seconds=seconds),
    )


@pytest.fixture
def desk(clock: FakeClock) -> Desk:
    """A planner by a clock moved by hand."""
    return Desk(clock)


# -- when it was created -------------------------------------------------------------------------


def test_an_id_tells_when_its_run_was_created(desk: Desk) -> None:
    """By the service's clock; a reattached run is as old as that says."""
    desk.clock.now += 40
    watch = desk.watch(fresh=False)
    assert (watch.created, watch.born) == (CREATED, desk.clock.now - 40)


def test_the_age_of_a_reattached_run_goes_by_the_services_clock(desk: Desk) -> None:
    """However wrong the local one is; a run from the future is new."""
    desk.server_clock.created(CREATED, known_at=CREATED - 3_600)
    desk.clock.offset -= 3_600 - 40
    assert desk.watch(fresh=False).born == pytest.approx(desk.clock.now - 40)
    desk.clock.offset -= 100
    assert desk.watch(fresh=False).born == desk.clock.now


@pytest.mark.parametrize("execution_id", ["run-1", "0" * 24, "f" * 24])
def test_a_fresh_run_whose_id_tells_no_time_was_created_just_now(
    desk: Desk, execution_id: str
) -> None:
    """Or up to two seconds before: `Date` counts whole ones. Its window allows for both."""
    watch = desk.watch(execution_id)
    assert watch.created == CREATED - 2
    assert watch.created + watch.unsure == CREATED + 2


def test_a_reattached_run_whose_id_tells_no_time_is_of_unknown_age(desk: Desk) -> None:
    """So no list can be asked for it."""
    watch = desk.watch("run-1", fresh=False)
    assert (watch.created, watch.born) == (None, None)


# -- eta -----------------------------------------------------------------------------------------


def test_eta_comes_from_the_durations_of_the_workflow(desk: Desk) -> None:
    """It counts down, and follows those that take longer."""
    desk.teach(10.0, times=50)
    watch = desk.watch()
    assert desk.planner.eta(watch) == pytest.approx(10, rel=0.1)
    desk.clock.now += 6
    assert desk.planner.eta(watch) == pytest.approx(4, rel=0.25)
    desk.clock.now += 94
    assert desk.planner.eta(watch) == 100


def test_eta_comes_from_the_percentage_where_durations_are_unknown(desk: Desk) -> None:
    """It counts down between looks, and is not negative."""
    watch = desk.watch()
    desk.clock.now += 10
    watch.progress.saw(document(completion_percentage=25), desk.clock.now)
    assert desk.planner.eta(watch) == 30
    desk.clock.now += 12
    assert desk.planner.eta(watch) == 18
    desk.clock.now += 100
    assert desk.planner.eta(watch) == 0


def test_the_same_percentage_later_means_it_takes_longer(desk: Desk) -> None:
    """A look that shows no change is news too; so is the entry of a list."""
    watch = desk.watch()
    desk.clock.now += 10
    watch.progress.saw(document(completion_percentage=50), desk.clock.now)
    desk.clock.now += 10
    watch.progress.saw(document(completion_percentage=50), desk.clock.now)
    assert desk.planner.eta(watch) == 20
    listed = desk.watch()
    desk.clock.now += 10
    listed.progress.saw_listed(document(completion_percentage=50), desk.clock.now)
    assert desk.planner.eta(listed) == 10


@pytest.mark.parametrize("percentage", [None, 0, -5, float("nan"), "half", True])
def test_eta_is_none_where_nothing_tells(desk: Desk, percentage: Any) -> None:
    """A percentage that is none is not taken for one."""
    watch = desk.watch()
    assert desk.planner.eta(watch) is None
    desk.clock.now += 10
    watch.progress.saw(document(completion_percentage=percentage), desk.clock.now)
    assert desk.planner.eta(watch) is None


def test_eta_is_none_for_a_run_of_unknown_age(desk: Desk) -> None:
    """Half of what?"""
    desk.teach(10.0)
    watch = desk.watch("run-1", fresh=False)
    watch.progress.saw(document(completion_percentage=50), desk.clock.now)
    assert desk.planner.eta(watch) is None


def test_eta_is_none_after_four_runs_and_a_number_after_five(desk: Desk) -> None:
    """And only of that workflow."""
    desk.teach(10.0, times=4)
    assert desk.planner.eta(desk.watch()) is None
    desk.teach(10.0, times=1)
    assert desk.planner.eta(desk.watch()) is not None
    assert desk.planner.eta(desk.watch(workflow="other")) is None


async def test_eta_of_a_run_that_is_over_is_nothing(clock: FakeClock) -> None:
    """Whether its end was waited for, or seen by a reader of snapshots."""
    house = House(clock)
    house.service.documents[0] = "COMPLETED"
    awaited, seen = house.handle(), house.handle("run2")
    assert (awaited.eta(), seen.eta()) == (None, None)
    await awaited
    async for _ in seen.snapshots():
        pass
    assert (awaited.eta(), seen.eta()) == (0.0, 0.0)
    assert not seen.done()


def document(**fields: Any) -> Execution:
    """Give the document of a run that goes on."""
    return read_execution({"_id": RUN, "status": "RUNNING", **fields})


# -- what an end teaches -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "told",
    [
        {"completion_time": "2026-06-16T13:15:12Z"},
        {"completion_time": None, "instance_execution_time": 12_000},
    ],
    ids=["completion_time", "createdAt and instance_execution_time"],
)
def test_the_service_tells_how_long_a_run_took_and_when_it_ended(
    desk: Desk, told: dict[str, Any]
) -> None:
    """From that to when it is known here is the delay, by the service's clock."""
    desk.server_clock.created(CREATED, known_at=CREATED + 100)  # ours is 100 s ahead
    desk.clock.offset += 100
    for _ in range(5):
        watch = desk.watch()
        desk.clock.now += 12.75
        run = document(status="COMPLETED", createdAt="2026-06-16T13:15:00Z", **told)
        desk.planner.learn(watch, run)
        desk.clock.now -= 12.75
    assert desk.counters.snapshot().detection_delay == 0.75
    assert desk.planner.eta(desk.watch()) == pytest.approx(12, rel=0.15)


def test_without_times_a_run_ended_between_the_looks(desk: Desk) -> None:
    """In the middle between the last one that saw it going and this one, for all we know."""
    for _ in range(5):
        watch = desk.watch()
        watch.going_at = desk.clock.now + 18
        desk.clock.now += 22
        desk.planner.learn(watch, None)
    assert desk.planner.eta(desk.watch()) == pytest.approx(20, rel=0.01)
    assert desk.counters.snapshot().detection_delay is None


def test_a_first_look_that_finds_the_end_draws_the_next_ones_forward(desk: Desk) -> None:
    """Else they would never come too early, and so drift away from when runs end."""
    desk.teach(10.0)
    watch = desk.watch()
    watch.sample = True
    desk.clock.now += 20
    desk.planner.learn(watch, None)
    assert desk.planner._cadence.of("wf").longest == 18


def test_most_runs_of_a_known_workflow_teach_nothing_if_nothing_tells_their_times(
    desk: Desk,
) -> None:
    """They were looked at when they were likely to be over: of that, only samples are fair."""
    desk.teach(10.0)
    samples = [desk.watch() for _ in range(32)]
    assert sum(watch.sample for watch in samples) == 2
    watch = next(watch for watch in samples if not watch.sample)
    desk.clock.now += 9
    desk.planner.learn(watch, None)
    assert desk.planner._cadence.of("wf").count == 5


def test_an_end_teaches_once(desk: Desk) -> None:
    """However often it is seen: in a list, then with its output."""
    watch = desk.watch()
    desk.clock.now += 10.5
    for _ in range(9):
        desk.planner.learn(watch, ended(10.0))
    assert not desk.planner.knows(watch)
    assert desk.counters.noticed == 1


def test_a_reattached_run_tells_no_delay(desk: Desk) -> None:
    """It may have been over for days; but the service tells how long it took."""
    desk.clock.now += 86_400
    for _ in range(5):
        desk.planner.learn(desk.watch(fresh=False), ended(10.0))
    assert desk.planner.knows(desk.watch())
    assert desk.counters.noticed == 0


def test_an_end_in_the_future_tells_no_delay(desk: Desk) -> None:
    """A clock that is behind would make delays too short; below nothing it is certain."""
    desk.planner.learn(desk.watch(), ended(10.0))
    assert desk.counters.noticed == 0


# -- the next look -------------------------------------------------------------------------------


def test_a_fresh_run_of_a_known_workflow_is_looked_at_when_it_may_be_over(desk: Desk) -> None:
    """Not before, however soon `PollPolicy` would begin; and never later than its longest."""
    desk.teach(6.0, times=50)
    desk.teach(600.0, times=50, workflow="slow")
    known, slow, unknown = (desk.watch(workflow=name) for name in ("wf", "slow", "new"))
    now = desk.clock.now
    assert 6 <= desk.planner.due(known) - now < 6.1
    assert (desk.planner.due(slow) - now, desk.planner.due(unknown) - now) == (10, 1)


def test_a_single_look_comes_just_after_the_end_if_all_take_as_long(desk: Desk) -> None:
    """The read that finds it brings the output along, so it costs nothing unless it is in vain."""
    for number in range(100):
        desk.teach(1 + number / 10_000, times=1)
    assert 1.005 < desk.planner.due(desk.watch()) - desk.clock.now < 1.05


def test_runs_nobody_knows_anything_of_are_looked_at_as_one(desk: Desk) -> None:
    """By the age of the youngest: what is not known of one is not known of all."""
    old = [desk.watch(f"run-{number}") for number in range(9)]
    desk.clock.now += 8
    young = desk.watch("run-9")
    now = desk.clock.now
    assert desk.page(*old, young).due == now + 1
    desk.clock.now += 100
    for watch in (*old, young):
        watch.going_at = desk.clock.now
    alone = desk.page(young, *old[:2]).due - desk.clock.now
    assert alone == desk.page(*old, young).due - desk.clock.now == pytest.approx(5.6, abs=0.3)


def test_runs_that_may_be_over_for_long_are_looked_at_at_once(desk: Desk) -> None:
    """Those picked up again, which nobody has looked at."""
    watches = [desk.watch(f"{int(CREATED):08x}{n:016x}", fresh=False) for n in range(3)]
    assert desk.page(*watches).due == desk.clock.now


def test_a_run_is_not_read_before_the_service_allows(desk: Desk) -> None:
    """Whoever asks for it."""
    watch = desk.watch()
    desk.planner.back_off(watch, 1, 100.0)
    watch.document = True
    assert desk.page(watch).due == desk.clock.now + 100


def test_failed_looks_come_ever_more_rarely_up_to_a_quarter_of_a_minute(desk: Desk) -> None:
    """And again and again."""
    pauses = []
    for tries in (1, 2, 3, 4, 5, 6, 60_000):
        desk.planner.back_off(watch := desk.watch(), tries)
        pauses.append(watch.not_before - desk.clock.now)
    assert pauses == [1, 2, 4, 8, 15, 15, 15]


def test_many_reads_make_the_next_ones_rarer_for_whoever_makes_them(desk: Desk) -> None:
    """An account that makes few is not slowed down by one that makes many."""
    desk.teach(10.0, times=50)
    watches = [desk.watch(f"run-{number}") for number in range(50)]
    calm = desk.page(*watches).due
    other = Account("other", Lists(100))
    for _ in range(100):
        desk.planner.count_read(other)
    assert desk.page(*watches).due == calm
    for _ in range(100):
        desk.planner.count_read(desk.account)
    assert desk.page(*watches).due > calm + 0.1


def test_two_old_runs_are_listed_and_two_young_ones_are_not(desk: Desk) -> None:
    """An end is unlikely, so one list is cheaper than two reads."""
    pair = [desk.watch(f"run-{number}") for number in range(2)]
    assert desk.page(*pair).fewest == 3
    desk.clock.now += 61
    assert desk.page(*pair).fewest == 2
    desk.teach(600.0)
    assert desk.page(*pair).fewest == 3


def test_a_page_all_of_whose_runs_are_being_read_is_not_due(desk: Desk) -> None:
    """Each of those reads plans it anew when it is done."""
    watches = [desk.watch(f"{RUN[:-1]}{n}") for n in range(4)]
    for watch in watches:
        watch.looking = True
    page = desk.page(*watches)
    assert page.due == math.inf
    watches[0].looking = False
    desk.planner.plan(page)
    assert page.due < math.inf
