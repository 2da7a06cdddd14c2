"""One run as a pure function of time: nothing here waits, sleeps or talks."""

from typing import Any

import attrs

from ._workflows import Outcome, Workflow

TERMINAL = frozenset({"COMPLETED", "ERRORED", "STOPPED", "TIMED_OUT", "TERMINATED"})

_NODE_ENDINGS = {
    "ERRORED": "Errored",
    "STOPPED": "Stopped",
    "TERMINATED": "Stopped",
    "TIMED_OUT": "Timed_Out",
    "WAITING": "Waiting",
}


@attrs.frozen
class Progress:
    """Where a run stands at one moment.

    Attributes:
        status: The run's status.
        position: Nodes passed, a fraction included: 1.5 is halfway through the second node.
        node: Index of the node that runs, or ran last.
        nodes: How many nodes the workflow has.
    """

    status: str
    position: float
    node: int
    nodes: int

    @property
    def percentage(self) -> int:
        """How much is done, 0 to 100; 100 for a completed run only."""
        if self.status == "COMPLETED":
            return 100
        return min(99, int(100 * self.position / self.nodes))

    def node_status(self, index: int) -> str:
        """The status of one node: Waiting for its turn, Ready and running, or how it ended."""
        if self.status == "COMPLETED" or index < self.node:
            return "Success"
        return "Waiting" if index > self.node else _NODE_ENDINGS.get(self.status, "Ready")


@attrs.define(eq=False, kw_only=True)
class Run:
    """One execution, the emulator's own truth about it. Times are epoch seconds.

    Attributes:
        execution_id: The id the service gave it.
        workflow: What it runs.
        linked_account_id: Whose run it is.
        config_id: The configuration it was started with.
        payload: What it was started with.
        instance_tag: The label put on it, or None.
        sync: Whether the caller holds the connection until it ends.
        created_at: When it was accepted.
        begins_at: When it leaves the queue.
        duration: The seconds it takes from then on, None without an end.
        ends_at: When it ends, None if nobody knows.
        ending: The status it has from then on.
        stopping_since: When somebody asked to stop it, or None.
        undecided: Whether its function is a coroutine that is under way.
        outcome: What its function answered.
        rerun_of: The execution it repeats, or None.
        event: The event that started it, or None.
    """

    execution_id: str
    workflow: Workflow
    linked_account_id: str
    config_id: str
    payload: dict[str, Any]
    instance_tag: str | None
    sync: bool
    created_at: float
    begins_at: float
    duration: float | None
    ends_at: float | None
    ending: str
    stopping_since: float | None = None
    undecided: bool = False
    outcome: Outcome
    rerun_of: str | None = None
    event: str | None = None

    @property
    def workflow_id(self) -> str:
        """The id of its workflow."""
        return self.workflow.workflow_id

    def status(self, now: float) -> str:
        """The status at a moment."""
        if self.ends_at is not None and now >= self.ends_at:
            return self.ending
        if self.stopping_since is not None and now >= self.stopping_since:
            return "STOPPING"
        return "QUEUED" if now < self.begins_at else "RUNNING"

    def is_over(self, now: float) -> bool:
        """Whether the status is one that nothing follows."""
        return self.status(now) in TERMINAL

    def changed_at(self, now: float) -> float:
        """When its status changed last."""
        moments = (self.created_at, self.begins_at, self.stopping_since, self.ends_at)
        return max(moment for moment in moments if moment is not None and moment <= now)

    def seconds(self, now: float) -> float:
        """How long it has run, without the time in the queue."""
        end = now if self.ends_at is None else min(now, self.ends_at)
        return max(0.0, end - self.begins_at)

    def progress(self, now: float) -> Progress:
        """Where it stands: its time is spread evenly over the nodes that get to run."""
        status, nodes = self.status(now), len(self.workflow.nodes)
        if status == "COMPLETED":
            return Progress(status, nodes, nodes - 1, nodes)
        if self.duration is None or (self.undecided and not self.duration):
            return Progress(status, 0.0, 0, nodes)
        share = min(1.0, self.seconds(now) / self.duration) if self.duration else 1.0
        position = share * (self.outcome.stops_at + 1)
        return Progress(status, position, min(int(position), self.outcome.stops_at), nodes)

    def output(self, now: float) -> Any:
        """The Response node's data once the run has completed, else None."""
        return self.outcome.output if self.status(now) == "COMPLETED" else None

    def stop(self, now: float, *, takes: float) -> None:
        """Ask it to stop; asking again changes nothing."""
        if self.stopping_since is None:
            self.stopping_since, self.ending, self.ends_at = now, "STOPPED", now + takes

    def decide(self, outcome: Outcome, now: float) -> None:
        """Take what its coroutine came to; a run that was ended otherwise keeps that ending."""
        self.undecided = False
        if self.ends_at is not None:
            return
        self.outcome, self.ending = outcome, outcome.status
        if self.duration is not None:
            self.ends_at = max(now, self.begins_at + self.duration)
            self.duration = self.ends_at - self.begins_at

    def finish(self, now: float, *, status: str | None) -> None:
        """End it now, with the ending its function gave or another; an ended run keeps its own.

        A coroutine that is under way is waited for, if its ending is asked for.
        """
        if self.is_over(now):
            return
        if status is None:
            self.duration = max(0.0, now - self.begins_at)
        if status is not None or not self.undecided:
            self.ending, self.ends_at = status or self.outcome.status, now
