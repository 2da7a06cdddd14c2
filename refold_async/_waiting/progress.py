"""What the looks at one run have shown so far."""

from __future__ import annotations

import math

import attrs

from refold_async._errors import RefoldError, clip
from refold_async._models import Execution, ExecutionStatus

_MAX_ERROR = 200


@attrs.define(eq=False, repr=False)
class Progress:
    """The state of a run as last seen, and how looks at it fare. Times are monotonic seconds."""

    snapshot: Execution | None = None
    listed: bool = False  # the snapshot is an entry of a list: without nodes
    status: ExecutionStatus | None = None  # the last one seen, wherever
    looks: int = 0  # single ones
    failing_since: float | None = None  # None while looks succeed
    not_before: float = -math.inf  # the service asked not to look earlier
    last_look_at: float | None = None  # the last look that succeeded
    seen_at: float | None = None  # the last that showed the snapshot as it is
    node_since: float | None = None  # the first look that saw the run at its current node
    failed_looks: int = 0  # since the last one that succeeded
    last_error: str | None = None  # what the last of them failed with

    @property
    def ended(self) -> bool:
        """Whether the run was seen to be over."""
        return self.snapshot is not None and self.snapshot.status.is_terminal

    def heard(self, status: ExecutionStatus, now: float) -> None:
        """Note a look that succeeded, and the status it told."""
        self.status = status
        self.last_look_at, self.failing_since = now, None
        self.failed_looks, self.last_error = 0, None

    def saw(self, run: Execution, now: float) -> Execution:
        """Note the document of the run; give the snapshot, which stays if nothing has changed."""
        self.heard(run.status, now)
        self.seen_at = now
        if self.snapshot is None or self.listed or run.raw != self.snapshot.raw:
            place = _place(run)
            if place is None:
                self.node_since = None
            elif self.snapshot is None or place != _place(self.snapshot):
                self.node_since = now
            self.snapshot, self.listed = run, False
        return self.snapshot

    def saw_listed(self, entry: Execution, now: float) -> None:
        """Note an entry of a list; it takes no nodes away unless it tells another status."""
        self.heard(entry.status, now)
        known = self.snapshot
        if known is None or self.listed or known.status != entry.status:
            self.snapshot, self.listed, self.seen_at = entry, True, now

    def missed(self, error: RefoldError) -> None:
        """Note a look that failed."""
        self.failed_looks += 1
        self.last_error = clip(f"{type(error).__name__}: {error.describe()}", _MAX_ERROR)

    def forget_failures(self) -> None:
        """Begin with a full budget again."""
        self.failing_since = None


def _place(run: Execution) -> str | int | None:
    """Tell at which node a run stands."""
    node = run.current_node
    return None if node is None else node.node_id or node.name or run.nodes.index(node)
