"""Starts and runs that go on when a test says so: what a `Fan` needs of a client, without one."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import attrs

from refold_async import ExecutionRequest, ExecutionResult, ExecutionStatus
from refold_async._batch.carrier import Carrier
from refold_async._batch.fan import Fan, Submission
from refold_async._batch.source import Input
from refold_async._clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from refold_async import RefoldError


def asked(*numbers: int, **options: Any) -> list[ExecutionRequest]:
    """Give requests whose payloads carry these numbers."""
    return [ExecutionRequest("wf_1", slug="s", payload={"n": n}, **options) for n in numbers]


@attrs.define(eq=False)
class StubHandle:
    """A run that ends when the test says so."""

    number: int
    starts: Starts
    possible_duplicate: bool = False

    @property
    def execution_id(self) -> str:
        """One per number."""
        return f"run_{self.number}"

    def _ending(self) -> ExecutionResult[Any] | None:
        """Give what is known without a request: the sync reply, or what another has seen."""
        return self.starts.seen.get(self.number)

    async def wait(
        self, *, timeout: float | None = None, output: bool = True
    ) -> ExecutionResult[Any]:
        """Wait for `finish`."""
        async with asyncio.timeout(timeout):
            ending = await asyncio.shield(self.starts.ends[self.number])
        if isinstance(ending, Exception):
            raise ending
        return ExecutionResult(
            execution_id=self.execution_id,
            status=ending,
            output=self.number,
        )


class StubSubmission(Submission):
    """A start that is acknowledged when the test says so."""

    def __init__(self, number: int, starts: Starts) -> None:
        self.number = number
        self.starts = starts
        self.left = False

    async def handle(self, before: Any = None) -> Any:
        """Leave once the test lets it, and wait for `acknowledge`."""
        self.starts.waiting.append(self.number)
        if self.starts.held:
            await asyncio.shield(self.starts.leaves[self.number])
        self.left = True
        self.starts.sent.append(self.number)
        return await self._answer()

    async def rest(self) -> Any:
        """Tell what became of it."""
        return await self._answer() if self.left else None

    def later(self, told: Any) -> None:
        """Nobody is told: there is no journal."""

    @property
    def has_left(self) -> bool:
        """Whether it was sent."""
        return self.left

    request: Any = SimpleNamespace(instance_tag="rfa-1", workflow_id="wf_1")
    policy: Any = None
    fingerprint: Any = ""

    def retag(self, tag: str) -> None:
        """Nothing is sent."""

    async def _answer(self) -> Any:
        answer = await asyncio.shield(self.starts.answers[self.number])
        if isinstance(answer, Exception):
            raise answer
        return StubHandle(self.number, self.starts)


class _Futures(defaultdict[int, "asyncio.Future[Any]"]):
    def __missing__(self, number: int) -> asyncio.Future[Any]:
        self[number] = future = asyncio.get_running_loop().create_future()
        return future


class Starts:
    """What a fan has asked for, and when it gets it.

    `at_once` answers starts and ends runs at once; `held` keeps starts from leaving until `leave`.
    """

    def __init__(self, *, at_once: bool = False, held: bool = False) -> None:
        self.at_once = at_once
        self.held = held
        self.waiting: list[int] = []
        self.sent: list[int] = []
        self.pulled: list[int] = []
        self.orphans: list[Any] = []
        self.seen: dict[int, ExecutionResult[Any]] = {}
        self.leaves, self.answers, self.ends = _Futures(), _Futures(), _Futures()

    def prepare(self, request: ExecutionRequest) -> StubSubmission:
        """Make a start."""
        number = request.payload["n"]
        if self.at_once:
            self.acknowledge(number)
            self.finish(number)
        return StubSubmission(number, self)

    def leave(self, *numbers: int) -> None:
        """Let starts leave."""
        for number in numbers:
            self.leaves[number].set_result(None)

    def acknowledge(self, *numbers: int, error: RefoldError | None = None) -> None:
        """Answer starts."""
        for number in numbers:
            self.answers[number].set_result(error)

    def finish(
        self, *numbers: int, ending: RefoldError | ExecutionStatus = ExecutionStatus.COMPLETED
    ) -> None:
        """End runs."""
        for number in numbers:
            self.ends[number].set_result(ending)

    def endless(self) -> Iterator[ExecutionRequest]:
        """Give requests without end, and note which were pulled."""
        return self.these(10**9)

    def these(self, many: int) -> Iterator[ExecutionRequest]:
        """Give so many requests, and note which were pulled."""
        for number in range(many):
            self.pulled.append(number)
            yield from asked(number)

    def fan(self, requests: Any, **options: Any) -> Fan:
        """Make the fan."""
        settings: dict[str, Any] = {
            "clock": SystemClock(),
            "concurrency": None,
            "at_once": 100,
            "orphaned": self.orphans.append,
        }
        wait = options.pop("wait", True)
        carrier = Carrier(prepare=self.prepare, wait=wait)
        return Fan(Input(requests), carrier, **(settings | options))
