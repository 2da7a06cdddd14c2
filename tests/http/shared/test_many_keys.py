"""Many keys that are looked for at one time: few readings, and each is told what it asked."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from refold_async import PollPolicy, RefoldClient, ServerError
from refold_async._starting import by_key
from refold_async._transport import Finding
from refold_async.emulator import Behaviour, Emulator, Fault
from tests.http.shared.conftest import WORKFLOW, as_process

if TYPE_CHECKING:
    from collections.abc import Callable

KEYS = [f"key {number}" for number in range(300)]


async def ask(refold: RefoldClient, key: str) -> Any:
    """Start a run under a key, without Redis."""
    payload = {"key": key}
    return await refold.execute(WORKFLOW, slug="s", payload=payload, once=key, once_scope="process")


async def look(refold: RefoldClient, tag: str, since: float, proof: float) -> Finding:
    """Look for a run by its tag, and count it for as long as it is looked for."""
    found = await refold._caller.parts.starter.keys.look(
        tag, account="acct_1", workflow_id=WORKFLOW, since=since, proof=proof, counts=since
    )
    return found.finding


async def test_keys_that_are_looked_for_at_one_time_read_the_list_together(
    connect: Callable[..., RefoldClient], emulator: Emulator
) -> None:
    """Three hundred starts, and three hundred more of a restarted process: a few readings."""
    for attached in (False, True):
        refold = as_process(connect(emulator, rate_limit=None))
        before = emulator.counts["list_executions"]
        handles = await asyncio.gather(*(ask(refold, key) for key in KEYS))
        assert {handle.attached for handle in handles} == {attached}
        assert emulator.counts["list_executions"] - before <= 10
        ran = {run.execution_id: run.payload["key"] for run in emulator.runs}
        assert [ran[str(handle.execution_id)] for handle in handles] == KEYS
    assert len(emulator.runs) == len(KEYS)


async def test_a_list_that_can_not_be_read_is_told_to_each_for_itself(
    connect: Callable[..., RefoldClient], emulator: Emulator
) -> None:
    """Nothing is sent, and no two callers share an error."""
    refold = connect(emulator, rate_limit=None)
    emulator.faults.share("list_executions", Fault(status=503), share=1)
    told = await asyncio.gather(*(ask(refold, key) for key in KEYS[:5]), return_exceptions=True)
    assert {type(error) for error in told} == {ServerError}
    assert len({id(error) for error in told}) == 5
    assert emulator.runs == []


async def test_each_key_is_judged_by_what_it_asked_whoever_shares_the_reading() -> None:
    """How far back runs of a key count, and from when on its absence is to be proven."""
    async with Emulator(skip_time=True) as emulator, emulator.client() as refold:
        emulator.workflow(WORKFLOW, slug="s")(dict)
        run = await refold.execute(WORKFLOW, slug="s", instance_tag="old")
        await run
        await emulator.advance(600)
        await refold.execute(WORKFLOW, slug="s")
        await look(refold, "old", since=60, proof=30)  # shows that tags are visible
        before = emulator.counts["list_executions"]
        told = await asyncio.gather(
            look(refold, "old", since=3600, proof=3600),
            look(refold, "old", since=60, proof=30),
            look(refold, "new", since=60, proof=30),
        )
        assert [*told] == [Finding.FOUND, Finding.ABSENT, Finding.ABSENT]
        assert emulator.counts["list_executions"] - before == 1


@pytest.mark.parametrize("together", [True, False])
async def test_a_reading_that_ends_early_proves_what_it_reached(
    monkeypatch: pytest.MonkeyPatch, *, together: bool
) -> None:
    """Whoever asked for less is told; whoever asked for more is not."""
    monkeypatch.setattr(by_key, "PAGES", 1)
    polling = PollPolicy(page_size=10)
    async with (
        Emulator(skip_time=True) as emulator,
        emulator.client(polling=polling, rate_limit=None) as refold,
    ):
        emulator.workflow(WORKFLOW, slug="s")(dict)
        for _ in range(3):
            await asyncio.gather(*(refold.execute(WORKFLOW, slug="s") for _ in range(8)))
            await emulator.advance(300)
        asked = [("far", 3600, 3600), ("near", 200, 100), ("half", 3600, 100)]
        calls = [look(refold, *each) for each in asked]
        told = await asyncio.gather(*calls) if together else [await call for call in calls]
        assert told == [Finding.UNPROVEN, Finding.ABSENT, Finding.ABSENT]


async def test_what_the_service_may_have_forgotten_is_not_proven_absent() -> None:
    """A run that is older, and still listed, shows that it would be listed too."""
    day = 86_400.0
    kept = Behaviour(retention=2.5 * day)
    async with Emulator(skip_time=True, behaviour=kept) as emulator, emulator.client() as refold:
        emulator.workflow(WORKFLOW, slug="s")(dict)
        told = []
        for _ in range(5):
            await refold.execute(WORKFLOW, slug="s")
            told.append(await look(refold, "k", since=4 * day, proof=1.5 * day))
            await emulator.advance(day)
    unproven, absent = Finding.UNPROVEN, Finding.ABSENT
    assert told == [unproven, unproven, absent, absent, absent]
