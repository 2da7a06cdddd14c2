"""The emulator as a thing that starts, listens and stops."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

from aiohttp import web

from refold_async import RefoldClient
from refold_async._clock import announce

from ._agenda import Agenda
from ._app import App
from ._behaviour import Behaviour
from ._events import Event, Fired
from ._faults import Faults
from ._listening import CountingServer, make_request, stop_listening
from ._page import PATH, Page
from ._performing import Performances
from ._pushing import Pusher, Pushes
from ._quiet import running_loop
from ._real_time import RealTime
from ._records import Requests
from ._runs import Run
from ._service import Service
from ._state import State
from ._subscriptions import CONNECTION_EVENTS
from ._time import VirtualTime
from ._verdicts import check_started, left_behind
from ._workflows import Duration, Workflow, WorkflowFunction

_AN_HOUR = 3600.0
_ALL_ADDRESSES = ("", "0.0.0.0", "::")  # noqa: S104 - to be told from one that a browser can open
_Function = TypeVar("_Function", bound=WorkflowFunction)


class Emulator:
    """A Refold that runs on this machine and speaks real HTTP.

    Use it with `async with`, or `start` and `aclose` it. A browser on this machine sees it at work
    at `page_url`.

    Args:
        api_key: The one key it takes.
        behaviour: What it does where the documentation is silent.
        host: The address it listens on.
        port: The port, 0 for any free one.
        prefix: What comes before every path, as behind a proxy.
        now: The clock in epoch seconds; a test's own clock makes runs end when the test says so.
        skip_time: Skip the time in which nothing happens: the emulator and the clients in this
            process that talk to it share a clock, `time`, which jumps to what is due next as soon
            as somebody waits and nothing is under way.

    Raises:
        ValueError: Both `now` and `skip_time` are given.
    """

    def __init__(
        self,
        *,
        api_key: str = "tk_emulator",
        behaviour: Behaviour | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        prefix: str = "",
        now: Callable[[], float] | None = None,
        skip_time: bool = False,
    ) -> None:
        if skip_time and now is not None:
            raise ValueError("skip_time brings a clock of its own: leave `now` out")
        self.behaviour = behaviour or Behaviour()
        self.api_key = api_key
        self._time: VirtualTime | RealTime = VirtualTime() if skip_time else RealTime()
        self._now = _skewed(now or self._time.time, self.behaviour.clock_skew)
        self._performances = Performances(self._now, self._time)
        self._state = State(self.behaviour, self._now, self._performances.begin)
        self._service = Service(self.behaviour, api_key, self._state, self._performances)
        form = self.behaviour.webhook_response
        self._pusher = Pusher(self._service.webhooks, api_key, self._now, self._time, form)
        self._state.started = self._started
        self._state.changed = self._performances.decided = self._changed
        self._prefix = f"/{prefix.strip('/')}" if prefix.strip("/") else ""
        self._app = App(self._service, self._prefix, self._time)
        self._page = Page(
            *(self._service, self._app, self._pusher, self._time),
            prefix=self._prefix,
            finish=self.finish,
        )
        self._host = host
        self._port = port
        self._server: CountingServer | None = None
        self._runner: web.ServerRunner | None = None
        self._listener: asyncio.Server | None = None
        self._loop: asyncio.AbstractEventLoop | None = None  # on which it listens
        self._reporting: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def start(self) -> None:
        """Listen; after `aclose` again at the same address, with all the runs there were.

        Raises:
            OSError: The port is taken.
            RuntimeError: It listens already.
        """
        if self._runner is not None:
            raise RuntimeError("the emulator has been started already")
        keepalive = self.behaviour.keepalive
        self._server = CountingServer(
            self._page,
            request_factory=make_request,
            handler_cancellation=True,
            access_log=None,
            keepalive_timeout=_AN_HOUR if keepalive is None else keepalive,
            auto_decompress=False,  # it depends on what is installed, and knows no limit
        )
        self._loop = asyncio.get_running_loop()
        self._listener = await self._loop.create_server(
            self._server, self._host, self._port, backlog=1024
        )
        self._runner = web.ServerRunner(self._server, shutdown_timeout=0.2)
        await self._runner.setup()
        self._port = self._listener.sockets[0].getsockname()[1]
        self._page.showing.base_url = self.base_url
        if isinstance(self._time, VirtualTime):
            self._time.home = self._loop
            self._time.agenda = Agenda(self._state, lambda: self._pusher.delivers)
            announce(self.base_url, self._time)
            self._reporting = asyncio.create_task(self._time.report_standstill())

    async def aclose(self) -> None:
        """Stop listening and close every connection, held ones too; safe to repeat."""
        runner, self._runner = self._runner, None
        if runner is None or self._server is None or self._listener is None:
            return
        self._server.ends = True
        announce(self.base_url, None)
        if self._reporting is not None:
            self._reporting.cancel()
        await stop_listening(self._listener)
        await self._page.aclose()
        await self._performances.aclose()
        await self._app.end_waiting()
        await self._pusher.aclose()
        await runner.cleanup()
        # A transport ends in the loop's next turns, with unsent bytes only if aborted.
        for transport in self._server.transports.values():
            transport.abort()
        while self._server.transports:  # noqa: ASYNC110 - a turn or two, bounded by the abort
            await asyncio.sleep(0)

    @property
    def base_url(self) -> str:
        """Where it listens, prefix included, without a slash at the end."""
        return f"http://{self._host}:{self._port}{self._prefix}"

    @property
    def page_url(self) -> str:
        """Where a browser on this machine sees it at work; see the guide "Test your service"."""
        host = "127.0.0.1" if self._host in _ALL_ADDRESSES else self._host
        return f"http://{host}:{self._port}{self._prefix}{PATH}"

    @property
    def settings(self) -> dict[str, Any]:
        """What a client of it takes, as `RefoldClient(**emulator.settings)`."""
        accounts = sorted(self.behaviour.linked_accounts or {"acct_1"})
        return {
            "base_url": self.base_url,
            "api_key": self.api_key,
            "linked_account_id": accounts[0],
        }

    def client(self, **settings: Any) -> RefoldClient:
        """Make a client of it, which shares its time; end it as any other.

        Args:
            settings: Other arguments of `RefoldClient`, or in the place of those in `settings`.
        """
        return RefoldClient(**(self.settings | settings))

    @property
    def time(self) -> VirtualTime:
        """The time it shares with its clients.

        Raises:
            RuntimeError: It skips none.
        """
        if not isinstance(self._time, VirtualTime):
            raise RuntimeError("this emulator goes by real time: make it with skip_time=True")  # noqa: TRY004
        return self._time

    async def advance(self, seconds: float) -> None:
        """Let so many seconds pass, with all that is due in them; see `VirtualTime.sleep`.

        Raises:
            RuntimeError: It skips no time.
            ValueError: `seconds` is no number of seconds from 0 to 100 years.
        """
        await self.time.sleep(seconds)

    @property
    def faults(self) -> Faults:
        """What goes wrong."""
        return self._app.faults

    @property
    def pushes(self) -> Pushes:
        """How deliveries to webhooks fare, and those that were tried."""
        return self._pusher.pushes

    def connection_event(self, event: str, *, linked_account_id: str, slug: str) -> None:
        """Tell whoever has subscribed of an account's connection to an application.

        Args:
            event: `Connection Created`, `Connection Deleted` or `Connection Expired`.
            linked_account_id: Whose connection it is.
            slug: The application.

        Raises:
            ValueError: There is no such event.
        """
        if event not in CONNECTION_EVENTS:
            raise ValueError(f"no event {event!r}; there are {', '.join(CONNECTION_EVENTS)}")
        tell, here = self._pusher.tell_connection, running_loop()
        if self._loop is None or self._loop is here:
            tell(event, linked_account_id, slug)
        else:  # a test in another thread
            self._loop.call_soon_threadsafe(tell, event, linked_account_id, slug)

    @property
    def requests(self) -> Requests:
        """The latest requests in order of arrival; 100,000 at most, and 64 MiB of bodies."""
        return self._app.requests

    @property
    def counts(self) -> Counter[str]:
        """How many requests arrived, by operation; counted whether recorded or not."""
        return self._app.counts

    @property
    def recording(self) -> bool:
        """Whether requests are kept; switched off for benchmarks."""
        return self._app.recording

    @recording.setter
    def recording(self, value: bool) -> None:
        self._app.recording = value

    @property
    def runs(self) -> list[Run]:
        """All runs in order of start; this is the truth about what really ran."""
        return self._state.runs

    @property
    def workflows(self) -> list[Workflow]:
        """All workflows in the order they were added."""
        return list(self._state.workflows.values())

    @property
    def open_connections(self) -> int:
        """How many connections clients hold open now, a browser with the page among them."""
        return len(self._server.transports) if self._server is not None else 0

    @property
    def peak_connections(self) -> int:
        """The most connections that were ever open at once, those of a browser included."""
        return self._server.peak if self._server is not None else 0

    def reset_peak(self) -> None:
        """Begin `peak_connections` anew from the connections open now."""
        if self._server is not None:
            self._server.peak = self.open_connections

    def started(self, instance_tag: str) -> int:
        """How many runs were started with this tag."""
        return self._state.tags[instance_tag]

    def assert_started(self, workflow_id: str, *, times: int = 1, payload: Any = None) -> list[Run]:
        """Give the runs of a workflow, which are so many.

        Args:
            workflow_id: Its id, or its alias.
            times: How many there have to be.
            payload: Count those that were started with this one; None for any.

        Raises:
            AssertionError: There are more or fewer; says which runs there are instead.
        """
        return check_started(self.runs, self.requests, workflow_id, times, payload)

    def left_behind(self) -> list[str]:
        """Name each run that goes on, and each of whose end nobody asked, nor was told."""
        deliveries = self.pushes.deliveries
        return [*left_behind(self.runs, self.requests, deliveries, self._now())]

    def finish(self, execution_id: str, *, status: str | None = None) -> None:
        """End a run now.

        Args:
            execution_id: The run; one that has already ended stays as it is.
            status: Its last status; without one it ends as its function said.

        Raises:
            KeyError: There is no such run.
        """
        run = self._state.run(execution_id)
        if run is None:
            raise KeyError(execution_id)
        run.finish(self._now(), status=status)
        self._changed(run)
        if status is not None:
            self._performances.cancel(run)

    def _started(self, run: Run) -> None:
        self._pusher.watch(run)
        self._time.tick()

    def _changed(self, run: Run) -> None:
        self._time.stir(run, self._pusher)

    def issue_token(self, linked_account_id: str) -> str:
        """A new session token of a linked account."""
        return self._service.tokens.create(linked_account_id, force=True).token

    def revoke_token(self, token: str) -> None:
        """Make a session token invalid."""
        self._service.tokens.revoke(token)

    @property
    def fired(self) -> list[Fired]:
        """All event triggers that were accepted, with the runs they started."""
        return self._service.events.fired

    def event(self, event: Event) -> None:
        """Let an event start workflows; a trigger of one that is not known is refused."""
        self._service.events.add(event)

    def workflow(
        self,
        workflow_id: str,
        *,
        slug: str,
        alias: str | None = None,
        name: str | None = None,
        duration: Duration = 0.0,
        published: bool = True,
        accounts: Iterable[str] | None = None,
        schema: Mapping[str, Any] | None = None,
        nodes: Sequence[str] = ("Start", "Work", "Response"),
        has_group_node: bool = False,
        ends: str = "COMPLETED",
        batches: Mapping[str, Sequence[Any]] | None = None,
    ) -> Callable[[_Function], _Function]:
        """Make a function, plain or `async`, a workflow; also before the start.

        The function takes the payload and gives the output, both JSON: what it returns is written
        and read again, and what can't be makes the run ERRORED, with a message that names the
        workflow and the type. It may return `Respond` to set a status, or raise `NodeFailed` to
        fail at a node; any other exception fails the middle node. It is called once when a run
        starts, with a payload of its own. An `async` one is a task of the emulator's: its run ends
        when it has, and `duration` seconds after it began at the earliest; a run that is stopped,
        or finished by hand with a status, cancels it, and so does the end of the emulator.

        Args:
            workflow_id: Its id.
            slug: The application it belongs to.
            alias: Another name that works as its id.
            name: Its title; the function's name if left out.
            duration: Seconds a run takes, or a function from payload to seconds; None runs until
                `finish`. The time is spread evenly over the nodes.
            published: Whether it can be run.
            accounts: The linked accounts that own it; None for all.
            schema: A JSON Schema its payload must meet.
            nodes: Its nodes in order. The one named Response carries the output; without one a run
                has none.
            has_group_node: Whether it refuses sync runs.
            ends: How a run ends whose function returns: any status. One nobody has heard of stays
                for ever.
            batches: The batches of nodes by the nodes' names.

        Raises:
            RuntimeError: A schema is given and jsonschema is not installed.
            WorkflowError: It can't be a workflow: the function takes anything but the payload, or
                yields; the nodes are none, or two have one name; batches are no node's; the
                duration is no number of seconds. A `ValueError` that names the function.
        """

        def register(function: _Function) -> _Function:
            self._state.add(
                Workflow(
                    workflow_id=workflow_id,
                    function=function,
                    slug=slug,
                    alias=alias,
                    name=name or str(getattr(function, "__name__", workflow_id)),
                    duration=duration,
                    published=published,
                    accounts=None if accounts is None else frozenset(accounts),
                    schema=schema,
                    nodes=tuple(nodes),
                    has_group_node=has_group_node,
                    ends=ends,
                    batches=batches or {},
                )
            )
            return function

        return register


def _skewed(now: Callable[[], float], skew: float) -> Callable[[], float]:
    return (lambda: now() + skew) if skew else now
