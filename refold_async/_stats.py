"""What a client has done so far, in numbers."""

from collections import Counter
from collections.abc import Mapping

import attrs

from refold_async._value import Value


@attrs.frozen(kw_only=True, eq=False, repr=False)
class BudgetStats(Value):
    """How requests are paced at one moment: `refold.stats.budget`.

    Rate, ceiling and pause are those of all clients that share the budget; the rest is the client's
    own. The classes are `start`, `stop`, `result` and `status`; that is the order of service.

    Attributes:
        rate: requests per second that may leave now, as refusals have taught; None for any number.
        ceiling: requests per second at most, by `RateLimit`; None for no ceiling.
        waiting: calls that wait for a slot, by class.
        in_flight: requests under way.
        granted: slots granted so far, by class.
        refused: requests the service turned away with 429 or 503.
        stopped_for: seconds until the next request may leave, because the service asked for a pause
            by Retry-After, or serves nothing; or 0.
    """

    rate: float | None = None
    ceiling: float | None = None
    waiting: Mapping[str, int] = attrs.field(factory=dict)
    in_flight: int = 0
    granted: Mapping[str, int] = attrs.field(factory=dict)
    refused: int = 0
    stopped_for: float = 0.0

    def __add__(self, other: "BudgetStats") -> "BudgetStats":
        """Put two clients together: counts add up, of rates the lower and of pauses the longer."""
        return BudgetStats(
            rate=_lower(self.rate, other.rate),
            ceiling=_lower(self.ceiling, other.ceiling),
            waiting=_sum(self.waiting, other.waiting),
            in_flight=self.in_flight + other.in_flight,
            granted=_sum(self.granted, other.granted),
            refused=self.refused + other.refused,
            stopped_for=max(self.stopped_for, other.stopped_for),
        )


def _lower(one: float | None, other: float | None) -> float | None:
    return min((rate for rate in (one, other) if rate is not None), default=None)


def _sum(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {name: one.get(name, 0) + other.get(name, 0) for name in {**one, **other}}


@attrs.frozen(kw_only=True, eq=False, repr=False)
class WaitingStats(Value):
    """What waits where at one moment: `refold.stats.waiting`.

    Attributes:
        lists_of_no_use: accounts whose lists are of no use just now; they are tried again.
        read_singly: runs that are read by themselves, because no list would tell more.
        overdue: seconds for which the oldest look that is due has been waiting for its turn.
        told_by_push: runs whose end a webhook told first, so far.
        told_by_looks: runs whose end a look saw first, so far.
        settled_by_push: runs whose output came with the webhook, so that none was read, so far.
        pushes_lost: the share of ends, from 0 to 1, whose webhook is not expected to come here.
    """

    lists_of_no_use: int = 0
    read_singly: int = 0
    overdue: float = 0.0
    told_by_push: int = 0
    told_by_looks: int = 0
    settled_by_push: int = 0
    pushes_lost: float = 1.0

    def __add__(self, other: "WaitingStats") -> "WaitingStats":
        """Put two clients together: counts add up, of delays and shares the larger."""
        return WaitingStats(
            lists_of_no_use=self.lists_of_no_use + other.lists_of_no_use,
            read_singly=self.read_singly + other.read_singly,
            overdue=max(self.overdue, other.overdue),
            told_by_push=self.told_by_push + other.told_by_push,
            told_by_looks=self.told_by_looks + other.told_by_looks,
            settled_by_push=self.settled_by_push + other.settled_by_push,
            pushes_lost=max(self.pushes_lost, other.pushes_lost),
        )


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Stats(Value):
    """A client's counters at one moment; views made by `for_account` share them.

    Attributes:
        requests: attempts that were made, by operation.
        retries: attempts beyond the first of a call.
        polls: looks at single pending runs.
        sweeps: list requests that looked at many of them.
        wasted: looks of either kind that found no end.
        settled: runs whose end was learned by waiting.
        noticed: settled runs whose time of ending the service told.
        unnoticed_for: seconds from that time to when it was known here, summed over them.
        possible_duplicates: starts sent again although an earlier try may have started a run.
        adopted: runs found in the list after their answer was lost.
        orphaned: runs whose caller was cancelled after the request had left.
        abandoned: attempts at starts whose callers are gone and that are still under way.
        unknown: calls that ended with `ExecutionOutcomeUnknownError`.
        budget: how requests are paced.
        waiting: what waits where.
    """

    requests: Mapping[str, int] = attrs.field(factory=dict)
    retries: int = 0
    polls: int = 0
    sweeps: int = 0
    wasted: int = 0
    settled: int = 0
    noticed: int = 0
    unnoticed_for: float = 0.0
    possible_duplicates: int = 0
    adopted: int = 0
    orphaned: int = 0
    abandoned: int = 0
    unknown: int = 0
    budget: BudgetStats = attrs.field(factory=BudgetStats)
    waiting: WaitingStats = attrs.field(factory=WaitingStats)

    def __add__(self, other: "Stats") -> "Stats":
        """Add up the counters of two clients."""
        sums = {
            field.name: getattr(self, field.name) + getattr(other, field.name)
            for field in attrs.fields(Stats)
            if field.name != "requests"
        }
        return Stats(requests=Counter(self.requests) + Counter(other.requests), **sums)

    @property
    def reads_per_settled(self) -> float | None:
        """Status reads, single ones and lists, per settled run; None before the first."""
        return (self.polls + self.sweeps) / self.settled if self.settled else None

    @property
    def detection_delay(self) -> float | None:
        """Mean seconds from the end of a run to when it was known here, where that is told."""
        return self.unnoticed_for / self.noticed if self.noticed else None

    @property
    def requests_per_settled(self) -> float | None:
        """Requests of all kinds per settled run; None before the first."""
        return sum(self.requests.values()) / self.settled if self.settled else None


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
