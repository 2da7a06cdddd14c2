"""Endings that are known, and outputs that can't be read: what is known stays known."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from refold_async import (
    BatchOutcome,
    ExecutionFailedError,
    ExecutionRequest,
    ExecutionStatus,
    PollPolicy,
    RefoldClient,
    RefoldError,
    read_journal,
)
from refold_async.emulator import Emulator, Fault, NodeFailed
from tests.http.batch.test_batch import outcomes
from tests.support.endings import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    Connect = Callable[..., RefoldClient]

READS = ("get_response", "get_execution")


@pytest.fixture
async def service() -> AsyncIterator[Emulator]:
    """A workflow that fails for 2, until it is mended."""
    async with Emulator() as emulator:
        broken = emulator.broken = {2}  # type: ignore[attr-defined]

        @emulator.workflow("wf_1", slug="s", duration=0.02)
        def work(payload: dict[str, Any]) -> Any:
            if payload["n"] in broken:
                raise NodeFailed(node="Work", message="the CRM said no")
            return payload

        yield emulator


def three() -> list[ExecutionRequest]:
    """Requests of which the last one fails."""
    return [ExecutionRequest("wf_1", slug="s", payload={"n": n}, key=f"k{n}") for n in range(3)]


def hide(service: Emulator, fault: Fault) -> None:
    """Let nobody read a single run."""
    for read in READS:
        service.faults.always(read, fault)


def counted(journal: str) -> dict[str, int]:
    """What the journal says."""
    return dict(read_journal(journal).counts)


def last_lines(out: Path) -> dict[str, dict[str, Any]]:
    """The last line of each key."""
    return {line["key"]: line for line in map(json.loads, out.read_text().splitlines())}


@pytest.mark.parametrize("how", ["404", "403", "500", "drained", "timed out", "closed"])
async def test_a_journal_forgets_no_ending_whose_output_it_does_not_get(
    service: Emulator, connect: Connect, journal: str, tmp_path: Path, how: str
) -> None:
    """The item has the ending that was written, the reason why there is no output, and its run."""
    await connect(service).run_batch(three(), journal=journal, output=False)
    known = {"succeeded": 2, "failed": 1}
    assert counted(journal) == known

    fault = Fault(status=int(how)) if how.isdigit() else Fault(delay=60.0)
    hide(service, fault)
    refold = connect(
        service, polling=PollPolicy(first=0.05, failure_budget=0.2, not_found_grace=0.1)
    )
    options: dict[str, Any] = {"timeout": 0.1, "drain": 0.1} if how == "drained" else {}
    limit = 0.2 if how == "timed out" else None
    requests = [
        ExecutionRequest("wf_1", slug="s", payload={"n": n}, key=f"k{n}", timeout=limit)
        for n in range(3)
    ]
    out = tmp_path / "out.jsonl"
    read_before = sum(service.counts[read] for read in READS)
    running = asyncio.ensure_future(refold.run_batch(requests, journal=journal, out=out, **options))
    if how == "closed":
        await until(lambda: sum(service.counts[read] for read in READS) > read_before)
        await refold.aclose()
    report = await running

    assert (report.succeeded, report.failed, report.resumed) == (2, 1, 3)
    assert counted(journal) == known
    read_back = last_lines(out)
    assert [read_back[f"k{n}"]["outcome"] for n in range(3)] == ["succeeded"] * 2 + ["failed"]
    assert "output" in read_back["k0"]["error"]["message"]
    assert read_back["k2"]["error"]["type"] == "ExecutionFailedError"


async def test_what_is_missing_is_read_by_a_later_run_and_a_failure_is_retried(
    service: Emulator, connect: Connect, journal: str
) -> None:
    """What succeeded stays so for `retry_batch`, and what failed is started anew."""
    await connect(service).run_batch(three(), journal=journal, output=False)
    hide(service, Fault(delay=60.0))
    unread = await connect(service).run_batch(three(), journal=journal, timeout=0.1, drain=0.1)
    item, _, failed = unread.items()
    assert item.result is not None
    assert item.result.status is ExecutionStatus.COMPLETED
    assert not item.result.output_is_read
    with pytest.raises(RefoldError, match="its output could not be read: there was no time left"):
        _ = item.output
    assert isinstance(failed.error, ExecutionFailedError)

    service.broken.clear()  # type: ignore[attr-defined]
    service.faults.clear()
    hide(service, Fault(status=403))
    retried = await connect(service).retry_batch(journal, three())
    assert [item.outcome for item in retried.items()][:2] == [BatchOutcome.SUCCEEDED] * 2
    assert len(service.runs) == 4
    service.faults.clear()
    whole = await connect(service).run_batch(three(), journal=journal)
    assert [item.output for item in whole.items()] == [{"n": n} for n in range(3)]
    assert (outcomes(whole), len(service.runs)) == (["succeeded"] * 3, 4)


async def test_an_output_that_is_missing_is_no_item_that_did_not_succeed(
    service: Emulator, connect: Connect, journal: str
) -> None:
    """`raise_for_failures` raises it, and counts it by itself."""
    requests = three()[:2]
    await connect(service).run_batch(requests, journal=journal, output=False)
    hide(service, Fault(status=403))
    report = await connect(service).run_batch(requests, journal=journal)
    words = "0 of 2 items did not succeed; the output of 2 others, which ran, could not be read"
    with pytest.raises(ExceptionGroup, match=words):
        report.raise_for_failures()
    assert "could not be read: PermissionDeniedError" in str(report)
