"""What a batch takes and gives, as frozen values: requests, items, progress."""

from enum import StrEnum
from typing import Any, Generic

import attrs

from refold_async._checks import Seconds
from refold_async._config import RetryPolicy
from refold_async._errors import ApiError, RefoldError, clip
from refold_async._handle import ExecutionHandle
from refold_async._models import ExecutionError, ExecutionResult, Out_co
from refold_async._typed import Payload, TypedWorkflow


def _taken(payload: Payload) -> Any:
    """Say by its type what a payload may be; whoever reads it knows what it is."""
    return payload


@attrs.frozen
class ExecutionRequest(Generic[Out_co]):
    """The arguments of `RefoldClient.execute` as a value, for `map` and `run_batch`.

    Nothing is checked here: an item whose request is wrong is `rejected`.

    Attributes:
        workflow_id: id of a published workflow, or its alias.
        slug: the application the workflow belongs to.
        payload: the input, as of `execute`; don't change it before its item is yielded.
        sync: hold the connection until the workflow ends.
        linked_account_id: for whom, if not for the client's own account.
        config_id: which configuration; the service's default is the linked account's.
        instance_tag: a label for the run; without one a unique one is made. With a journal, a
            label keeps an uncertain item from being looked up: it stays `unknown`.
        unique_tag: say that no other call ever uses this `instance_tag`.
        include_headers: have the sanitised request headers in the result.
        timeout: seconds (or a timedelta) for all of the item: start and wait, as of
            `RefoldClient.run`; with `wait=False` for the start.
        retry: another policy than the client's for this item.
        key: your own id for the item; without one it is the item's index as text. It is what a
            journal knows the item by, as `once` is for `execute`, and counts in that journal alone.
        types: what writes the payload and reads the output, as `BoundWorkflow.request` sets it.
    """

    workflow_id: str
    slug: str = attrs.field(kw_only=True)
    payload: Any = attrs.field(default=None, kw_only=True, repr=False, converter=_taken)
    sync: bool = attrs.field(default=False, kw_only=True)
    linked_account_id: str | None = attrs.field(default=None, kw_only=True)
    config_id: str | None = attrs.field(default=None, kw_only=True)
    instance_tag: str | None = attrs.field(default=None, kw_only=True)
    unique_tag: bool = attrs.field(default=False, kw_only=True)
    include_headers: bool = attrs.field(default=False, kw_only=True)
    timeout: Seconds | None = attrs.field(default=None, kw_only=True)
    retry: RetryPolicy | None = attrs.field(default=None, kw_only=True)
    key: str | None = attrs.field(default=None, kw_only=True)
    types: TypedWorkflow[Any, Out_co] | None = attrs.field(default=None, kw_only=True, repr=False)


class BatchOutcome(StrEnum):
    """How an item of a batch ended; each ends in exactly one of these."""

    SUCCEEDED = "succeeded"
    """The run completed, and its Response node set no error status; with `wait=False`: it began,
    and how it ended is not known (of a sync run it is)."""
    FAILED = "failed"
    """The run ended badly, or its Response node set 4xx or 5xx."""
    UNKNOWN = "unknown"
    """It may have run, or how its run ended could not be learned."""
    REJECTED = "rejected"
    """The request is wrong or the service refused it, so nothing ran (under a key that a journal
    knows as another request, that one may have)."""
    UNSENT = "unsent"
    """It never left, so nothing ran."""


@attrs.frozen(kw_only=True)
class BatchItem(Generic[Out_co]):
    """One item of a batch and what became of it.

    Attributes:
        index: its place in the input, from 0.
        key: the request's `key`, or the index as text.
        request: what was asked for, as it stood in the input.
        outcome: how it ended.
        handle: the handle of its run, where one is known; `unknown` items have one too if the run
            is known and only its end is not.
        result: how the run ended, where that is known; of a run that failed too.
        error: why it did not succeed; None for an item that did, unless its output does not fit
            its type (`OutputError`), or could not be read though its end is known.
        seconds: from its start to its end, or None if it was not begun.
        resumed: whether its run was started by an earlier process with the same journal.
    """

    index: int
    key: str
    request: ExecutionRequest[Out_co]
    outcome: BatchOutcome
    handle: ExecutionHandle[Out_co] | None = None
    result: ExecutionResult[Out_co] | None = None
    error: Exception | None = None
    seconds: float | None = None
    resumed: bool = False

    @property
    def output(self) -> Out_co:
        """What its run returned, of the type its workflow says.

        Raises:
            Exception: there is none of that type: the item's `error`, whatever it is.
            RefoldError: the batch did not wait for it (`wait=False`) or read it (`output=False`).
        """
        if self.error is not None:
            raise self.error
        if self.result is None:
            raise RefoldError(
                f"the run of item {self.key} was not waited for (wait=False), so its output is not"
                " known; `await item.handle` waits for it"
            )
        return self.result.output

    @property
    def execution_id(self) -> str | None:
        """The item's run, where one is known."""
        return self.handle.execution_id if self.handle is not None else None

    @property
    def failed_node(self) -> str | None:
        """The name (or id) of the node its run failed at, where the service told."""
        node = self.error.failed_node if isinstance(self.error, ExecutionError) else None
        return None if node is None else clip(node.name or node.node_id, 80)

    def document(self) -> dict[str, Any]:
        """Give the item as a JSON object, as `BatchReport.to_jsonl` writes it.

        It holds the output of the run, and neither the payload nor a credential.
        """
        error: dict[str, Any] | None = None
        if self.error is not None:
            error = {"type": type(self.error).__name__, "message": str(self.error)}
            if self.failed_node is not None:
                error["node"] = self.failed_node
            if isinstance(self.error, ApiError):
                error["status"] = self.error.status
        return document(
            index=self.index,
            key=self.key,
            outcome=self.outcome,
            workflow_id=getattr(self.request, "workflow_id", None),  # whatever stood in the input
            execution_id=self.execution_id,
            result=self.result,
            seconds=self.seconds,
            resumed=self.resumed,
            possible_duplicate=self.handle is not None and self.handle.possible_duplicate,
            error=error,
        )


def document(
    *,
    index: int,
    key: str,
    outcome: str,
    workflow_id: str | None,
    execution_id: str | None,
    result: ExecutionResult[Any] | None,
    seconds: float | None,
    resumed: bool,
    possible_duplicate: bool,
    error: dict[str, Any] | None,
) -> dict[str, Any]:
    """Give what is known of an item as a JSON object."""
    return {
        "index": index,
        "key": key,
        "outcome": str(outcome),
        "workflow_id": workflow_id,
        "execution_id": execution_id,
        "status": None if result is None else str(result.status),
        "status_code": None if result is None else result.status_code,
        "output": result.json_output if result is not None and result.output_is_read else None,
        "seconds": None if seconds is None else round(seconds, 3),
        "resumed": resumed,
        "possible_duplicate": possible_duplicate,
        "error": error and {**error, "message": clip(error["message"], 1000)},
    }


@attrs.frozen(kw_only=True)
class BatchProgress:
    """How far a batch is, at one moment.

    Attributes:
        done: items that have ended, in whatever way.
        succeeded: how many of them succeeded; the other outcomes likewise.
        failed: see `BatchOutcome`.
        unknown: see `BatchOutcome`.
        rejected: see `BatchOutcome`.
        unsent: see `BatchOutcome`.
        started: items whose run is known to have begun, those that have ended among them.
        running: items under way whose run is known to have begun.
        seconds: since the batch began.
        rate: items that end per second, over the last ten seconds.
        start_rate: runs that begin per second, over the last ten seconds.
        lag: seconds from the begin of a run to its end, as things stand: as many have ended by now
            as had begun so long ago; 0 before the first.
        since_start: seconds since the last run began.
    """

    done: int = 0
    succeeded: int = 0
    failed: int = 0
    unknown: int = 0
    rejected: int = 0
    unsent: int = 0
    started: int = 0
    running: int = 0
    seconds: float = 0.0
    rate: float = 0.0
    start_rate: float = 0.0
    lag: float = 0.0
    since_start: float = 0.0
