"""A start that may leave until a moment only: what holds it up later keeps it from leaving."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from refold_async import ExecutionOutcomeUnknownError, ExecutionRequest, RetryPolicy, SystemClock
from refold_async._transport.attempt import Attempt

if TYPE_CHECKING:
    from collections.abc import Callable

    from refold_async import RefoldClient
    from refold_async.emulator import Emulator


class Frozen(SystemClock):
    """A clock of a process that may be frozen."""

    frozen = 0.0

    def monotonic(self) -> float:
        """Give the seconds, those in which nothing moved included."""
        return super().monotonic() + self.frozen


async def test_a_process_frozen_between_connection_and_write_sends_nothing(
    emulator: Emulator, connect: Callable[..., RefoldClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A turn of the loop may lie between them. It counts as sent, and nobody sends it again."""
    emulator.workflow("wf_1", slug="s")(dict)
    clock, depart = Frozen(), Attempt.depart
    refold = connect(emulator, clock=clock, retry=RetryPolicy(mode="safe", settle=0.01))

    def departing(attempt: Attempt, connection: object) -> None:
        depart(attempt, connection)  # type: ignore[arg-type]
        clock.frozen = 60.0

    start = refold._caller.submission(ExecutionRequest("wf_1", slug="s"))

    async def before() -> None:
        assert start._care is not None
        start._care.leaves_by = clock.monotonic() + 5
        monkeypatch.setattr(Attempt, "depart", departing)

    with pytest.raises(ExecutionOutcomeUnknownError):
        await start.handle(before)
    assert emulator.runs == []
