"""`kill -9` at every instant of an item's life, and what a resume makes of it.

The rows of the table in `docs/explanation/batches.md`. The batch runs in a process of its own and
is killed for real; the emulator in this one keeps the truth.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from refold_async.emulator import Behaviour, Emulator, Fault
from tests.support.crashing import ITEMS, client, forget_the_run, run
from tests.support.endings import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from refold_async import BatchReport

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[3]
SAFE_AND_TRANSIENT = pytest.mark.parametrize("mode", ["safe", "transient"])


@pytest.fixture
async def service() -> AsyncIterator[Emulator]:
    """A Refold whose runs take a moment."""
    async with playing() as running:
        yield running


def playing(**behaviour: Any) -> Emulator:
    """Give an emulator with a workflow that answers its payload."""
    emulator = Emulator(behaviour=Behaviour(**behaviour))
    emulator.workflow("wf_1", slug="s", duration=0.05)(dict)
    return emulator


async def crash(
    service: Emulator,
    journal: str,
    instant: str,
    mode: str = "safe",
    *,
    when: Callable[[], bool] | None = None,
) -> None:
    """Run the batch until it kills itself, or until it is to be killed."""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.crashing"),
        *(service.base_url, journal, instant, mode),
        cwd=ROOT,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(120):
        if when is not None:
            await until(when)
            child.kill()
        _, complaints = await child.communicate()
    assert (child.returncode, b"Traceback" in complaints) == (-signal.SIGKILL, False)


def runs(service: Emulator) -> dict[int, int]:
    """How often each item really ran."""
    return dict(sorted(Counter(run.payload["n"] for run in service.runs).items()))


ONCE_EACH = dict.fromkeys(range(ITEMS), 1)


def outcomes(report: BatchReport) -> list[str]:
    """The outcomes in input order."""
    return [str(item.outcome) for item in report.items()]


@SAFE_AND_TRANSIENT
@pytest.mark.parametrize(
    ("instant", "resumed"),
    [
        pytest.param("before intended", False, id="before the intent is written"),
        pytest.param("after intended", False, id="between intent and POST"),
        pytest.param("before started", True, id="answered, the id not written"),
        pytest.param("after started", True, id="running"),
        pytest.param("before settled", True, id="ended, the result not written"),
        pytest.param("after settled", True, id="the result written"),
    ],
)
async def test_a_kill_loses_no_item_and_doubles_none(
    service: Emulator, journal: str, mode: Any, instant: str, resumed: bool
) -> None:
    """Each item ran once in the end; the victim is resumed if its run had begun."""
    await crash(service, journal, instant, mode)
    report = await run(service.base_url, journal, mode)
    assert (outcomes(report), runs(service)) == (["succeeded"] * ITEMS, ONCE_EACH)
    assert [item.resumed for item in report.items()] == [True, resumed, False, False]
    assert [item.result.output["n"] for item in report.items() if item.result] == [0, 1, 2, 3]
    flagged = mode == "transient" and instant == "after intended"
    handle = report.items()[1].handle
    assert handle is not None
    assert handle.possible_duplicate is flagged


@SAFE_AND_TRANSIENT
async def test_a_kill_while_the_answer_is_awaited_adopts_the_run(
    service: Emulator, journal: str, mode: Any
) -> None:
    """The run began; nobody here ever heard of it."""
    service.faults.script("execute", None, Fault(delay=60.0))
    await crash(service, journal, "never", mode, when=lambda: len(service.runs) == 2)
    service.faults.clear()
    report = await run(service.base_url, journal, mode)
    assert (outcomes(report), runs(service)) == (["succeeded"] * ITEMS, ONCE_EACH)
    assert report.items()[1].execution_id == service.runs[1].execution_id


@SAFE_AND_TRANSIENT
async def test_a_request_that_was_lost_with_the_process_is_sent_again(
    service: Emulator, journal: str, mode: Any
) -> None:
    """It left, and no run began: the list shows later runs and not this one."""
    service.faults.script("execute", None, Fault(drop="before", delay=60.0))
    await crash(service, journal, "never", mode, when=lambda: service.counts["execute"] == 2)
    service.faults.clear()
    report = await run(service.base_url, journal, mode)
    assert (outcomes(report), runs(service)) == (["succeeded"] * ITEMS, ONCE_EACH)


@pytest.mark.parametrize("instant", ["before started", "after started", "before settled"])
async def test_a_kill_during_recovery_changes_nothing(
    service: Emulator, journal: str, instant: str
) -> None:
    """The recovering process dies before or after it has written what it found."""
    await crash(service, journal, "before started")
    await crash(service, journal, instant)
    report = await run(service.base_url, journal)
    assert (outcomes(report), runs(service)) == (["succeeded"] * ITEMS, ONCE_EACH)


@pytest.mark.parametrize("instant", ["after intended", "before started"])
async def test_a_kill_during_the_second_try_changes_nothing(
    service: Emulator, journal: str, instant: str
) -> None:
    """A start that was proven absent and sent again is uncertain once more."""
    await crash(service, journal, "after intended")
    await crash(service, journal, instant)
    report = await run(service.base_url, journal)
    assert (outcomes(report), runs(service)) == (["succeeded"] * ITEMS, ONCE_EACH)


@SAFE_AND_TRANSIENT
async def test_an_uncertain_item_stays_unknown_where_tags_do_not_show(
    journal: str, mode: Any
) -> None:
    """Nothing proves that it is not running: it is not sent again, whatever the mode."""
    async with playing(echo_instance_tag_in_list=False) as service:
        await crash(service, journal, "before started", mode)
        report = await run(service.base_url, journal, mode)
        again = await run(service.base_url, journal, mode)
    for each in (report, again):
        assert outcomes(each) == ["succeeded", "unknown", "succeeded", "succeeded"]
    assert runs(service) == ONCE_EACH
    assert "await refold.find('rfa-" in str(report.items()[1].error)


@SAFE_AND_TRANSIENT
async def test_a_list_that_lags_proves_nothing(journal: str, mode: Any) -> None:
    """It does not show what this process has started: the item is not sent again, but unknown."""
    async with playing(list_lag=1.5) as service:
        await crash(service, journal, "before started", mode)
        first, victim = service.runs
        # As if the first had been started long before: it shows, and with it that tags do.
        first.created_at -= 2
        report = await run(service.base_url, journal, mode)
        for started in service.runs:
            started.created_at -= 2
        later = await run(service.base_url, journal, mode)
    assert outcomes(report) == ["succeeded", "unknown", "succeeded", "succeeded"]
    assert (outcomes(later), runs(service)) == (["succeeded"] * ITEMS, ONCE_EACH)
    assert later.items()[1].execution_id == victim.execution_id


async def test_the_list_is_given_time_to_catch_up(journal: str) -> None:
    """It lags a little: the run of the crashed process is found by the last look."""
    async with playing(list_lag=0.3) as service:
        await crash(service, journal, "before started")
        report = await run(service.base_url, journal)
    assert (outcomes(report), runs(service)) == (["succeeded"] * ITEMS, ONCE_EACH)


async def test_never_leaves_an_uncertain_item_unknown(service: Emulator, journal: str) -> None:
    """The mode that tries once does not try again after a crash."""
    await crash(service, journal, "after intended", "never")
    report = await run(service.base_url, journal, "never")
    assert outcomes(report) == ["succeeded", "unknown", "succeeded", "succeeded"]
    assert runs(service) == {0: 1, 2: 1, 3: 1}


async def test_an_item_with_a_label_stays_unknown(service: Emulator, journal: str) -> None:
    """Other runs may carry a label: it finds nothing and proves nothing."""
    await run(service.base_url, journal, instance_tag="nightly")
    forget_the_run(journal)
    report = await run(service.base_url, journal, instance_tag="nightly")
    assert outcomes(report) == ["succeeded", "unknown", "succeeded", "succeeded"]
    assert "its tag is a label" in str(report.items()[1].error)


async def test_a_sync_item_that_is_not_listed_stays_unknown(
    service: Emulator, journal: str
) -> None:
    """Nobody documents that a sync run shows before it ends."""
    await run(service.base_url, journal, sync=True)
    forget_the_run(journal, tag="rfa-" + "0" * 32)
    report = await run(service.base_url, journal, sync=True)
    assert outcomes(report) == ["succeeded", "unknown", "succeeded", "succeeded"]
    assert len(service.runs) == ITEMS


async def test_a_tag_that_two_runs_carry_is_not_adopted(service: Emulator, journal: str) -> None:
    """Nobody knows which of them is the item's."""
    await run(service.base_url, journal)
    tag = service.runs[1].instance_tag
    forget_the_run(journal)
    async with client(service.base_url) as refold:
        await refold.execute("wf_1", slug="s", payload={"n": 9}, instance_tag=tag, unique_tag=True)
    report = await run(service.base_url, journal)
    assert outcomes(report) == ["succeeded", "unknown", "succeeded", "succeeded"]
    assert len(service.runs) == ITEMS + 1


async def test_many_uncertain_items_are_looked_up_by_one_reading(
    service: Emulator, journal: str
) -> None:
    """Not one by one: a list page answers for all of them."""
    await run(service.base_url, journal)
    for key in ("#0", "#1", "#2"):
        forget_the_run(journal, key=key)
    before = service.counts["list_executions"]
    report = await run(service.base_url, journal)
    assert (outcomes(report), runs(service)) == (["succeeded"] * ITEMS, ONCE_EACH)
    # One page to learn the service's clock, one of runs, and looks at the resumed ones.
    assert service.counts["list_executions"] - before <= 4


async def test_a_kill_while_the_journal_is_made_leaves_a_usable_file(
    service: Emulator, journal: str
) -> None:
    """An empty file, as it is before the first transaction, is made a journal."""
    Path(journal).touch()  # noqa: ASYNC240
    report = await run(service.base_url, journal)
    assert (outcomes(report), runs(service)) == (["succeeded"] * ITEMS, ONCE_EACH)
