"""The workflows and runs of one Refold, found by id, account and time."""

import math
import secrets
from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import Awaitable, Callable
from itertools import count
from operator import attrgetter
from typing import Any

from ._behaviour import Behaviour
from ._runs import Run
from ._workflows import Outcome, Workflow

_created_at = attrgetter("created_at")


class State:
    """All workflows and runs of one Refold.

    Args:
        behaviour: What the service does where its documentation is silent.
        now: The server's clock in epoch seconds.
        when_decided: Is handed each run of a coroutine with what it will come to.
    """

    def __init__(
        self,
        behaviour: Behaviour,
        now: Callable[[], float],
        when_decided: Callable[[Run, Awaitable[Outcome]], None],
    ) -> None:
        self.now = now
        self.started: Callable[[Run], None] = lambda _: None  # who is told of each new run
        # Who is told of each run whose end has changed.
        self.changed: Callable[[Run], None] = lambda _: None
        self._when_decided = when_decided
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
        event: str | None = None,
    ) -> Run:
        """Start a run: its function is called now, what it answered shows when its time is over."""
        # The wire tells milliseconds: a finer time would not be found by the one it told.
        now = math.floor(self.now() * 1000) / 1000
        answer, duration = workflow.enact(payload)
        outcome = answer if isinstance(answer, Outcome) else workflow.undecided
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
            ends_at=None if outcome is not answer or duration is None else begins_at + duration,
            ending=outcome.status,
            undecided=outcome is not answer,
            outcome=outcome,
            rerun_of=rerun_of,
            event=event,
        )
        self._file(run)
        if not isinstance(answer, Outcome):
            self._when_decided(run, answer)
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
            return f"{int(created_at) & 0xFFFFFFFF:08x}{self._server_id}{number & 0xFFFFFF:06x}"
        return f"run_{self._server_id}_{number}"


def between(runs: list[Run], start: float, end: float) -> range:
    """The positions of the runs created from `start` to `end`, both included."""
    return range(
        bisect_left(runs, start, key=_created_at),
        bisect_right(runs, end, key=_created_at),
    )
