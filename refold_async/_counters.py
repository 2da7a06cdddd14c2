"""What is being counted: the live counters behind `Stats`."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from refold_async._stats import BudgetStats, Stats, WaitingStats


class Counters:
    """The live counters behind `Stats`."""

    def __init__(self) -> None:
        self.requests: Counter[str] = Counter()
        self.retries = 0
        self.polls = 0
        self.sweeps = 0
        self.wasted = 0
        self.settled = 0
        self.noticed = 0
        self.unnoticed_for = 0.0
        self.possible_duplicates = 0
        self.adopted = 0
        self.orphaned = 0
        self.abandoned = 0
        self.unknown = 0

    def snapshot(
        self, budget: BudgetStats | None = None, waiting: WaitingStats | None = None
    ) -> Stats:
        """Give the counters as they stand."""
        from refold_async._stats import BudgetStats, Stats, WaitingStats  # noqa: PLC0415 - few look

        return Stats(
            requests=dict(self.requests),
            retries=self.retries,
            polls=self.polls,
            sweeps=self.sweeps,
            wasted=self.wasted,
            settled=self.settled,
            noticed=self.noticed,
            unnoticed_for=self.unnoticed_for,
            possible_duplicates=self.possible_duplicates,
            adopted=self.adopted,
            orphaned=self.orphaned,
            abandoned=self.abandoned,
            unknown=self.unknown,
            budget=budget or BudgetStats(),
            waiting=waiting or WaitingStats(),
        )
