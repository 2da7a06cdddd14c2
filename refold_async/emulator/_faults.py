"""What goes wrong, scripted request by request."""

import random
from collections import Counter, deque
from collections.abc import Mapping
from typing import Any, Literal

import attrs

from ._replies import Reply, html_reply, json_reply, raw_reply, refusal
from ._seconds import check_seconds

OPERATIONS = frozenset(
    {
        "execute",
        "execute_v1",
        "get_execution",
        "get_response",
        "list_executions",
        "stop",
        "rerun",
        "list_batches",
        "list_workflows",
        "get_workflow",
        "enabled_workflows",
        "request_structure",
        "create_session_token",
        "create_webhook",
        "list_webhooks",
        "get_webhook",
        "update_webhook",
        "delete_webhook",
        "edit_webhook_group",
        "revoke_session_token",
        "trigger_event",
        "unknown",
    }
)
ANY = "*"
_READS = frozenset({"get_execution", "get_response"})


def _final_status(_: object, __: object, status: int | None) -> None:
    if status is not None and status not in range(200, 600):
        raise ValueError(f"an answer has an HTTP status from 200 to 599, not {status!r}")


def _one_line_each(_: object, __: object, headers: Mapping[str, str]) -> None:
    for name, value in headers.items():
        if not f"{name}{value}".isprintable():
            raise ValueError(f"a header is one line of text, not {name!r}: {value!r}")


def _seconds(_: object, __: object, seconds: float) -> None:
    check_seconds(seconds, "an answer is delayed by")


@attrs.frozen(kw_only=True)
class Fault:
    """One thing that goes wrong with one request.

    With a `status`, a `body` or `html` the answer is a false one, and the operation happens only
    with `perform`. Without them the operation happens and its true answer is slowed down, cut or
    given more headers.

    Attributes:
        status: HTTP status of the false answer; 502 for a page, 200 for a body if left out.
        body: Its body: text or bytes as they are, anything else as JSON. Without one the service's
            documented envelope for the status.
        headers: Headers added to the answer, or replaced in it.
        html: The answer is the page a proxy shows.
        delay: Seconds before the answer begins, or before the connection is cut. The operation, if
            it happens, happens before.
        drop: The connection is reset without an answer, `before` the operation happened or `after`.
        truncate: The answer announces its full length, carries half of it, and is cut.
        perform: The operation happens although the answer is a false one.
    """

    status: int | None = attrs.field(default=None, validator=_final_status)
    body: Any = None
    headers: Mapping[str, str] = attrs.field(factory=dict, validator=_one_line_each)
    html: bool = False
    delay: float = attrs.field(default=0.0, validator=_seconds)
    drop: Literal["before", "after"] | None = None
    truncate: bool = False
    perform: bool = False

    def __attrs_post_init__(self) -> None:
        reply = self.false_reply()  # one that can't be written fails here, not on the wire
        if self.drop is not None and (reply is not None or self.truncate):
            raise ValueError("a dropped connection carries no answer: leave the rest out")
        if self.drop == "before" and self.perform:
            raise ValueError('an operation that is performed is dropped "after"')

    @property
    def performs(self) -> bool:
        """Whether the operation happens."""
        if self.drop is not None:
            return self.drop == "after"
        return self.perform or self.false_reply() is None

    def false_reply(self) -> Reply | None:
        """The answer that takes the true one's place, None if that is sent."""
        if self.html:
            return html_reply(self.status or 502)
        if isinstance(self.body, str | bytes):
            return raw_reply(self.body, self.status or 200)
        if self.body is not None:
            return json_reply(self.body, self.status or 200)
        return None if self.status is None else refusal(self.status)


class Faults:
    """The script of what goes wrong, looked up once per request.

    Operations are named as in `Emulator.requests`; `"*"` stands for all. The first rule that has
    something to say decides: `script` (the operation's, then that of `"*"`), `first_reads`,
    `always` (the operation's, then that of `"*"`), `share` in the order they were given.
    """

    def __init__(self) -> None:
        self._scripts: dict[str, deque[Fault | None]] = {}
        self._always: dict[str, Fault] = {}
        self._shares: list[tuple[str, Fault, float, random.Random]] = []
        self._first_reads: tuple[int, Fault] | None = None
        self._reads: Counter[str] = Counter()

    def script(self, operation: str, *faults: Fault | None) -> None:
        """Say what happens to the next requests, one after the other; None is no fault at all."""
        self._scripts.setdefault(_known(operation), deque()).extend(faults)

    def always(self, operation: str, fault: Fault) -> None:
        """Let every request of an operation meet this fault."""
        self._always[_known(operation)] = fault

    def share(self, operation: str, fault: Fault, *, share: float, seed: int = 1) -> None:
        """Let a pseudo-random share (0 to 1) meet this fault, the same ones for the same seed."""
        self._shares.append((_known(operation), fault, share, random.Random(seed)))

    def first_reads(self, reads: int, fault: Fault) -> None:
        """Let the first reads of every execution meet this fault, document and response alike."""
        self._first_reads = (reads, fault)
        self._reads.clear()

    def clear(self) -> None:
        """Forget all rules: nothing goes wrong any more."""
        self._scripts.clear()
        self._always.clear()
        self._shares.clear()
        self._first_reads = None
        self._reads.clear()

    def next(self, operation: str, execution_id: str | None = None) -> Fault | None:
        """The fault this request meets, or None; takes it off the script."""
        for name in (operation, ANY):
            if script := self._scripts.get(name):
                return script.popleft()
        if self._first_reads is not None and execution_id is not None and operation in _READS:
            reads, fault = self._first_reads
            self._reads[execution_id] += 1
            if self._reads[execution_id] <= reads:
                return fault
        return self._always.get(operation) or self._always.get(ANY) or self._drawn(operation)

    def _drawn(self, operation: str) -> Fault | None:
        met = None
        for name, fault, share, draw in self._shares:
            # Every rule draws for every request of its own, so that none shifts another's sequence.
            if name in {operation, ANY} and draw.random() < share and met is None:
                met = fault
        return met


def _known(operation: str) -> str:
    if operation != ANY and operation not in OPERATIONS:
        raise ValueError(f"no operation {operation!r}; there are {sorted(OPERATIONS)} and '*'")
    return operation
