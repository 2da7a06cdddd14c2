"""The list and the documents may come from replicas that are not equally far."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from refold_async.emulator import Behaviour, Emulator
from tests.support.asking import V2, ask, document, listed, response, start

if TYPE_CHECKING:
    from collections.abc import Callable

    from refold_async import RefoldClient


class Clock:
    """A clock that moves when told."""

    seconds = 1_000_000_000.0

    def __call__(self) -> float:
        """The time in epoch seconds."""
        return self.seconds


async def seen(emulator: Emulator, execution_id: str) -> tuple[list[str], str, str]:
    """What list, document and response say of a run."""
    statuses = [entry["status"] for entry in await listed(emulator)]
    told = await response(emulator, execution_id)
    return statuses, (await document(emulator, execution_id))["status"], told["status"]


async def lives(behaviour: Behaviour) -> list[Any]:
    """What is seen of a run of two seconds, each second from its start."""
    clock = Clock()
    async with Emulator(behaviour=behaviour, now=clock) as emulator:
        emulator.workflow("wf", slug="hubspot", duration=2.0)(dict)
        execution_id = await start(emulator)
        found = []
        for _ in range(5):
            found.append(await seen(emulator, execution_id))
            clock.seconds += 1
        return found


async def test_the_list_may_be_behind() -> None:
    """With `list_lag` a run comes into the list later, and ends there later."""
    ended = "COMPLETED"
    assert await lives(Behaviour(list_lag=2.0)) == [
        ([], "RUNNING", "RUNNING"),
        ([], "RUNNING", "RUNNING"),
        (["RUNNING"], ended, ended),
        (["RUNNING"], ended, ended),
        ([ended], ended, ended),
    ]


async def test_the_list_may_be_ahead() -> None:
    """With `list_lead` the list knows of an end that document and response don't show yet."""
    ended = "COMPLETED"
    assert await lives(Behaviour(list_lead=2.0)) == [
        (["RUNNING"], "RUNNING", "RUNNING"),
        (["RUNNING"], "RUNNING", "RUNNING"),
        ([ended], "RUNNING", "RUNNING"),
        ([ended], "RUNNING", "RUNNING"),
        ([ended], ended, ended),
    ]


async def test_a_stop_shows_late_as_well() -> None:
    """What was stopped is still RUNNING where the stop has not arrived."""
    clock = Clock()
    async with Emulator(behaviour=Behaviour(list_lag=1.0, stop_takes=1.0), now=clock) as emulator:
        emulator.workflow("wf", slug="hubspot", duration=None)(dict)
        execution_id = await start(emulator)
        clock.seconds += 5
        await ask(emulator, "POST", f"{V2}/execution/{execution_id}/stop")
        at_once = await seen(emulator, execution_id)
        clock.seconds += 1
        later = await seen(emulator, execution_id)

    assert at_once == (["RUNNING"], "STOPPING", "RUNNING")
    assert later == (["STOPPING"], "STOPPED", "ERRORED")


@pytest.mark.parametrize("behaviour", [{"list_lag": 0.3}, {"list_lead": 0.3}, {}])
async def test_the_client_waits_for_the_true_end(
    connect: Callable[..., RefoldClient], behaviour: dict[str, float]
) -> None:
    """However far list and documents are apart, a run that is awaited has ended with its output."""
    async with Emulator(behaviour=Behaviour(**behaviour)) as emulator:  # type: ignore[arg-type]
        emulator.workflow("wf", slug="hubspot", duration=0.2)(lambda _: {"id": 1})
        refold = connect(emulator)
        handles = [await refold.execute("wf", slug="hubspot") for _ in range(5)]
        results = [await handle.result(timeout=20) for handle in handles]

    assert [(result.status, result.output) for result in results] == [("COMPLETED", {"id": 1})] * 5
    assert all(run.is_over(time.time()) for run in emulator.runs)
