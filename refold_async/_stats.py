"""What a client has done so far, in numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import attrs


@attrs.frozen(kw_only=True)
class Stats:
    """A client's counters at one moment; views made by `for_account` share them.

    Attributes:
        requests: attempts that were made, by operation.
        retries: attempts beyond the first of a call.
        polls: looks at pending runs.
        settled: runs whose end was learned by waiting.
        possible_duplicates: starts sent again although an earlier try may have started a run.
    """

    requests: Mapping[str, int]
    retries: int
    polls: int
    settled: int
    possible_duplicates: int

    @property
    def requests_per_settled(self) -> float | None:
        """Requests of all kinds per settled run; None before the first."""
        return sum(self.requests.values()) / self.settled if self.settled else None


@attrs.define(eq=False)
class Counters:
    """The live counters behind `Stats`."""

    requests: Counter[str] = attrs.field(factory=Counter)
    retries: int = 0
    polls: int = 0
    settled: int = 0
    possible_duplicates: int = 0

    def snapshot(self) -> Stats:
        """Give the counters as they stand."""
        return Stats(
            requests=dict(self.requests),
            retries=self.retries,
            polls=self.polls,
            settled=self.settled,
            possible_duplicates=self.possible_duplicates,
        )
