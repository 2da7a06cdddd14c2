"""What the steps of a probe share."""

import secrets
from typing import Any

import attrs

from refold_async._checks import check_count, check_header, check_id, seconds_from_zero
from refold_async.probe._asking import Asker
from refold_async.probe._findings import Notes


class StoppedError(Exception):
    """Nothing more can be asked: says why."""


def _workflow(value: str) -> str:
    return check_id(value, "workflow_id")


def _slug(value: str) -> str:
    return check_header(value, "slug")


def _patience(value: float) -> float:
    return seconds_from_zero(value, "patience")


def _idle(value: float) -> float:
    return seconds_from_zero(value, "idle")


def _requests(value: int) -> int:
    return check_count(value, "max_requests")


def _made_payload() -> dict[str, Any]:
    return {"refold_probe": secrets.token_hex(4)}


@attrs.frozen(kw_only=True)
class Work:
    """What a probe may do.

    Attributes:
        workflow_id: the workflow whose runs it starts; best one that does no harm and ends soon.
        slug: its application.
        payload: the input of the runs; what the nodes show of it tells the body form.
        sync: whether to start a sync run as well.
        rerun: whether to start a run again as well.
        max_requests: how many requests may be made in all.
        patience: the longest to wait for a run's end, in seconds.
        idle: the longest to leave a connection idle, in seconds.
    """

    workflow_id: str = attrs.field(converter=_workflow)
    slug: str = attrs.field(converter=_slug)
    payload: dict[str, Any] = attrs.field(factory=_made_payload)
    sync: bool = False
    rerun: bool = False
    max_requests: int = attrs.field(default=60, converter=_requests)
    patience: float = attrs.field(default=30.0, converter=_patience)
    idle: float = attrs.field(default=10.0, converter=_idle)

    @property
    def runs(self) -> int:
        """How many runs are started at most."""
        return 2 + self.sync + self.rerun


@attrs.define(eq=False, kw_only=True)
class Scene:
    """What is known so far.

    Attributes:
        asker: asks.
        notes: what was found.
        work: what may be done.
        reserved: requests that are not spent on looking at the first run.
        limit: the `limit` that lists take for sure.
        token: a session token of the account.
        execution_ids: the runs that were started.
        uncertain: what to look for: starts of which nobody knows whether they happened.
        tag: the tag of the first run.
        first: the id of the first run.
        document: what was read of it last.
        failures: what had no answer, or none of use.
    """

    asker: Asker
    notes: Notes
    work: Work
    reserved: int
    limit: int = 10
    token: str | None = None
    execution_ids: list[str] = attrs.field(factory=list)
    uncertain: list[str] = attrs.field(factory=list)
    tag: str = attrs.field(factory=lambda: f"refold-probe-{secrets.token_hex(8)}")
    first: str | None = None
    document: dict[str, Any] = attrs.field(factory=dict)
    failures: list[str] = attrs.field(factory=list)

    @property
    def nobody(self) -> str:
        """A name that nobody has."""
        return f"refold-probe-{secrets.token_hex(6)}"
