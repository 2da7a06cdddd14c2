"""What goes wrong, scripted request by request."""

import random
from collections import Counter, deque
from collections.abc import Iterable, Mapping
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

    def __str__(self) -> str:
        """Say what goes wrong: `503`, `502 as a page, performed`, `answer lost`."""
        if self.drop is not None:
            said = "reset before it happened" if self.drop == "before" else "answer lost"
        elif (reply := self.false_reply()) is not None:
            kind = " as a page" if self.html else ""
            said = f"{reply.status}{kind}{', performed' if self.perform else ''}"
        else:
            said = "cut in half" if self.truncate else "true answer"
        later = f", {self.delay:g} s late" if self.delay else ""
        headers = "".join(f", {name}: {value}" for name, value in self.headers.items())
        return f"{said}{later}{headers}"

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


_Share = tuple[str, Fault, float, random.Random]
"""Whose requests, what they meet, how many of them (0 to 1), and what draws them."""


class Faults:
    """The script of what goes wrong, looked up once per request.

    Operations are named as in `Emulator.requests`; `"*"` stands for all. The first rule that has
    something to say decides: those switched on in the emulator's page, `script` (the operation's,
    then that of `"*"`), `first_reads`, `always` (the operation's, then that of `"*"`), `share` in
    the order they were given. `print(emulator.faults)` lists them.
    """

    def __init__(self) -> None:
        self._scripts: dict[str, deque[Fault | None]] = {}
        self._always: dict[str, Fault] = {}
        self._shares: list[_Share] = []
        self._switched: dict[str, _Share] = {}
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

    def switch(self, name: str, operation: str, fault: Fault | None, *, share: float = 1.0) -> None:
        """Let a share (0 to 1) meet this fault before any other rule, or none any more: None.

        Args:
            name: What switches it off again.
            operation: Whose requests.
            fault: What goes wrong, or None.
            share: How many of them.
        """
        self._switched.pop(name, None)
        if fault is not None:
            self._switched[name] = (_known(operation), fault, share, random.Random(1))

    @property
    def switched(self) -> Mapping[str, float]:
        """What is switched on, by name, with its share."""
        return {name: share for name, (_, _, share, _) in [*self._switched.items()]}

    def __str__(self) -> str:
        """List all rules, one a line, but for those that are switched on."""
        lines = [
            f"next {operation}: {'none' if fault is None else fault}"
            for operation, script in [*self._scripts.items()]
            for fault in [*script]
        ]
        if self._first_reads is not None:
            lines.append("first {} reads of each run: {}".format(*self._first_reads))
        lines += [f"every {operation}: {fault}" for operation, fault in [*self._always.items()]]
        lines += [f"{share:.0%} of {name}: {fault}" for name, fault, share, _ in [*self._shares]]
        return "\n".join(lines)

    def clear(self) -> None:
        """Forget all rules: nothing goes wrong any more, what the page switched on included."""
        self._switched.clear()
        self._scripts.clear()
        self._always.clear()
        self._shares.clear()
        self._first_reads = None
        self._reads.clear()

    def next(self, operation: str, execution_id: str | None = None) -> Fault | None:
        """The fault this request meets, or None; takes it off the script."""
        if self._switched and (met := _drawn(self._switched.values(), operation)):
            return met
        for name in (operation, ANY):
            if script := self._scripts.get(name):
                return script.popleft()
        if self._first_reads is not None and execution_id is not None and operation in _READS:
            reads, fault = self._first_reads
            self._reads[execution_id] += 1
            if self._reads[execution_id] <= reads:
                return fault
        always = self._always.get(operation) or self._always.get(ANY)
        return always or _drawn(self._shares, operation)


def _drawn(shares: Iterable[_Share], operation: str) -> Fault | None:
    met = None
    for name, fault, share, draw in shares:
        # Every rule draws for every request of its own, so that none shifts another's sequence.
        if name in {operation, ANY} and draw.random() < share and met is None:
            met = fault
    return met


def _known(operation: str) -> str:
    if operation != ANY and operation not in OPERATIONS:
        raise ValueError(f"no operation {operation!r}; there are {sorted(OPERATIONS)} and '*'")
    return operation
