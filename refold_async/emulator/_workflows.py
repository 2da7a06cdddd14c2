"""Workflows as functions, plain or async: what they take, what they answer, how they fail."""

import asyncio
import contextlib
import inspect
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

import attrs

from ._seconds import check_seconds
from ._strict_json import plain

logger = logging.getLogger("refold_async.emulator")

WorkflowFunction = Callable[[dict[str, Any]], Any]
Duration = float | None | Callable[[dict[str, Any]], float | None]

RESPONSE_NODE = "Response"
_PASSED_ON = (KeyboardInterrupt, SystemExit)  # they end the process, not a run


def _final_status(_: object, __: object, status: int) -> None:
    if status not in range(200, 600):
        raise ValueError(f"a Response node sets an HTTP status from 200 to 599, not {status!r}")


@attrs.frozen(kw_only=True)
class Respond:
    """What a Response node answers when it sets a status of its own.

    On a sync run `status` becomes the HTTP status and `status_code`; on an async run it is lost and
    the run is COMPLETED all the same.

    Attributes:
        status: An HTTP status, 4xx and 5xx included.
        data: The JSON value that is the run's output.
    """

    status: int = attrs.field(default=200, validator=_final_status)
    data: Any = None


class NodeFailed(Exception):  # noqa: N818 - reads as what happened: `raise NodeFailed(...)`
    """Raised by a workflow function: one node fails, and the run ends ERRORED there."""

    def __init__(self, *, node: str, message: str) -> None:
        super().__init__(message)
        self.node = node
        self.message = message


@attrs.frozen(kw_only=True)
class Outcome:
    """How a run will end, known from its start and revealed when its time is over.

    Attributes:
        status: The run's last status.
        output: The Response node's data.
        status_code: The status the Response node set.
        error: Why the run ended badly.
        stops_at: Index of the last node that runs.
    """

    status: str
    output: Any = None
    status_code: int | None = None
    error: str | None = None
    stops_at: int


def check_duration(seconds: object) -> None:
    """Refuse what is no number of seconds.

    Raises:
        ValueError: It is neither None nor a number from 0 on.
    """
    if seconds is not None:
        check_seconds(seconds, "a run takes None or")


class WorkflowError(ValueError):
    """A workflow can't be made like this; says which function, and what it should be."""


def _refusal(workflow: Any, why: str) -> WorkflowError:
    name = getattr(workflow.function, "__qualname__", None) or repr(workflow.function)
    return WorkflowError(f"workflow {workflow.workflow_id!r}, function {name}: {why}")


def _text(workflow: Any, field: Any, value: Any) -> None:
    if not isinstance(value, str) or not value:
        raise _refusal(workflow, f"{field.name} is text that is not empty, not {value!r}")


def _takes_a_payload(workflow: Any, _: object, function: Any) -> None:
    if not callable(function):
        raise _refusal(workflow, "a workflow is a function from its payload to its output")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise _refusal(workflow, "a workflow returns its output, and yields nothing")
    try:
        signature = inspect.signature(function)
    except ValueError:  # `dict` and others of C tell none
        return
    try:
        signature.bind({})
    except TypeError as error:
        why = f"a workflow is called with its payload and nothing else: {error}"
        raise _refusal(workflow, why) from None


def _duration(workflow: Any, _: object, duration: Duration) -> None:
    try:
        if not callable(duration):
            check_duration(duration)
    except ValueError as error:
        raise _refusal(workflow, str(error)) from None


def _of_nodes(workflow: Any, _: object, batches: Mapping[str, Any]) -> None:
    if strange := sorted(batches.keys() - set(workflow.nodes)):
        why = f"batches belong to nodes by name; there is no node {strange[0]!r}"
        raise _refusal(workflow, why)


def _distinct(workflow: Any, _: object, nodes: tuple[str, ...]) -> None:
    if not nodes or len(set(nodes)) != len(nodes):
        why = f"a workflow needs one or more nodes with distinct names, not {nodes!r}"
        raise _refusal(workflow, why)


@attrs.frozen(kw_only=True, eq=False)
class Workflow:
    """One workflow: a function and what the service knows about it.

    Attributes:
        workflow_id: Its id.
        function: From payload to output.
        slug: The application it belongs to.
        alias: Another name that works as its id.
        name: Its title.
        duration: Seconds a run takes, or a function from payload to seconds; None runs until it is
            finished by hand.
        published: Whether it can be run.
        accounts: The linked accounts that own it; None for all.
        schema: A JSON Schema its payload must meet.
        nodes: Its nodes in order.
        has_group_node: Whether it refuses sync runs.
        ends: How a run ends whose function returns.
        batches: The batches of nodes by the nodes' names.
        validator: What checks payloads against `schema`, or None.
    """

    workflow_id: str = attrs.field(validator=_text)
    function: WorkflowFunction = attrs.field(validator=_takes_a_payload)
    slug: str = attrs.field(validator=_text)
    alias: str | None = None
    name: str
    duration: Duration = attrs.field(default=0.0, validator=_duration)
    published: bool = True
    accounts: frozenset[str] | None = None
    schema: Mapping[str, Any] | None = None
    nodes: tuple[str, ...] = attrs.field(validator=_distinct)
    has_group_node: bool = False
    ends: str = "COMPLETED"
    batches: Mapping[str, Sequence[Any]] = attrs.field(factory=dict, validator=_of_nodes)
    validator: Any = attrs.field(init=False, repr=False)

    @validator.default
    def _make_validator(self) -> Any:
        return None if self.schema is None else _schema_validator(self.schema)

    @property
    def answers(self) -> bool:
        """Whether the workflow has a Response node; without one a run has no output."""
        return RESPONSE_NODE in self.nodes

    def owned_by(self, account: str | None) -> bool:
        """Whether a linked account may run it; True for no account."""
        return account is None or self.accounts is None or account in self.accounts

    def seconds(self, payload: dict[str, Any]) -> float | None:
        """How long a run with this payload takes; None runs until it is finished by hand.

        Raises:
            ValueError: The function that tells it gives no duration.
        """
        if not callable(self.duration):
            return self.duration
        seconds = self.duration(payload)
        check_duration(seconds)
        return seconds

    def complaints(self, payload: dict[str, Any]) -> list[tuple[str, str]]:
        """What the JSON Schema finds wrong with a payload, as (field, message) pairs."""
        if self.validator is None:
            return []
        found: Iterable[Any] = self.validator.iter_errors(payload)
        try:
            return [(".".join(map(str, error.absolute_path)), error.message) for error in found]
        except RecursionError:
            return [("", "is nested too deeply for this schema")]

    def enact(self, payload: dict[str, Any]) -> tuple[Outcome | Awaitable[Outcome], float | None]:
        """Call the function; give how the run will end, and the seconds it takes at least."""
        try:
            seconds = self.seconds(payload)
        except _PASSED_ON:
            raise
        except BaseException as error:  # noqa: BLE001 - a mistake in it is the run's ending, too
            return self.failed(
                f"duration of workflow {self.workflow_id!r}: {_said(error, repr)}"
            ), 0.0
        return self.perform(payload), seconds

    def perform(self, payload: dict[str, Any]) -> Outcome | Awaitable[Outcome]:
        """Call the function and give how the run will end, once a coroutine has."""
        try:
            answer = self.function(plain(payload))  # its own, to do with as it likes
        except _PASSED_ON:
            raise
        except BaseException as error:  # noqa: BLE001 - whatever it raises is the run's ending
            return self._raised(error)
        return self._awaited(answer) if inspect.isawaitable(answer) else self._returned(answer)

    async def _awaited(self, answer: Awaitable[Any]) -> Outcome:
        try:
            return self._returned(await answer)
        except (*_PASSED_ON, asyncio.CancelledError):
            raise
        except BaseException as error:  # noqa: BLE001 - as above
            return self._raised(error)

    def _raised(self, error: BaseException) -> Outcome:
        if isinstance(error, NodeFailed):
            return self.failed(error.message, error.node)
        with contextlib.suppress(Exception):  # what it raised may be of any kind
            logger.warning(
                "the function of workflow %r raised, so its run fails; where that is meant, raise"
                " NodeFailed",
                self.workflow_id,
                exc_info=error,
            )
        return self.failed(_said(error))

    def _returned(self, answer: Any) -> Outcome:
        if self.ends != "COMPLETED":
            return self.failed(f"Workflow ended {self.ends}", status=self.ends)
        return self._completed(answer if isinstance(answer, Respond) else Respond(data=answer))

    def _completed(self, answer: Respond) -> Outcome:
        try:
            output = plain(answer.data)
        except ValueError as error:
            return self.failed(f"workflow {self.workflow_id!r} returned no JSON: {error}")
        return Outcome(
            status="COMPLETED",
            output=output if self.answers else None,
            status_code=answer.status,
            stops_at=len(self.nodes) - 1,
        )

    @property
    def undecided(self) -> Outcome:
        """What holds for a run until its coroutine has come to an end."""
        return Outcome(status="COMPLETED", stops_at=len(self.nodes) - 1)

    def failed(self, error: str, node: str | None = None, *, status: str = "ERRORED") -> Outcome:
        """An ending at a node; at the middle one if there is none of that name."""
        stops_at = self.nodes.index(node) if node in self.nodes else len(self.nodes) // 2
        return Outcome(status=status, error=error, stops_at=stops_at)


def _schema_validator(schema: Mapping[str, Any]) -> Any:
    try:
        from jsonschema.validators import validator_for  # noqa: PLC0415 - an optional dependency
    except ImportError as error:
        raise RuntimeError(
            'a workflow with a schema needs jsonschema: pip install "refold-async[emulator]"'
        ) from error
    kind = validator_for(schema)
    kind.check_schema(dict(schema))
    return kind(dict(schema))


def _said(error: BaseException, how: Callable[[BaseException], str] = str) -> str:
    """Give what an error says, if it can."""
    try:
        return how(error) or repr(error)
    except Exception:  # noqa: BLE001 - a mistake in the mistake
        return f"{type(error).__name__}, which can't be shown"
