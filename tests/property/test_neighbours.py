"""One account misbehaves in every way there is, and another is served as if it did not exist.

`--hypothesis-profile=explore` plays longer, at random.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from refold_async import PollPolicy, RateLimit, RetryPolicy
from refold_async.emulator import Behaviour, Fault
from tests.support.clock import settle
from tests.support.machine import Imagined, play, played

if TYPE_CHECKING:
    from collections.abc import Coroutine

pytestmark = pytest.mark.long

ILLS = {
    "hangs": Fault(delay=3600.0),
    "slow": Fault(delay=20.0),
    "broken": Fault(status=500),
    "a page": Fault(html=True),
    "of a gateway": Fault(status=503, body={"message": "upstream error", "code": 503}),
    "reset": Fault(drop="before"),
    "garbage": Fault(body="garbage"),
    "forbidden": Fault(status=403),
    "unknown": Fault(status=404),
    "well": None,
}
BOUND = 8.0
"""Seconds in which another account's run of a second has been started, has ended and is known."""


class Neighbours(RuleBasedStateMachine):
    """One account whose requests meet what they may, with much to do, and a healthy one."""

    def __init__(self) -> None:
        super().__init__()
        self.world = Imagined()
        self.ill: list[asyncio.Task[Any]] = []
        logging.getLogger("refold_async").propagate = False

    def play(self, move: Coroutine[Any, Any, Any], then: float = 0) -> Any:
        """Make a move, and let time pass."""
        return play(self.world, move, then)

    @initialize(rate=st.sampled_from([None, RateLimit()]), lag=st.sampled_from([0.0, 2.0]))
    def begin(self, rate: RateLimit | None, lag: float) -> None:
        """Choose the service and the client's settings."""
        self.play(self.world.start(Behaviour(list_lag=lag)))
        self.refold = self.world.connect(
            rate_limit=rate, polling=PollPolicy(), retry=RetryPolicy(mode="safe")
        )

    @rule(
        operation=st.sampled_from(["execute", "get_execution", "get_response", "list_executions"]),
        how=st.sampled_from(sorted(ILLS)),
    )
    def fall_ill(self, operation: str, how: str) -> None:
        """Let what the one account asks for meet something until further notice."""
        self.world.ills["ill", operation] = ILLS[how]

    @rule(count=st.integers(1, 12), then=st.sampled_from([0.0, 1.0, 10.0, 60.0]))
    def ask_for_much(self, count: int, then: float) -> None:
        """Have the ill account start runs, and wait for them."""
        view = self.refold.for_account("ill")
        payload = {"number": 0, "seconds": 1.0}
        for _ in range(count):
            self.ill.append(
                self.world.loop.create_task(view.run("wf_1", slug="s", payload=payload))
            )
        self.play(settle(1), then)

    @rule()
    def be_served(self) -> None:
        """Have the healthy account run something."""
        began = self.world.loop.time()
        payload = {"number": 1, "seconds": 1.0}
        view = self.refold.for_account("healthy")
        result = self.play(view.run("wf_1", slug="s", payload=payload))
        assert result.ok
        took = self.world.loop.time() - began
        assert took <= BOUND, f"a run of a second was known after {took:.1f} s"

    def teardown(self) -> None:
        """Close, which ends everything."""
        if hasattr(self, "refold"):
            self.play(self.refold.aclose())
            self.play(ended(self.ill))
            budget = self.refold.stats.budget
            assert (budget.in_flight, sum(budget.waiting.values())) == (0, 0), "a slot leaked"
            self.play(self.world.end())
        self.world.loop.close()
        logging.getLogger("refold_async").propagate = True


async def ended(tasks: list[asyncio.Task[Any]]) -> None:
    """Wait for the end of all."""
    await asyncio.gather(*tasks, return_exceptions=True)


def test_a_misbehaving_account_does_not_hold_up_another() -> None:
    """Slow, hanging, broken, foreign: whatever the one meets, the other is served in seconds."""
    played(Neighbours, share=0.5, moves=15)
