"""Worlds for tests that play many moves: a client, the service it talks to, and their time.

In both the service is the emulator and the client is whole. In one they talk over loopback, and
pauses are moved by hand. In the other the network is a few callbacks on a loop whose time leaps to
whatever is due next: there a minute of waiting costs next to nothing, and always goes the same way.
"""

from __future__ import annotations

import asyncio
import random
import re
import selectors
from collections import Counter
from functools import partial
from operator import itemgetter
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

import aiohttp
import attrs
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from refold_async import RefoldClient
from refold_async._transport.wire import Wire
from refold_async.emulator import Behaviour, Emulator, Fault
from refold_async.emulator._service import Call
from tests.support.clock import FakeClock, settle

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from hypothesis.stateful import RuleBasedStateMachine

    from refold_async._config import Secret
    from refold_async._protocol import Request
    from refold_async._transport.attempt import Attempt

ACCOUNT = "acct_1"
_EPOCH = 1_781_615_700.0 - 1_000.0
_STEP = 0.5
_READ = re.compile(r"/execution/([^/?]+)(/response)?")


class _Leaping(selectors.DefaultSelector):
    """Does not wait for what is due: it says how long that would have taken."""

    waited = 0.0

    def select(self, timeout: float | None = None) -> Any:
        """Give what is ready now."""
        assert timeout is not None, "nothing will ever happen: somebody waits in vain"
        self.waited += max(timeout, 0.0)
        return super().select(0)


class LeapingLoop(asyncio.SelectorEventLoop):
    """An event loop whose time stands still while there is work, and leaps when there is none."""

    def __init__(self) -> None:
        self._leaping = _Leaping()
        super().__init__(self._leaping)

    def time(self) -> float:
        """Seconds leapt, and then some."""
        return 1_000.0 + self._leaping.waited


class SlowDisk:
    """Does what aiosqlite hands to its thread, and tells of it 2 ms of the loop's time later.

    Put in the place of `aiosqlite.core.SimpleQueue`; the thread is then not needed.
    """

    def put_nowait(self, item: Any) -> None:
        """Do it."""
        future, work = item
        try:
            tell = partial(future.set_result, work())
        except Exception as error:  # noqa: BLE001 - it is handed on
            tell = partial(future.set_exception, error)
        future.get_loop().call_later(0.002, lambda: future.done() or tell())


class _LoopClock:
    """A `refold_async.Clock` that goes by a loop's time."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.monotonic = loop.time
        self.offset = _EPOCH

    def time(self) -> float:
        """Seconds since the epoch."""
        return self.offset + self._loop.time()

    def call_later(self, delay: float, callback: Callable[[], object], /) -> asyncio.TimerHandle:
        """Call back in `delay` seconds."""
        return self._loop.call_later(delay, callback)


class World:
    """What both worlds have: a loop of their own, an emulator, and what the loop complained of."""

    clock: Any
    base_url = "http://localhost"

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        loop.set_debug(False)  # the origins of a million futures take most of the time
        self.complaints: list[str] = []
        loop.set_exception_handler(lambda _, context: self._complain(context))

    def _complain(self, context: dict[str, Any]) -> None:
        self.complaints.append(f"{context.get('message')}: {context.get('exception')!r}")

    async def start(self, behaviour: Behaviour) -> None:
        """Begin to serve one workflow, `wf_1` of `s`, that runs for `seconds` of its payload."""
        self.emulator = Emulator(behaviour=behaviour, now=self.now)
        self.emulator.workflow("wf_1", slug="s", duration=itemgetter("seconds"))(dict)

    def now(self) -> float:
        """Give the service's time, which nobody sets: seconds since the epoch."""
        return _EPOCH + float(self.clock.monotonic())

    def set_clock(self, seconds: float) -> None:
        """Set the client's wall clock forward or back, as an operator or NTP does."""
        self.clock.offset += seconds

    def connect(self, **settings: Any) -> RefoldClient:
        """Give a client of this world."""
        self.client = RefoldClient(
            api_key=self.emulator.api_key,
            linked_account_id=ACCOUNT,
            base_url=self.base_url,
            clock=self.clock,
            **settings,
        )
        return self.client

    async def rest(self, seconds: float) -> None:
        """Let time pass, and what it wakes react."""
        raise NotImplementedError

    def looks(self) -> Counter[str]:
        """How often each run was read."""
        found = (_READ.search(request.path) for request in self.emulator.requests)
        return Counter(match[1] for match in found if match is not None)

    async def end(self) -> None:
        """Stop serving."""
        await self.emulator.aclose()
        await settle()


def play(world: World, move: Coroutine[Any, Any, Any], then: float = 0) -> Any:
    """Make a move, and let turns of the loop or seconds pass."""

    async def both() -> Any:
        came_to = await move
        await (settle(then) if isinstance(then, int) else world.rest(then))
        return came_to

    return world.loop.run_until_complete(both())


def played(game: type[RuleBasedStateMachine], *, share: float, moves: int) -> None:
    """Play a share of the examples the profile allows."""
    profile = settings.default or settings()
    examples = int(profile.max_examples * share)
    bounds = settings(max_examples=examples, stateful_step_count=moves, deadline=None)
    run_state_machine_as_test(game, settings=bounds)


class Loopback(World):
    """The emulator on a real socket; only the clock of client and service is moved by hand."""

    def __init__(self) -> None:
        super().__init__(asyncio.new_event_loop())
        self.clock = FakeClock()

    async def start(self, behaviour: Behaviour) -> None:
        """Begin to serve."""
        await super().start(behaviour)
        await self.emulator.start()
        self.base_url = self.emulator.base_url

    async def rest(self, seconds: float) -> None:
        """Move on in small steps, each after all requests were answered."""
        while True:
            await self._quiet()
            step = min(seconds, _STEP)
            await self.clock.advance(step)
            seconds -= step
            if seconds <= 0:
                return await self._quiet()

    async def _quiet(self) -> None:
        async with asyncio.timeout(60):
            while self.client._transport.wire._under_way:  # noqa: ASYNC110 - nothing announces it
                await asyncio.sleep(0)
        await settle(5)


class Imagined(World):
    """No sockets: requests take a few hundredths of a second of a time that leaps."""

    def __init__(self) -> None:
        super().__init__(LeapingLoop())
        self.clock = _LoopClock(self.loop)
        self.ills: dict[tuple[str, str], Fault | None] = {}  # by account and operation

    def connect(self, **settings: Any) -> RefoldClient:
        """Give a client whose requests reach the emulator by callbacks."""
        client = super().connect(**settings)
        old = client._transport.wire
        fields = {a.name: getattr(old, a.name) for a in attrs.fields(Wire) if a.init}
        client._transport.wire = _ImaginedWire(world=self, **fields)
        return client

    async def rest(self, seconds: float) -> None:
        """Leap."""
        await asyncio.sleep(seconds)


@attrs.define(eq=False, repr=False, kw_only=True)
class _ImaginedWire(Wire):
    """Hands requests to the emulator itself; what has left arrives, whatever becomes of us."""

    world: Imagined
    dead: bool = False  # nothing leaves any more, as from a process that was killed
    going: Counter[str] = attrs.field(factory=Counter)
    draw: random.Random = attrs.field(factory=lambda: random.Random(1))

    def open(self) -> None:
        """There is nothing to open."""

    def _latency(self) -> float:
        return self.draw.choice([0.0, 0.001, 0.01, 0.03])

    async def _request(self, request: Request, secret: Secret, attempt: Attempt) -> Any:
        await asyncio.sleep(self._latency())
        if self.dead:
            await asyncio.get_running_loop().create_future()
        attempt.depart()
        headers = {**request.headers, **self.auth.headers(secret, request.account or "")}
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()
        loop.call_later(self._latency(), self._arrive, request, headers, answer)
        look = _READ.search(request.target) if request.method == "GET" else None
        run = "" if look is None else look[1]
        self.going[run] += 1
        if run and self.going[run] > 1:
            self.world.complaints.append(f"{self.going[run]} looks at {run} at one time")
        try:
            return await answer
        finally:
            self.going[run] -= 1

    def _arrive(self, request: Request, headers: Any, answer: asyncio.Future[Any]) -> None:
        app, parts = self.world.emulator._app, urlsplit(request.target)
        asked: Any = SimpleNamespace(method=request.method, path=parts.path, raw=b"")
        handler, ids = app._find(asked)
        operation = getattr(handler, "__name__", "unknown")
        app.counts[operation] += 1
        app.requests.append(asked)
        query = dict(parse_qsl(parts.query))
        call = Call(operation, ids, query, headers, request.body or b"")
        ill = self.world.ills.get((headers["linked_account_id"], operation))
        fault = ill or app.faults.next(operation, ids.get("execution_id")) or Fault()
        reply: Any = fault.false_reply()
        if fault.performs:
            performed = app._perform(handler, call)
            reply = reply or performed
        told = partial(_tell, answer, reply, fault, app._headers(fault.headers))
        asyncio.get_running_loop().call_later(fault.delay + self._latency(), told)

    async def _read(self, response: Any) -> bytes:
        await asyncio.sleep(self._latency())
        if response.cut:
            raise aiohttp.ClientPayloadError("cut short")
        return bytes(response.body)


def _tell(answer: asyncio.Future[Any], reply: Any, fault: Fault, headers: Any) -> None:
    if answer.done():
        return
    if fault.drop is not None:
        answer.set_exception(aiohttp.ServerDisconnectedError())
    else:
        cut = fault.truncate
        told = SimpleNamespace(status=reply.status, headers=headers, body=reply.body, cut=cut)
        answer.set_result(told)
