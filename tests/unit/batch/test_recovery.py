"""What is looked for after a crash, how far back, and what its absence is worth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, cast

import pytest

from refold_async import ServerError
from refold_async._batch.journal_rows import is_uncertain
from refold_async._batch.recovery import Recovery
from refold_async._starting import Found, Sightings
from refold_async._transport.decision import Finding
from tests.unit.batch.test_journal import row

if TYPE_CHECKING:
    from refold_async._batch.journal_rows import Row
    from refold_async._starting import Reconciler
    from tests.support.clock import FakeClock

RUN = "6a314c54d4616e99e7fa5a02"
ABSENT, UNPROVEN = Found(Finding.ABSENT), Found(Finding.UNPROVEN)
FOUND = Found(Finding.FOUND, RUN)


class List:
    """A list that shows what a test says, and remembers how it was read."""

    def __init__(self, clock: FakeClock, *found: dict[str, Found], caught_up: bool = False) -> None:
        self.clock = clock
        self.lists = self
        self.found = list(found)
        self.caught_up = caught_up
        self.asked: list[dict[str, Any]] = []
        self.pauses: list[float] = []

    async def look_for(self, tags: Any, **options: Any) -> Sightings:
        """Show the next of what there is."""
        self.asked.append({"tags": sorted(tags), **options})
        found = self.found.pop(0)
        if not found:
            raise ServerError("down", status=503)
        return Sightings({tag: found[tag] for tag in tags}, caught_up=self.caught_up)

    async def pause(self, seconds: float) -> bool:
        """Note it."""
        self.pauses.append(seconds)
        return False

    async def meet(self, account: str | None) -> None:
        """Say nothing of the time."""

    def service_now(self) -> float | None:
        """Know nothing of it."""
        return None


async def recovery(shown: List, *rows: Row) -> Recovery:
    """A recovery that has looked at a journal with these rows."""
    made = Recovery(reconciler=cast("Reconciler", shown), clock=shown.clock)

    class Held:
        uncertain: ClassVar[list[Row]] = [one for one in rows if is_uncertain(one)]

    await made.begin(Held())  # type: ignore[arg-type]
    return made


async def test_nothing_is_read_if_nothing_can_be_found(clock: FakeClock) -> None:
    """A journal whose runs are known, and whose uncertain rows carry labels, asks for no list."""
    shown = List(clock)
    known = row("0", state="started", execution_id=RUN)
    await recovery(shown, known, row("1", tag="nightly", findable=False))
    assert shown.asked == []


@pytest.mark.parametrize(
    ("fields", "uncertain"),
    [
        ({"state": "intended"}, True),
        ({"state": "started"}, True),  # a sync run whose reply had no id
        ({"state": "started", "execution_id": RUN}, False),
        ({"state": "settled", "outcome": "unknown"}, True),
        ({"state": "settled", "outcome": "unknown", "execution_id": RUN}, False),
        ({"state": "settled", "outcome": "rejected"}, False),
        ({"state": "settled", "outcome": "succeeded"}, False),
    ],
)
def test_which_rows_are_uncertain(fields: dict[str, Any], uncertain: bool) -> None:
    """Those of which a run may exist whose id nobody knows."""
    assert is_uncertain(row(**fields)) is uncertain


async def test_the_list_is_read_back_to_the_earliest_intent(clock: FakeClock) -> None:
    """By the service's own time, as it was known when each was written."""
    rows = [row(str(n), tag=f"t{n}", since=since) for n, since in enumerate((90.0, 70.0, 80.0))]
    shown = List(clock, {f"t{n}": UNPROVEN for n in range(3)})
    await recovery(shown, *rows)
    assert [asked["service_time"] for asked in shown.asked] == [70.0]


async def test_an_intent_without_the_services_time_does_not_spoil_the_others(
    clock: FakeClock,
) -> None:
    """It is read for alone, by the local clock, which proves nothing."""
    found = {"t0": UNPROVEN, "t1": UNPROVEN}
    shown = List(clock, found, found)
    rows = (row("0", tag="t0", since=None, intended_at=1000.0), row("1", tag="t1", since=70.0))
    await recovery(shown, *rows)
    told = [(asked["tags"], asked["service_time"]) for asked in shown.asked]
    assert told == [(["t0"], None), (["t1"], 70.0)]
    assert shown.asked[0]["intended_at"] == 1000.0


async def test_accounts_are_looked_through_each_by_one_reading(clock: FakeClock) -> None:
    """Their lists are separate."""
    rows = [row(str(n), tag=f"t{n}", account=f"acct_{n % 2}") for n in range(4)]
    found = {f"t{n}": UNPROVEN for n in range(4)}
    shown = List(clock, found, found)
    await recovery(shown, *rows)
    assert [asked["tags"] for asked in shown.asked] == [["t0", "t2"], ["t1", "t3"]]


async def test_a_finding_is_given_once(clock: FakeClock) -> None:
    """Two items with one tag, wrongly called unique, don't both adopt its run."""
    lost = row("lost")
    made = await recovery(List(clock, {"rfa-1": FOUND}), lost)
    assert (made.known(lost), made.known(row("other"))) == (FOUND, None)


async def test_absence_at_the_first_look_is_looked_at_again(clock: FakeClock) -> None:
    """The list may lag."""
    lost = row("lost")
    shown = List(clock, {"rfa-1": ABSENT}, {"rfa-1": FOUND})
    made = await recovery(shown, lost)
    assert made.known(lost) is None
    made.expect(lost, settle=1.0, is_safe=False)
    assert (await made.look_again(lost), shown.pauses) == (FOUND, [1.0])


@pytest.mark.parametrize(("is_safe", "pauses"), [(True, [1.0, 2.0, 4.0]), (False, [1.0])])
async def test_without_a_witness_time_has_to_do(
    clock: FakeClock, is_safe: bool, pauses: list[float]
) -> None:
    """`safe` looks longer before it takes absence for proven."""
    lost = row("lost")
    shown = List(clock, *[{"rfa-1": ABSENT}] * 4)
    made = await recovery(shown, lost)
    made.expect(lost, settle=1.0, is_safe=is_safe)
    assert (await made.look_again(lost), shown.pauses) == (ABSENT, pauses)


async def test_a_witness_that_shows_proves_that_the_list_has_caught_up(clock: FakeClock) -> None:
    """One look is enough then."""
    lost = row("lost")
    shown = List(clock, *[{"rfa-1": ABSENT}] * 2, caught_up=True)
    made = await recovery(shown, lost)
    made.started(row("now", execution_id=RUN))
    made.expect(lost, settle=1.0, is_safe=True)
    assert (await made.look_again(lost), shown.pauses) == (ABSENT, [1.0])
    assert shown.asked[-1]["witnesses"] == {RUN}


@pytest.mark.parametrize("is_safe", [True, False])
async def test_a_witness_that_does_not_show_proves_that_the_list_lags(
    clock: FakeClock, is_safe: bool
) -> None:
    """Absence from such a list is worth nothing, in either mode."""
    lost = row("lost")
    shown = List(clock, *[{"rfa-1": ABSENT}] * 4)
    made = await recovery(shown, lost)
    made.started(row("now", execution_id=RUN))
    made.expect(lost, settle=1.0, is_safe=is_safe)
    assert (await made.look_again(lost), len(shown.pauses)) == (UNPROVEN, 3)


@pytest.mark.parametrize("other", [{"account": "acct_2"}, {"workflow_id": "wf_2"}])
async def test_only_what_the_reading_would_show_is_a_witness(
    clock: FakeClock, other: dict[str, Any]
) -> None:
    """Runs of other accounts, and of workflows that are not asked for, tell nothing."""
    lost = row("lost")
    shown = List(clock, *[{"rfa-1": ABSENT}] * 4)
    made = await recovery(shown, lost)
    made.started(row("now", execution_id=RUN, **other))
    made.expect(lost, settle=1.0, is_safe=True)
    assert await made.look_again(lost) == ABSENT
    assert shown.asked[-1]["witnesses"] == set()


async def test_a_list_that_can_not_be_read_proves_nothing(clock: FakeClock) -> None:
    """What an earlier look took for absence is forgotten."""
    lost = row("lost")
    shown = List(clock, {}, {"rfa-1": ABSENT}, {}, {})
    made = await recovery(shown, lost)
    made.expect(lost, settle=1.0, is_safe=True)
    assert await made.look_again(lost) is None
