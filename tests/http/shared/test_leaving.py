"""Callers that leave at any moment, and what they and the others are told."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from refold_async import ClientClosedError, ExecutionOutcomeUnknownError, Timeouts
from refold_async._shared import bringing
from refold_async.emulator import Emulator, Fault
from tests.http.shared.conftest import WORKFLOW
from tests.support.endings import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from refold_async import ExecutionHandle, RefoldClient
    from tests.support.redis import RedisServer

    Sharing = Callable[..., RefoldClient]

TURNS = range(0, 60, 2)
"""Of the event loop, after which somebody leaves: from before the claim to after the answer."""


async def ask(refold: RefoldClient, key: str, **options: Any) -> ExecutionHandle[Any]:
    """Start a run under a key, and have it say which."""
    return await refold.execute(WORKFLOW, slug="s", payload={"key": key}, once=key, **options)


async def turns(number: int) -> None:
    """Let the event loop turn so often."""
    for _ in range(number):
        await asyncio.sleep(0)


def started(emulator: Emulator, key: str) -> int:
    """Tell how many runs a key has."""
    return sum(run.payload["key"] == key for run in emulator.runs)


async def test_a_caller_has_its_run_while_redis_is_still_to_be_told(
    sharing: Sharing, emulator: Emulator, redis_server: RedisServer
) -> None:
    """Nobody waits for that: who did, was told in the meantime that nothing had been sent."""
    refold = sharing(redis_server)
    await ask(refold, "earlier")
    emulator.faults.script("execute", Fault(delay=0.1))
    call = asyncio.create_task(ask(refold, "k", timeout=0.3))
    await until(lambda: emulator.counts["execute"] == 2)
    redis_server.freeze()
    try:
        assert (await call).execution_id == emulator.runs[-1].execution_id
    finally:
        redis_server.thaw()


async def test_whenever_a_caller_leaves_its_key_is_free_or_has_its_run_for_others(
    sharing: Sharing, emulator: Emulator
) -> None:
    """Nobody waits for a claim to run out whose owner lives, and nobody starts a second run."""
    patient = {"timeouts": Timeouts(connect=5.0, read=5.0)}
    here, there = sharing(**patient), sharing(**patient)
    await asyncio.gather(ask(here, "earlier"), ask(there, "earlier"))

    async def leave_after(number: int) -> None:
        call = asyncio.create_task(ask(here, f"{number}"))
        await turns(number)
        call.cancel()
        await asyncio.wait([call])
        await asyncio.wait_for(ask(there, f"{number}"), 8)
        assert started(emulator, f"{number}") == 1

    await asyncio.gather(*map(leave_after, TURNS))


async def test_whenever_a_client_is_closed_nothing_runs_of_which_it_says_nothing_was_sent(
    sharing: Sharing, emulator: Emulator
) -> None:
    """A start that had left is either known or unknown."""
    ends: list[tuple[str, BaseException | None]] = []

    async def close_after(number: int) -> None:
        refold = sharing()
        call = asyncio.create_task(ask(refold, f"{number}"))
        await turns(number)
        await refold.aclose()
        await asyncio.wait([call])
        ends.append((f"{number}", call.exception()))

    await asyncio.gather(*map(close_after, TURNS))
    await asyncio.sleep(0.2)
    nothing_sent = {key for key, end in ends if isinstance(end, ClientClosedError)}
    assert nothing_sent
    assert not any(started(emulator, key) for key in nothing_sent)
    others = {type(end) for key, end in ends if key not in nothing_sent}
    assert others <= {ExecutionOutcomeUnknownError, type(None)}


async def test_a_list_that_can_not_be_read_proves_nothing_of_what_another_process_sent(
    sharing: Sharing, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither that it has started nor that it has not; once it can be read, the run is found."""
    monkeypatch.setattr(bringing, "_FORGETFUL", 0.0)
    emulator.faults.script("execute", Fault(drop="after"))
    emulator.faults.always("list_executions", Fault(status=401))
    for refold in (sharing(), sharing()):
        with pytest.raises(ExecutionOutcomeUnknownError):
            await ask(refold, "k")
    emulator.faults.clear()
    assert (await ask(sharing(), "k")).attached
    assert started(emulator, "k") == 1
