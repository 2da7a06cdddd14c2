"""What the looks at one run have shown so far."""

from __future__ import annotations

import attrs

from refold_async._errors import RefoldError, clip
from refold_async._models import Execution, ExecutionStatus
from refold_async._protocol import Output

_MAX_ERROR = 200


@attrs.define(eq=False, repr=False)
class Progress:
    """The state of a run as last seen, and how looks at it fare. Times are monotonic seconds.

    Lists and documents may be behind each other. So a list that says the run is over is only a
    hint, and what a document has said of its end is not taken back.
    """

    document: Execution | None = None  # the last one that told something new
    entry: Execution | None = None  # of a list, if that told more than the document
    told: Execution | None = None  # an entry that says the run is over
    bad_ending: Output | None = None  # that the run was said to have; the document has the reason
    bad_since: float = 0.0  # when that was said first
    status: ExecutionStatus | None = None  # the last one seen, wherever
    looks: int = 0  # single ones
    failing_since: float | None = None  # None while looks succeed
    last_look_at: float | None = None  # the last look that succeeded
    seen_at: float | None = None  # the last that showed the snapshot as it is
    read_at: float | None = None  # the last that read the document
    node_since: float | None = None  # the first look that saw the run at its current node
    failed_looks: int = 0  # since the last one that succeeded
    last_error: str | None = None  # what the last of them failed with

    @property
    def snapshot(self) -> Execution | None:
        """The state of the run: the document, or an entry of a list, which has no nodes."""
        return self.entry or self.document

    @property
    def ended(self) -> bool:
        """Whether the document says that the run is over."""
        return self.document is not None and self.document.status.is_terminal

    @property
    def over(self) -> bool:
        """Whether anything says so: the document, or a list."""
        return self.ended or self.told is not None

    def heard(self, status: ExecutionStatus, now: float) -> None:
        """Note a look that succeeded, and the status it told."""
        self.status = status
        self.last_look_at, self.failing_since = now, None
        self.failed_looks, self.last_error = 0, None

    def heard_ended(self, output: Output, now: float) -> None:
        """Note that a run was said to have ended badly; the look goes on, and may yet fail."""
        if self.bad_ending is None:
            self.bad_since = now
        self.status, self.bad_ending = output.status, output

    def saw(self, run: Execution, now: float) -> Execution:
        """Note the document of the run; give what is known now, which stays if nothing is new."""
        known = self.document
        if known is not None and known.status.is_terminal and not run.status.is_terminal:
            run = known
        self.heard(run.status, now)
        self.seen_at = self.read_at = now
        self.entry = None
        if known is None or run.raw != known.raw:
            place = _place(run)
            if place is None:
                self.node_since = None
            elif known is None or place != _place(known):
                self.node_since = now
            self.document = known = run
        return known

    def saw_listed(self, entry: Execution, now: float) -> None:
        """Note an entry of a list; it takes no nodes away unless it tells another status."""
        if self.ended or self.told is not None:
            return
        if entry.status.is_terminal:
            self.told = entry
        self.heard(entry.status, now)
        if self.document is None or self.entry or self.document.status != entry.status:
            self.entry, self.seen_at = entry, now

    def missed(self, error: RefoldError, now: float) -> None:
        """Note a look that failed."""
        self.failed_looks += 1
        self.last_error = clip(f"{type(error).__name__}: {error.describe()}", _MAX_ERROR)
        if self.failing_since is None:
            self.failing_since = now

    def forget_failures(self) -> None:
        """Begin with a full budget again."""
        self.failing_since = None


def _place(run: Execution) -> str | int | None:
    """Tell at which node a run stands."""
    node = run.current_node
    return None if node is None else node.node_id or node.name or run.nodes.index(node)
