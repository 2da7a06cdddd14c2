"""After a lost answer: the run that is in the list is adopted, and nothing else ever is."""

from __future__ import annotations

import asyncio
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

import pytest

from refold_async import ExecutionOutcomeUnknownError, PollPolicy, RetryPolicy
from refold_async.emulator import Behaviour, Emulator, Fault
from tests.support.endings import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from refold_async import RefoldClient

LOOKING = pytest.mark.parametrize("mode", ["safe", "transient"])
LOST = Fault(drop="after")
NEVER_CAME = Fault(drop="before")
RAN_502 = Fault(status=502, html=True, perform=True)


def policy(mode: Any) -> RetryPolicy:
    """Give a policy that looks soon."""
    return RetryPolicy(mode=mode, settle=0.01, wait=0, max_wait=0)


def playing(**behaviour: Any) -> Emulator:
    """Give an emulator with a workflow that answers its payload."""
    emulator = Emulator(behaviour=Behaviour(**behaviour))
    emulator.workflow("wf_1", slug="s", alias="nick")(dict)
    return emulator


@LOOKING
@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(LOST, id="reset"),
        pytest.param(RAN_502, id="502"),
        pytest.param(Fault(truncate=True), id="truncated"),
    ],
)
async def test_a_run_whose_answer_was_lost_is_adopted(
    connect: Callable[..., RefoldClient], mode: str, fault: Fault
) -> None:
    """The one run with the call's tag is the outcome, and nothing is sent twice."""
    async with playing() as emulator:
        emulator.faults.script("execute", fault)
        refold = connect(emulator, retry=policy(mode))
        handle = await refold.execute("wf_1", slug="s", payload={"a": 1})
        result = await handle.result()
    assert (result.output, len(emulator.runs), refold.stats.adopted) == ({"a": 1}, 1, 1)
    assert (emulator.runs[0].execution_id, False) == (
        handle.execution_id,
        handle.possible_duplicate,
    )


@LOOKING
@pytest.mark.parametrize(
    "behaviour",
    [
        pytest.param({"clock_skew": 3600.0}, id="clock ahead"),
        pytest.param({"clock_skew": -3600.0}, id="clock behind"),
        pytest.param({"ignores_filters": True}, id="ignored filters"),
        pytest.param({"max_page_size": 2}, id="small pages"),
        pytest.param({"object_ids": False}, id="other ids"),
        pytest.param({"echo_instance_tag_in_get": False}, id="no tag in a single run"),
        pytest.param({"list_lag": 0.005}, id="short lag"),
    ],
)
@pytest.mark.parametrize("name", ["wf_1", "nick"])
async def test_the_right_run_is_adopted_whatever_the_list_is_like(
    connect: Callable[..., RefoldClient], mode: str, behaviour: dict[str, Any], name: str
) -> None:
    """Among the runs of others, by id or by alias, the one with the tag is found."""
    async with playing(**behaviour) as emulator:
        other = connect(emulator)
        for _ in range(5):
            await other.execute("wf_1", slug="s")
        emulator.faults.script("execute", LOST)
        refold = connect(emulator, retry=policy(mode))
        handle = await refold.execute(name, slug="s")
    assert (emulator.runs[5].execution_id, 6) == (handle.execution_id, len(emulator.runs))


@LOOKING
@pytest.mark.parametrize("object_ids", [True, False])
async def test_a_proxys_date_does_not_hide_a_run(
    connect: Callable[..., RefoldClient], mode: str, object_ids: bool
) -> None:
    """The service's clock is a minute behind that of the proxy, which writes the `Date`."""
    date = Fault(headers={"Date": formatdate(usegmt=True)})
    async with playing(clock_skew=-60.0, object_ids=object_ids) as emulator:
        emulator.faults.always("*", date)
        refold = connect(emulator, retry=policy(mode))
        await refold.execute("wf_1", slug="s")
        assert await refold.check_reconcile("wf_1") is True
        emulator.faults.script("execute", LOST)
        handle = await refold.execute("wf_1", slug="s")
    assert (emulator.runs[1].execution_id, 2) == (handle.execution_id, len(emulator.runs))


@LOOKING
async def test_absence_by_a_clock_nobody_has_checked_proves_nothing(
    connect: Callable[..., RefoldClient], mode: str
) -> None:
    """Before a run of ours has shown the service's clock, a proxy's `Date` is all there is."""
    async with playing(clock_skew=-3600.0) as emulator:
        emulator.faults.always("*", Fault(headers={"Date": formatdate(usegmt=True)}))
        await connect(emulator).execute("wf_1", slug="s")
        refold = connect(emulator, retry=policy(mode))
        assert await refold.check_reconcile("wf_1") is True
        emulator.faults.script("execute", LOST)
        with pytest.raises(ExecutionOutcomeUnknownError):
            await refold.execute("wf_1", slug="s")
    assert len(emulator.runs) == 2


async def test_a_run_on_a_later_page_is_found(connect: Callable[..., RefoldClient]) -> None:
    """Newer runs do not hide it: every page is read."""
    async with playing(max_page_size=2) as emulator:
        other, refold = connect(emulator), connect(emulator)
        lost = await refold.execute("wf_1", slug="s", instance_tag="mine")
        for _ in range(7):
            await other.execute("wf_1", slug="s")
        found = await other.find("mine", workflow_id="wf_1")
    assert [lost.execution_id] == [handle.execution_id for handle in found]
    assert emulator.counts["list_executions"] >= 4


async def test_invisible_tags_leave_safe_without_an_answer(
    connect: Callable[..., RefoldClient],
) -> None:
    """A list without tags finds nothing and proves nothing: `safe` sends once."""
    async with playing(echo_instance_tag_in_list=False) as emulator:
        emulator.faults.script("execute", LOST)
        refold = connect(emulator, retry=policy("safe"))
        with pytest.raises(ExecutionOutcomeUnknownError):
            await refold.execute("wf_1", slug="s")
    assert (len(emulator.runs), refold.stats.adopted) == (1, 0)


async def test_invisible_tags_let_transient_send_a_502_again(
    connect: Callable[..., RefoldClient],
) -> None:
    """Absence is not provable: `transient` sends a 5xx again, and flags it."""
    async with playing(echo_instance_tag_in_list=False) as emulator:
        emulator.faults.script("execute", RAN_502)
        refold = connect(emulator, retry=policy("transient"))
        handle = await refold.execute("wf_1", slug="s")
    assert (
        len(emulator.runs),
        handle.possible_duplicate,
        refold.stats.possible_duplicates,
    ) == (2, True, 1)


async def test_a_list_that_lags_too_long_leaves_safe_without_an_answer(
    connect: Callable[..., RefoldClient],
) -> None:
    """`safe` never starts a second run, even if the first shows too late."""
    async with playing(list_lag=30.0) as emulator:
        emulator.faults.script("execute", LOST)
        with pytest.raises(ExecutionOutcomeUnknownError):
            await connect(emulator, retry=policy("safe")).execute("wf_1", slug="s")
    assert len(emulator.runs) == 1
    assert emulator.counts["list_executions"] >= 3


async def test_proven_absence_lets_transient_send_again(
    connect: Callable[..., RefoldClient],
) -> None:
    """Where tags are known to show, a run that is not listed is started, and flagged."""
    async with playing() as emulator:
        refold = connect(emulator, retry=policy("transient"))
        await refold.execute("wf_1", slug="s")
        assert await refold.check_reconcile("wf_1") is True
        emulator.faults.script("execute", NEVER_CAME)
        handle = await refold.execute("wf_1", slug="s")
    assert (len(emulator.runs), handle.possible_duplicate, handle.attempts) == (2, True, 2)


async def test_unproven_absence_lets_nobody_send_a_lost_answer_again(
    connect: Callable[..., RefoldClient],
) -> None:
    """Before any list has shown a tag, an empty one proves nothing."""
    async with playing() as emulator:
        emulator.faults.script("execute", NEVER_CAME)
        with pytest.raises(ExecutionOutcomeUnknownError):
            await connect(emulator, retry=policy("transient")).execute("wf_1", slug="s")
    assert len(emulator.runs) == 0


@LOOKING
async def test_a_label_is_never_looked_up(connect: Callable[..., RefoldClient], mode: str) -> None:
    """A caller's tag may be on other runs too."""
    async with playing() as emulator:
        emulator.faults.script("execute", LOST)
        with pytest.raises(ExecutionOutcomeUnknownError):
            await connect(emulator, retry=policy(mode)).execute(
                "wf_1", slug="s", instance_tag="nightly"
            )
    assert (len(emulator.runs), emulator.counts["list_executions"]) == (1, 0)


@LOOKING
async def test_a_unique_tag_of_the_caller_is_looked_up(
    connect: Callable[..., RefoldClient], mode: str
) -> None:
    """With `unique_tag` it is as good as one of our own."""
    async with playing() as emulator:
        emulator.faults.script("execute", LOST)
        refold = connect(emulator, retry=policy(mode))
        handle = await refold.execute("wf_1", slug="s", instance_tag="order 7", unique_tag=True)
    assert [handle.execution_id] == [run.execution_id for run in emulator.runs]


@LOOKING
@pytest.mark.parametrize("by_another_client", [False, True])
async def test_a_unique_tag_that_was_used_before_adopts_nothing(
    connect: Callable[..., RefoldClient], mode: str, by_another_client: bool
) -> None:
    """Two runs carry it: nobody knows which one is the call's."""
    async with playing() as emulator:
        refold = connect(emulator, retry=policy(mode))
        first = connect(emulator) if by_another_client else refold
        await first.execute("wf_1", slug="s", instance_tag="order 7", unique_tag=True)
        emulator.faults.script("execute", LOST)
        with pytest.raises(ExecutionOutcomeUnknownError):
            await refold.execute("wf_1", slug="s", instance_tag="order 7", unique_tag=True)
    assert (emulator.started("order 7"), refold.stats.adopted) == (2, 0)


@LOOKING
async def test_the_run_of_another_call_is_not_adopted(
    connect: Callable[..., RefoldClient], mode: str
) -> None:
    """A tag that was wrongly called unique finds the other call's run alone, and leaves it."""
    async with playing() as emulator:
        refold = connect(emulator, retry=policy(mode))
        await refold.execute("wf_1", slug="s", instance_tag="order 7", unique_tag=True)
        emulator.faults.script("execute", NEVER_CAME)
        with pytest.raises(ExecutionOutcomeUnknownError):
            await refold.execute("wf_1", slug="s", instance_tag="order 7", unique_tag=True)
    assert (len(emulator.runs), refold.stats.adopted) == (1, 0)


async def test_never_makes_no_list_request(connect: Callable[..., RefoldClient]) -> None:
    """The mode `never` sends one request, whatever becomes of it."""
    async with playing() as emulator:
        emulator.faults.script("execute", LOST)
        with pytest.raises(ExecutionOutcomeUnknownError):
            await connect(emulator, retry=policy("never")).execute("wf_1", slug="s")
    assert dict(emulator.counts) == {"execute": 1}


@pytest.mark.parametrize("name", ["wf_1", "nick"])
async def test_find_gives_all_matches_or_none(
    connect: Callable[..., RefoldClient], name: str
) -> None:
    """Every run with exactly that tag, newest first; a tag nobody used finds nothing."""
    async with playing() as emulator:
        refold = connect(emulator, polling=PollPolicy(page_size=2))
        for tag in ("a", "b", "a", "ab", "a"):
            await refold.execute("wf_1", slug="s", instance_tag=tag)
        found = await refold.find("a", workflow_id=name)
        assert await refold.find("c", workflow_id=name) == []
    ids = {run.execution_id for run in emulator.runs if run.instance_tag == "a"}
    assert (3, ids) == (len(found), {handle.execution_id for handle in found})


@pytest.mark.parametrize("visible", [True, False])
async def test_check_reconcile_tells_whether_tags_show(
    connect: Callable[..., RefoldClient], visible: bool
) -> None:
    """Without a run of ours it can't tell; with one it can."""
    async with playing(echo_instance_tag_in_list=visible) as emulator:
        refold = connect(emulator)
        assert await refold.check_reconcile("wf_1") is None
        await refold.execute("wf_1", slug="s")
        assert await refold.check_reconcile("wf_1") is visible


@LOOKING
async def test_many_lost_answers_are_looked_up_together(
    connect: Callable[..., RefoldClient], mode: str
) -> None:
    """Sixty at one time are one burst of looks: a few readings answer for all of them."""
    async with playing() as emulator:
        await connect(emulator).execute("wf_1", slug="s")
        refold = connect(emulator, retry=policy(mode))
        await refold.execute("wf_1", slug="s")
        emulator.faults.script("execute", *[Fault(drop="after", delay=0.5)] * 60)
        handles = await asyncio.gather(
            *(refold.execute("wf_1", slug="s", payload={"n": n}) for n in range(60))
        )
        ran = {run.execution_id: run.payload.get("n") for run in emulator.runs}
        assert [ran[str(handle.execution_id)] for handle in handles] == list(range(60))
        assert (len(emulator.runs), refold.stats.adopted) == (62, 60)
        assert emulator.counts["list_executions"] <= 12  # as connections are cut, in bursts


async def test_accounts_are_looked_through_apart(connect: Callable[..., RefoldClient]) -> None:
    """One whose list hangs holds up no other, and who leaves takes no other along."""
    async with playing() as emulator:
        refold = connect(emulator, retry=policy("safe"))
        views = [refold, refold.for_account("acct_2"), refold.for_account("acct_2")]
        for view in views[:2]:
            await view.execute("wf_1", slug="s")
        emulator.faults.script("list_executions", Fault(delay=30.0))
        emulator.faults.script("execute", *[LOST] * 3)
        hung = asyncio.create_task(views[0].execute("wf_1", slug="s"))
        await until(lambda: emulator.counts["list_executions"] == 1)
        left = asyncio.create_task(views[1].execute("wf_1", slug="s", timeout=5))
        found = asyncio.create_task(views[2].execute("wf_1", slug="s"))
        assert (await found).execution_id in {run.execution_id for run in emulator.runs}
        for call in (left, hung):
            call.cancel()
        await asyncio.wait([left, hung])
