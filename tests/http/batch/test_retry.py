"""A batch that is retried: what failed is started anew, and nothing that may have gone well."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from refold_async import (
    ConfigError,
    ExecutionRequest,
    JournalError,
    RefoldClient,
    RetryPolicy,
    read_journal,
)
from refold_async.emulator import Emulator, Fault, NodeFailed
from tests.http.batch.test_batch import numbered, outcomes
from tests.support.crashing import forget_the_run
from tests.support.endings import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    Connect = Callable[..., RefoldClient]

SAFE = RetryPolicy(mode="safe", settle=0.02, wait=0, max_wait=0)


@pytest.fixture
async def service() -> AsyncIterator[Emulator]:
    """A workflow that fails for odd numbers until it is mended, and one that never ends."""
    async with Emulator() as emulator:
        emulator.workflow("wf_endless", slug="s", duration=None)(dict)

        @emulator.workflow("wf_1", slug="s", duration=0.02)
        def fail(payload: dict[str, Any]) -> Any:
            if payload["n"] % 2 and "bad" in broken:
                raise NodeFailed(node="Work", message="the CRM said no")
            return payload

        broken = emulator.broken = {"bad"}  # type: ignore[attr-defined]
        yield emulator


def mend(service: Emulator) -> None:
    """Have odd numbers go well, too."""
    service.broken.clear()  # type: ignore[attr-defined]


def runs_of(service: Emulator) -> list[int]:
    """The numbers that ran, in order of their starts."""
    return [run.payload["n"] for run in service.runs]


@pytest.mark.parametrize("keeps", [False, True])
async def test_only_what_failed_runs_again(
    service: Emulator, connect: Connect, journal: str, keeps: bool
) -> None:
    """With the input, or with a journal that keeps it; each with a tag of its own."""
    requests = [*numbered(3), ExecutionRequest("wf_1", slug="s", payload={"n": 7}, key="#k")]
    refold = connect(service, retry=SAFE)
    await refold.run_batch(requests, journal=journal, keep_payloads=keeps)
    mend(service)
    report = await refold.retry_batch(journal, None if keeps else requests)
    again = await refold.retry_batch(journal, None if keeps else requests)

    assert sorted(runs_of(service)) == [0, 1, 1, 2, 7, 7]
    assert len({run.instance_tag for run in service.runs}) == 6
    assert [(item.index, item.key) for item in report.items()] == (
        [(0, "#k"), (1, "1")] if keeps else [(0, "0"), (1, "1"), (2, "2"), (3, "#k")]
    )
    assert {*outcomes(report)} == {"succeeded"}
    assert outcomes(again) == ([] if keeps else ["succeeded"] * 4)
    assert dict(read_journal(journal).counts) == {"succeeded": 4}


async def test_what_runs_or_has_not_begun_is_left(
    service: Emulator, connect: Connect, journal: str
) -> None:
    """A run that goes on is waited for; an item the batch has not begun stays unsent."""
    requests = [*numbered(2), *numbered(1, "wf_endless"), *numbered(2)]
    refold = connect(service)
    await refold.run_batch(requests[:3], journal=journal, timeout=0.3, drain=0)
    mend(service)
    retrying = asyncio.ensure_future(refold.retry_batch(journal, requests))
    await until(lambda: len(service.runs) == 4)
    service.finish(service.runs[2].execution_id)
    report = await retrying

    assert outcomes(report) == ["succeeded"] * 3 + ["unsent"] * 2
    assert "does not begin" in str(report.items()[3].error)
    assert runs_of(service) == [0, 1, 0, 1]


async def test_what_was_rejected_is_sent(service: Emulator, connect: Connect, journal: str) -> None:
    """The service refused it by load, say: nothing ran."""
    mend(service)
    service.faults.script("execute", None, *[Fault(status=429)] * 50)
    refold = connect(service, retry=RetryPolicy(mode="never"))
    first = await refold.run_batch(numbered(4), journal=journal, keep_payloads=True)
    service.faults.clear()
    report = await refold.retry_batch(journal)

    assert first.rejected == report.succeeded == 3
    assert sorted(runs_of(service)) == [0, 1, 2, 3]


@pytest.mark.parametrize("found", [True, False])
async def test_what_may_have_run_is_looked_for_first(
    service: Emulator, connect: Connect, journal: str, found: bool
) -> None:
    """Found, it is adopted; started only where it is proven that it was not."""
    mend(service)
    await connect(service).run_batch(numbered(3), journal=journal, keep_payloads=True)
    forget_the_run(journal, key="#1", tag=None if found else f"rfa-{'0' * 32}")
    report = await connect(service, retry=SAFE).retry_batch(journal)

    assert (outcomes(report), len(service.runs)) == (["succeeded"], 3 if found else 4)


async def test_a_retry_that_loses_an_answer_doubles_nothing(
    service: Emulator, connect: Connect, journal: str
) -> None:
    """The run that failed is not taken for the new one, which is found by its own tag."""
    refold = connect(service, retry=SAFE)
    await refold.run_batch(numbered(2), journal=journal, keep_payloads=True)
    mend(service)
    service.faults.script("execute", Fault(drop="after"))
    report = await refold.retry_batch(journal)

    assert (outcomes(report), runs_of(service)) == (["succeeded"], [0, 1, 1])
    assert report.items()[0].execution_id == service.runs[2].execution_id


async def test_a_retry_that_was_killed_is_gone_on_with(
    service: Emulator, connect: Connect, journal: str
) -> None:
    """Between the start and its id: the new run is found by its own tag, and not the old one."""
    refold = connect(service, retry=SAFE)
    await refold.run_batch(numbered(2), journal=journal)
    mend(service)
    await refold.retry_batch(journal, numbered(2))
    forget_the_run(journal, key="#1")
    report = await connect(service, retry=SAFE).run_batch(numbered(2), journal=journal)

    assert (outcomes(report), len(service.runs)) == (["succeeded"] * 2, 3)
    assert report.items()[1].execution_id == service.runs[2].execution_id


async def test_what_cannot_be_retried_is_said_before_anything_is_sent(
    service: Emulator, connect: Connect, journal: str
) -> None:
    """No journal, or one that keeps nothing; and nothing to keep payloads in."""
    refold = connect(service)
    with pytest.raises(JournalError, match="there is none"):
        await refold.retry_batch(journal)
    await refold.run_batch(numbered(2), journal=journal)
    with pytest.raises(JournalError, match="give the input"):
        await refold.retry_batch(journal)
    with pytest.raises(ConfigError, match="keep_payloads: give the journal"):
        await refold.run_batch([], keep_payloads=True)

    assert len(service.runs) == 2


async def test_the_tag_of_a_run_that_failed_is_not_used_again(
    service: Emulator, connect: Connect, journal: str
) -> None:
    """A caller's own unique tag could not tell the two apart."""
    request = ExecutionRequest(
        "wf_1", slug="s", payload={"n": 1}, instance_tag="mine-1", unique_tag=True
    )
    refold = connect(service)
    await refold.run_batch([request], journal=journal)
    report = await refold.retry_batch(journal, [request])

    assert outcomes(report) == ["rejected"]
    assert "leave the tag out" in str(report.items()[0].error)
    assert len(service.runs) == 1
