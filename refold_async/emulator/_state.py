"""The runs of a Refold, as pure functions of time: nothing here waits, sleeps or talks."""

import math
import secrets
from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import Callable
from itertools import count
from operator import attrgetter
from typing import Any

import attrs

from ._behaviour import Behaviour
from ._workflows import Outcome, Workflow

TERMINAL = frozenset({"COMPLETED", "ERRORED", "STOPPED", "TIMED_OUT", "TERMINATED"})

_NODE_ENDINGS = {
    "ERRORED": "Errored",
    "STOPPED": "Stopped",
    "TERMINATED": "Stopped",
    "TIMED_OUT": "Timed_Out",
    "WAITING": "Waiting",
}
_created_at = attrgetter("created_at")


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
        outcome: What its function answered.
        rerun_of: The execution it repeats, or None.
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
    outcome: Outcome
    rerun_of: str | None = None

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

    def seconds(self, now: float) -> float:
        """How long it has run, without the time in the queue."""
        end = now if self.ends_at is None else min(now, self.ends_at)
        return max(0.0, end - self.begins_at)

    def progress(self, now: float) -> Progress:
        """Where it stands: its time is spread evenly over the nodes that get to run."""
        status, nodes = self.status(now), len(self.workflow.nodes)
        if status == "COMPLETED":
            return Progress(status, nodes, nodes - 1, nodes)
        if self.duration is None:
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

    def finish(self, now: float, *, status: str | None) -> None:
        """End it now, with the ending its function gave or another; an ended run keeps its own."""
        if self.is_over(now):
            return
        if status is None:
            self.duration = max(0.0, now - self.begins_at)
        self.ending, self.ends_at = status or self.outcome.status, now


class State:
    """All workflows and runs of one Refold.

    Args:
        behaviour: What the service does where its documentation is silent.
        now: The server's clock in epoch seconds.
    """

    def __init__(self, behaviour: Behaviour, now: Callable[[], float]) -> None:
        self.now = now
        self.started: Callable[[Run], None] = lambda _: None  # who is told of each new run
        self.workflows: dict[str, Workflow] = {}
        self.runs: list[Run] = []
        self.tags: Counter[str] = Counter()
        self._behaviour = behaviour
        self._aliases: dict[str, str] = {}
        self._by_id: dict[str, Run] = {}
        # Runs by creation time, per account and per (account, workflow): a list is a slice of one.
        self._shelves: dict[str | tuple[str, str], list[Run]] = {}
        self._server_id = secrets.token_hex(5)
        self._numbers = count(secrets.randbelow(0x1000))

    def add(self, workflow: Workflow) -> None:
        """Make a workflow known under its id and its alias."""
        self.workflows[workflow.workflow_id] = workflow
        if workflow.alias is not None:
            self._aliases[workflow.alias] = workflow.workflow_id

    def workflow(self, id_or_alias: str) -> Workflow | None:
        """The workflow with this id or alias, or None."""
        return self.workflows.get(self._aliases.get(id_or_alias, id_or_alias))

    def run(self, execution_id: str) -> Run | None:
        """The run with this id, or None."""
        return self._by_id.get(execution_id)

    def start(
        self,
        workflow: Workflow,
        payload: dict[str, Any],
        *,
        account: str,
        config_id: str | None = None,
        instance_tag: str | None = None,
        sync: bool = False,
        rerun_of: str | None = None,
    ) -> Run:
        """Start a run: its function is called now, what it answered shows when its time is over."""
        # The wire tells milliseconds: a finer time would not be found by the one it told.
        now = math.floor(self.now() * 1000) / 1000
        outcome, duration = workflow.enact(payload)
        begins_at = now + self._behaviour.queued_for
        run = Run(
            execution_id=self._new_id(now),
            workflow=workflow,
            linked_account_id=account,
            config_id=config_id or account,
            payload=payload,
            instance_tag=instance_tag,
            sync=sync,
            created_at=now,
            begins_at=begins_at,
            duration=duration,
            ends_at=None if duration is None else begins_at + duration,
            ending=outcome.status,
            outcome=outcome,
            rerun_of=rerun_of,
        )
        self._file(run)
        return run

    def rerun(self, run: Run) -> Run:
        """Start a run with the payload of another."""
        return self.start(
            run.workflow,
            run.payload,
            account=run.linked_account_id,
            config_id=run.config_id,
            instance_tag=run.instance_tag if self._behaviour.rerun_keeps_tag else None,
            rerun_of=run.execution_id,
        )

    def listed(self, account: str, workflow_id: str | None = None) -> list[Run]:
        """An account's runs by creation time; the list is the state's own, don't change it."""
        return self._shelves.get(account if workflow_id is None else (account, workflow_id), [])

    def _file(self, run: Run) -> None:
        self.runs.append(run)
        self.started(run)
        self._by_id[run.execution_id] = run
        if run.instance_tag is not None:
            self.tags[run.instance_tag] += 1
        for name in (run.linked_account_id, (run.linked_account_id, run.workflow_id)):
            shelf = self._shelves.setdefault(name, [])
            if not shelf or shelf[-1].created_at <= run.created_at:
                shelf.append(run)
            else:  # the clock was set back
                insort(shelf, run, key=_created_at)

    def _new_id(self, created_at: float) -> str:
        number = next(self._numbers)
        if self._behaviour.object_ids:
            return f"{int(created_at):08x}{self._server_id}{number & 0xFFFFFF:06x}"
        return f"run_{self._server_id}_{number}"


def between(runs: list[Run], start: float, end: float) -> range:
    """The positions of the runs created from `start` to `end`, both included."""
    return range(
        bisect_left(runs, start, key=_created_at),
        bisect_right(runs, end, key=_created_at),
    )
