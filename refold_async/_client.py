"""`RefoldClient`, the public face."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Literal, Self, Unpack

import attrs

from refold_async._bound import CallOptions, bind
from refold_async._caller import DAY, Caller, failing, named
from refold_async._checks import (
    check_count,
    check_header,
    check_id,
    check_kind,
    seconds_from_zero,
)
from refold_async._clock import Clock, clock_at
from refold_async._config import (
    DEFAULT_BASE_URL,
    MIB,
    Dialect,
    PollPolicy,
    RateLimit,
    RetryPolicy,
    Shared,
    Timeouts,
    check_base_url,
    check_shared,
    choose_credential,
    from_environment,
)
from refold_async._errors import ConfigError, RefoldError
from refold_async._fanout import FanOut
from refold_async._handle import ExecutionHandle
from refold_async._parts import put_together
from refold_async._resources import Events, Executions, SessionTokens, Workflows
from refold_async._transport import check_connections
from refold_async._typed import UNTYPED, Payload

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable, Coroutine
    from types import TracebackType

    import aiohttp
    from typing_extensions import TypeForm

    from refold_async._batch import Batches
    from refold_async._bound import BoundWorkflow
    from refold_async._checks import Seconds
    from refold_async._models import ExecutionRef, ExecutionResult, WebhookEvent, WorkflowEvent
    from refold_async._starting import Orphans
    from refold_async._stats import Stats
    from refold_async._typed import In, Out, TypedWorkflow
    from refold_async._webhooks import Webhooks


class ExecuteOptions(CallOptions, total=False):
    """The arguments of `execute` that `run` passes on."""

    payload: Payload


class RefoldClient(FanOut):
    """A client of one Refold deployment, for one event loop.

    Making one does no I/O and needs no running loop. End it with `async with` or `aclose()`.

    Args:
        api_key: the organisation's key (`pk...`, `tk...`); or set REFOLD_API_KEY.
        session_token: a token bound to one linked account, or a callable (async, or one that does
            not block) that gives one and is called again after a 401, once per token; or set
            REFOLD_SESSION_TOKEN. Exactly one of the two credentials.
        linked_account_id: for whom calls are made unless they say otherwise; or set
            REFOLD_LINKED_ACCOUNT_ID. A session token brings its own, and this is then not sent.
        base_url: where the service is; https (http to loopback), a path prefix is kept; or set
            REFOLD_BASE_URL.
        timeouts: bounds on one attempt, in seconds.
        retry: when requests are tried again.
        polling: how pending runs are looked at.
        rate_limit: ceiling on requests of all kinds; None for no ceiling.
        max_connections: sockets at most, and so requests in flight; no more than a lent connector
            allows.
        keepalive: seconds (or a timedelta) for which an idle connection may be used again, at
            most; below what the server allows, which may say so (`Keep-Alive: timeout=N`).
        proxy: URL of an HTTP proxy, `http://user:password@host:port`; what it holds of credentials
            shows nowhere.
        ssl: what TLS connections trust, as `ssl.create_default_context(cafile=...)` for a private
            CA; the system's certificates if None. Verification can't be switched off.
        trust_env: use the proxy that HTTPS_PROXY (HTTP_PROXY, NO_PROXY) names; nothing else of the
            environment.
        dialect: how your deployment speaks where the documentation leaves it open.
        shared: one Redis for what all processes with this credential share, as its URL or a
            `Shared`: the rate limit, pauses that the service asks for, what refusals teach, what
            webhooks tell, and the keys of `once`. Needs the extra `redis`.
        max_payload_bytes: largest payload, serialised.
        max_reply_bytes: largest reply, after decompression.
        allow_insecure_http: allow http beyond loopback, for self-hosting in a private network.
        session: an aiohttp session of your own that lends its connector, and with it its pool and
            TLS settings; nothing else of it is used. Neither is ever closed.
        clock: what tells the time, for tests. Without one it is the system's, and an emulator's own
            where `base_url` leads to one with `skip_time`.

    Raises:
        ConfigError: a setting is wrong or a credential is missing; names the field.

    See: "Authentication", "API overview".
    """

    def __init__(
        self,
        *,
        api_key: str | None = None,
        session_token: str | Callable[[], Awaitable[str] | str] | None = None,
        linked_account_id: str | None = None,
        base_url: str | None = None,
        timeouts: Timeouts = Timeouts(),  # noqa: B008 - frozen
        retry: RetryPolicy = RetryPolicy(),  # noqa: B008
        polling: PollPolicy = PollPolicy(),  # noqa: B008
        rate_limit: RateLimit | None = RateLimit(),  # noqa: B008
        max_connections: int = 100,
        keepalive: Seconds = 4.0,
        proxy: str | None = None,
        ssl: ssl.SSLContext | None = None,
        trust_env: bool = False,
        dialect: Dialect = Dialect(),  # noqa: B008
        shared: Shared | str | None = None,
        max_payload_bytes: int = 3 * MIB,
        max_reply_bytes: int = 16 * MIB,
        allow_insecure_http: bool = False,
        session: aiohttp.ClientSession | None = None,
        clock: Clock | None = None,
    ) -> None:
        account = linked_account_id
        if account is None:
            account = from_environment("REFOLD_LINKED_ACCOUNT_ID")
        url = base_url
        if url is None:
            url = from_environment("REFOLD_BASE_URL") or DEFAULT_BASE_URL
        url = check_base_url(url, allow_insecure_http=allow_insecure_http)
        parts = put_together(
            base_url=url,
            credential=choose_credential(api_key, session_token),
            timeouts=check_kind(timeouts, Timeouts, "timeouts"),
            retry=check_kind(retry, RetryPolicy, "retry"),
            polling=check_kind(polling, PollPolicy, "polling"),
            rate_limit=(
                None if rate_limit is None else check_kind(rate_limit, RateLimit, "rate_limit")
            ),
            connections=check_connections(
                url,
                max_connections=max_connections,
                keepalive=keepalive,
                ssl=ssl,
                proxy=proxy,
                trust_env=trust_env,
                session=session,
            ),
            max_reply_bytes=check_count(max_reply_bytes, "max_reply_bytes"),
            shared=check_shared(shared),
            clock=clock or clock_at(url),
        )
        caller = Caller(
            parts=parts,
            account=None if account is None else check_header(account, "linked_account_id"),
            max_payload_bytes=check_count(max_payload_bytes, "max_payload_bytes"),
            dialect=check_kind(dialect, Dialect, "dialect"),
        )
        self._use(caller, is_view=False)

    def _use(self, caller: Caller, *, is_view: bool) -> None:
        self._caller = caller
        self._services = caller.parts.services
        self._transport = caller.parts.transport
        self._is_view = is_view

    # -- accounts and life -------------------------------------------------------------------

    @property
    def linked_account_id(self) -> str | None:
        """For whom calls are made unless they say otherwise."""
        return self._caller.account

    def for_account(self, linked_account_id: str) -> RefoldClient:
        """Give a view of this client for another linked account.

        It shares session, tracker, budget and counters, and costs next to nothing: make one per
        request in a service. Closing a view does nothing; the client it came from is what is
        closed.

        Raises:
            ConfigError: the client authenticates with a session token, which is bound to one
                account.
        """
        return self._view(self._caller.for_account(linked_account_id))

    def with_options(
        self,
        *,
        retry: RetryPolicy | None = None,
        timeouts: Timeouts | None = None,
        linked_account_id: str | None = None,
    ) -> RefoldClient:
        """Give a view of this client with other options; as cheap as `for_account`, and as shared.

        They hold for all calls made through the view, and through the handles it gives. How waits
        look at runs does not change with them: looks are shared by all who wait.

        Args:
            retry: another retry policy; a call's own `retry` wins over it.
            timeouts: other bounds on attempts and, by `Timeouts.call`, on starts.
            linked_account_id: another linked account, as of `for_account`.

        Raises:
            ConfigError: an option is wrong; names it.
        """
        parts = self._caller.parts.viewed(
            None if retry is None else check_kind(retry, RetryPolicy, "retry"),
            None if timeouts is None else check_kind(timeouts, Timeouts, "timeouts"),
        )
        view = self._view(attrs.evolve(self._caller, parts=parts))
        return view if linked_account_id is None else view.for_account(linked_account_id)

    def _view(self, caller: Caller) -> RefoldClient:
        view = copy.copy(self)
        view._use(caller, is_view=True)  # noqa: SLF001
        return view

    async def __aenter__(self) -> Self:
        self._transport.check_usable()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self, *, grace: Seconds = 0.0) -> None:
        """Close the client; runs go on. Safe to call again, and to cancel: it is closed then too.

        Pending waits and queued calls end with `ClientClosedError`. A batch reads no more of its
        input, and reports; `map` raises if there was more. A session of your own stays open.

        Args:
            grace: seconds (or a timedelta) for which calls that are under way, and attempts whose
                callers have left, may go on; nothing more is started meanwhile. Waits for runs are
                not waited for.

        Raises:
            ConfigError: `grace` is no finite number of seconds 0 or more.
            ClientClosedError: the client lives on another event loop, or in the process this one
                was forked from: close it there.
        """
        seconds = seconds_from_zero(grace, "grace")
        if not self._is_view:
            await self._caller.parts.aclose(seconds)

    def __repr__(self) -> str:
        url, account = self._transport.wire.base_url, self._caller.account
        state = "closed" if self._transport.closed else "open"
        return f"<RefoldClient {url} linked_account_id={account!r} {state}>"

    async def ping(self) -> None:
        """Ask whether the service is there and takes the credential: one request, tried once.

        Raises:
            AuthenticationError: it does not.
            RefoldError: the service is not there, or not well.

        See: "List Executions"; "List Workflows" for an API key without a linked account.
        """
        api, once = self._services.api, RetryPolicy(mode="never")
        if self._caller.account is None and not self._caller.bound:
            await api.list_workflows(account=None, query={"limit": 1}, policy=once)
        else:
            await api.list_executions(account=self._caller.account, query={"limit": 1}, policy=once)

    @property
    def stats(self) -> Stats:
        """The client's counters and its budget as they stand, shared by all its views."""
        return self._caller.parts.stats()

    # -- starting and finding runs -----------------------------------------------------------

    def execute(
        self,
        workflow_id: str,
        *,
        slug: str,
        payload: Payload = None,
        sync: bool = False,
        linked_account_id: str | None = None,
        config_id: str | None = None,
        instance_tag: str | None = None,
        unique_tag: bool = False,
        include_headers: bool = False,
        once: str | None = None,
        once_within: Seconds = DAY,
        once_scope: Literal["shared", "process"] = "shared",
        once_fallback: Literal["look"] | None = None,
        timeout: Seconds | None = None,
        retry: RetryPolicy | None = None,
    ) -> Coroutine[None, None, ExecutionHandle[Any]]:
        """Start a workflow and give the handle of the run: `await refold.execute(...)`.

        Not repeatable by itself: the service knows no idempotency keys. What happens when an answer
        is lost is the retry policy's choice; see "Outcomes" in the documentation. The payload is
        serialised when this is called: changing it afterwards has no effect on what is sent.
        Cancelling it before the request left starts nothing.

        Args:
            workflow_id: id of a published workflow, or its alias.
            slug: the application the workflow belongs to.
            payload: the input: a JSON object, or an object of an attrs class, a dataclass or a
                `msgspec.Struct` (the extra `typed`) or of a pydantic model; None for an empty one.
            sync: hold the connection until the workflow ends, and give a settled handle.
            linked_account_id: for whom, if not for the client's own account.
            config_id: which configuration; the service's default is the linked account's.
            instance_tag: a label for the run; without one a unique one is made.
            unique_tag: say that no other call ever uses this `instance_tag`, so that a run whose
                answer was lost can be found by it, as by a tag the SDK made.
            include_headers: have the sanitised request headers in the result.
            once: a key of your own for what is started, as `invoice-4711`: start it, or attach to
                the run that was started under this key, by whichever process, whatever came of it.
                Needs `shared=`; the limits are in "Many workers, many machines".
            once_within: seconds (or a timedelta) for which a key counts, from when its run was
                started; the same in all processes.
            once_scope: `"process"` asks for no Redis: calls on this event loop share one start, by
                whichever client of this credential, and a run with the key's tag among the newest
                20 pages of the list is attached to. Best effort; and after a restart nobody knows
                that the key was used with another payload.
            once_fallback: `"look"` does that while Redis is away, instead of raising an error.
            timeout: seconds (or a timedelta) for all of it: slot, attempts and pauses.
            retry: another policy than the client's for this call.

        Returns:
            The handle; settled already if the reply brought the result.

        Raises:
            ConfigError: an argument is wrong; nothing was sent.
            PayloadError: the payload can't be sent as JSON, or is too large; or the key was used
                with another one.
            ExecutionOutcomeUnknownError: the run may or may not have started.
            SharedStateError: Redis is away, and with a key nothing is sent without it.
            ApiError: the service refused: no run started.
            TransportError: no run started; `ConnectionFailedError` or `RequestTimeoutError` with
                `sent == False`, or `UnexpectedReplyError` for a redirect.
            ClientClosedError: the client is closed, or belongs to another loop.

        See: "Execute Workflow".
        """
        started = self._caller.execute(
            workflow_id,
            timeout=timeout,
            retry=retry,
            slug=slug,
            payload=payload,
            sync=sync,
            linked_account_id=linked_account_id,
            config_id=config_id,
            instance_tag=instance_tag,
            unique_tag=unique_tag,
            include_headers=include_headers,
            once=once,
            once_within=once_within,
            once_scope=once_scope,
            once_fallback=once_fallback,
        )
        return named(started, "RefoldClient.execute")

    def run(
        self,
        workflow_id: str,
        *,
        slug: str,
        timeout: Seconds | None = None,
        **options: Unpack[ExecuteOptions],
    ) -> Coroutine[None, None, ExecutionResult[Any]]:
        """Start a workflow and wait for its result: `execute`, then `handle.result()`.

        Args:
            workflow_id: id of a published workflow, or its alias.
            slug: the application the workflow belongs to.
            timeout: seconds (or a timedelta) for all of it. Once the run has started, its end is a
                `WaitTimeoutError` that names the run.
            options: the other arguments of `execute`.

        Cancelling it, as `asyncio.timeout` does, cancels no run: once it has started, its handle
        is in `orphans`.

        Raises:
            RefoldError: whatever `execute` and `ExecutionHandle.result` raise. An error with an
                `execution_id` is about a run that exists: don't start it again.

        See: "Execute Workflow".
        """
        try:
            start = self._caller.planned(workflow_id, slug=slug, timeout=timeout, **options)
        except RefoldError as error:
            running = failing(error)
        else:
            running = self._caller.run(start, timeout)
        return named(running, "RefoldClient.run")

    def workflow(
        self,
        workflow: TypedWorkflow[In, Out] | str,
        *,
        slug: str | None = None,
        input: TypeForm[In] = UNTYPED,  # noqa: A002 - as of `refold_async.workflow`
        output: TypeForm[Out] = UNTYPED,
    ) -> BoundWorkflow[In, Out]:
        """Bind a workflow to this client, with the types of what it takes and gives.

        ::

            create_contact = workflow("6a10...", slug="hubspot", input=NewContact, output=Contact)
            contact = await refold.workflow(create_contact)(NewContact("jane@example.com"))

        Makes no request. See "Typed workflows" in the documentation.

        Args:
            workflow: what `refold_async.workflow` made, or the id of one to make here.
            slug: the application it belongs to; with an id.
            input: the type of its payload; with an id.
            output: the type of its output; with an id.

        Raises:
            ConfigError: an argument is wrong, a type can't be told as JSON, or the extra `typed`
                is missing.

        See: "Execute Workflow".
        """
        return bind(self._caller, workflow, slug=slug, input=input, output=output)

    def handle(
        self, execution_id_or_ref: str | ExecutionRef, *, linked_account_id: str | None = None
    ) -> ExecutionHandle[Any]:
        """Give a handle of a run that was started before, here or elsewhere; makes no request.

        Args:
            execution_id_or_ref: the run's id, or the `ref` of another handle.
            linked_account_id: for whom it runs, if neither the ref nor the client says so.

        Raises:
            ConfigError: the id can't be one, or no linked account is known.
        """
        return self._caller.reattach(execution_id_or_ref, linked_account_id=linked_account_id)

    async def find(
        self, instance_tag: str, *, workflow_id: str, linked_account_id: str | None = None
    ) -> list[ExecutionHandle[Any]]:
        """Find the runs that carry a tag, as after `ExecutionOutcomeUnknownError`.

        Reads the whole list of the workflow's runs, newest first. Repeatable. Finding none proves
        nothing, unless `check_reconcile` says that tags are visible.

        Args:
            instance_tag: the exact tag.
            workflow_id: the workflow (or alias) it was started with.
            linked_account_id: for whom, if not for the client's own account.

        Returns:
            Handles of all matches, newest first; none if there is no match. Never a guess.

        See: "List Executions".
        """
        account = self._caller.required(linked_account_id)
        workflow_id = check_id(workflow_id, "workflow_id")
        instance_tag = check_header(instance_tag, "instance_tag")
        found = await self._caller.parts.lists.find(account, instance_tag, workflow_id)
        return [
            ExecutionHandle(
                self._services,
                execution_id,
                workflow_id=workflow_id,
                linked_account_id=account,
                instance_tag=instance_tag,
            )
            for execution_id in found
        ]

    async def check_reconcile(self, workflow_id: str) -> bool | None:
        """Ask whether lost answers can be looked up here: whether the list of runs shows tags.

        One request. Needs a run that was started with a tag, as `execute` makes one.

        Returns:
            True if tags show, False if they don't, so that "not in the list" proves nothing, and
            None if none of the workflow's newest runs can tell.

        See: "List Executions".
        """
        workflow_id = check_id(workflow_id, "workflow_id")
        return await self._caller.parts.lists.check(self._caller.required(), workflow_id)

    @property
    def orphans(self) -> Orphans:
        """Handles of runs whose caller was cancelled after the request had left.

        Iterating takes them out; at most 1,000 are kept, the oldest dropped with a log line.
        """
        return self._caller.parts.starter.orphans

    def _batches(self) -> Batches:
        return self._caller.batches()

    # -- webhooks ----------------------------------------------------------------------------

    def notify(self, event: WebhookEvent) -> bool:
        """Take what a webhook told: whoever waits for the run knows its end after one read.

        The event is a hint, never the outcome: the run is read, at once, and settles by what is
        read. It may come before anybody waits, it is kept for ten minutes then; it may come twice,
        late, or for a run that is none of this client's: that changes nothing, and costs no
        request. `refold_async.webhooks` calls this for what it has verified. With `shared=` all
        processes hear of it; so give it nothing that was not verified.

        Args:
            event: what `refold_async.webhooks.parse` gave. Of events other than the ends of runs
                nobody here has any use.

        Returns:
            Whether a run is read for it, for somebody who waits here. Nobody does with a client
            that is closed.

        Raises:
            ConfigError: called on another event loop than the client's, or from another thread; use
                `loop.call_soon_threadsafe(refold.notify, event)`.
        """
        from refold_async._models import WORKFLOW_EVENTS, WebhookEvent, WorkflowEvent  # noqa: PLC0415 - few use them

        event = check_kind(event, WebhookEvent, "event")
        if self._transport.lives_elsewhere():
            raise ConfigError(
                "notify is called on the event loop the client lives on; from elsewhere use"
                " loop.call_soon_threadsafe(refold.notify, event)",
                field="event",
            )
        tells_an_end = event.kind is None or event.kind in WORKFLOW_EVENTS
        if not isinstance(event, WorkflowEvent) or not tells_an_end or self._transport.closed:
            return False
        return self._caller.parts.told(event.execution_id, event.linked_account_id)

    def _told_output(self, event: WorkflowEvent, output: Any) -> None:
        """Take the output that came with an event, from the receiver that has verified it.

        It is None where it could not be read as an object or a list. What is in doubt settles
        nothing: `notify`, which is told as well, has the run read.
        """
        if not self._transport.lives_elsewhere() and not self._transport.closed:
            self._caller.parts.told_output(event, output)

    @property
    def webhook_keys(self) -> tuple[str, ...]:
        """The keys that sign what this client is told, none with a session token."""
        return self._transport.auth.signs

    # -- the other operations ----------------------------------------------------------------

    @property
    def executions(self) -> Executions:
        """Runs, to get, list, stop or start again.

        Raises:
            ConfigError: no linked account is known; runs belong to one.
        """
        return Executions(self._services, self._caller.required())

    @property
    def workflows(self) -> Workflows:
        """Workflows, to list and to ask what they expect."""
        return Workflows(self._services, self._caller.account)

    @property
    def webhooks(self) -> Webhooks:
        """Webhooks, to make and to manage. What they deliver is read by `refold_async.webhooks`."""
        from refold_async._webhooks import Webhooks  # noqa: PLC0415 - few use them

        return Webhooks(self._services)

    @property
    def events(self) -> Events:
        """Events of the client's linked account, to fire.

        Raises:
            ConfigError: no linked account is known; events belong to one.
        """
        caller = self._caller
        return Events(self._services, caller.required(), caller.max_payload_bytes)

    @property
    def session_tokens(self) -> SessionTokens:
        """Session tokens, to create."""
        return SessionTokens(self._services)
