"""`RefoldClient`, the public face."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Self, TypedDict, TypeVar, Unpack

import attrs

from refold_async import _protocol as protocol
from refold_async._batch import Batches
from refold_async._checks import check_count, check_header, check_id, plain, positive_seconds
from refold_async._clock import Clock, SystemClock
from refold_async._config import (
    DEFAULT_BASE_URL,
    MIB,
    PollPolicy,
    RateLimit,
    RetryPolicy,
    Timeouts,
    check_base_url,
    choose_credential,
    from_environment,
)
from refold_async._errors import ConfigError, RefoldError
from refold_async._handle import ExecutionHandle, Services, handle_of_ref
from refold_async._models import ExecutionRef
from refold_async._pacing import Budget
from refold_async._resources import Executions, SessionTokens, Workflows
from refold_async._starting import Orphans, Reconciler, Starter, Submission, new_tag
from refold_async._stats import Counters
from refold_async._transport import Api, Authenticator, Transport, Wire
from refold_async._waiting import Tracker
from refold_async._webhooks import Webhooks

if TYPE_CHECKING:
    import asyncio
    import os
    from collections.abc import (
        AsyncGenerator,
        AsyncIterable,
        Awaitable,
        Callable,
        Coroutine,
        Iterable,
    )
    from types import TracebackType

    import aiohttp

    from refold_async._batch import (
        BatchItem,
        BatchProgress,
        BatchReport,
        ExecutionRequest,
    )
    from refold_async._checks import Seconds
    from refold_async._models import ExecutionResult, RequestStructure
    from refold_async._stats import Stats


class ExecuteOptions(TypedDict, total=False):
    """The arguments of `execute` that `run` passes on."""

    payload: Any
    sync: bool
    linked_account_id: str | None
    config_id: str | None
    instance_tag: str | None
    unique_tag: bool
    include_headers: bool
    retry: RetryPolicy | None


class RefoldClient:
    """A client of one Refold deployment, for one event loop.

    Making one does no I/O and needs no running loop. End it with `async with` or `aclose()`.

    Args:
        api_key: the organisation's key (`pk...`, `tk...`); or set REFOLD_API_KEY.
        session_token: a token bound to one linked account, or an async callable that gives one and
            is called again after a 401, once per token; or set REFOLD_SESSION_TOKEN. Exactly one
            of the two credentials.
        linked_account_id: for whom calls are made unless they say otherwise; or set
            REFOLD_LINKED_ACCOUNT_ID. A session token brings its own, and this is then not sent.
        base_url: where the service is; https (http to loopback), a path prefix is kept; or set
            REFOLD_BASE_URL.
        timeouts: bounds on one attempt, in seconds.
        retry: when requests are tried again.
        polling: how pending runs are looked at.
        rate_limit: ceiling on requests of all kinds; None for no ceiling.
        max_connections: sockets at most, and so requests in flight.
        max_payload_bytes: largest payload, serialised.
        max_reply_bytes: largest reply, after decompression.
        allow_insecure_http: allow http beyond loopback, for self-hosting in a private network.
        session: your own aiohttp session to send with: its connector and proxy settings are used,
            its headers, cookies, credentials and middlewares are not. It is never closed. Without
            our trace hooks every failure after a call began counts as sent.
        clock: what tells the time, for tests.

    Raises:
        ConfigError: a setting is wrong or a credential is missing; names the field.

    See: "Authentication", "API overview".
    """

    def __init__(
        self,
        *,
        api_key: str | None = None,
        session_token: str | Callable[[], Awaitable[str]] | None = None,
        linked_account_id: str | None = None,
        base_url: str | None = None,
        timeouts: Timeouts = Timeouts(),  # noqa: B008 - frozen
        retry: RetryPolicy = RetryPolicy(),  # noqa: B008
        polling: PollPolicy = PollPolicy(),  # noqa: B008
        rate_limit: RateLimit | None = RateLimit(),  # noqa: B008
        max_connections: int = 100,
        max_payload_bytes: int = 3 * MIB,
        max_reply_bytes: int = 16 * MIB,
        allow_insecure_http: bool = False,
        session: aiohttp.ClientSession | None = None,
        clock: Clock | None = None,
    ) -> None:
        auth = Authenticator(choose_credential(api_key, session_token))
        account = linked_account_id
        if account is None:
            account = from_environment("REFOLD_LINKED_ACCOUNT_ID")
        url = base_url
        if url is None:
            url = from_environment("REFOLD_BASE_URL") or DEFAULT_BASE_URL
        clock = clock or SystemClock()
        counters = Counters()
        wire = Wire(
            base_url=check_base_url(url, allow_insecure_http=allow_insecure_http),
            auth=auth,
            timeouts=_expect(timeouts, Timeouts, "timeouts"),
            clock=clock,
            max_connections=check_count(max_connections, "max_connections"),
            max_reply_bytes=check_count(max_reply_bytes, "max_reply_bytes"),
            theirs=session,
        )
        transport = Transport(
            wire=wire,
            auth=auth,
            policy=_expect(retry, RetryPolicy, "retry"),
            budget=Budget(
                None if rate_limit is None else _expect(rate_limit, RateLimit, "rate_limit"),
                max_connections,
                clock,
            ),
            clock=clock,
            counters=counters,
        )
        api = Api(transport)
        tracker = Tracker(
            api,
            _expect(polling, PollPolicy, "polling"),
            clock,
            counters,
            at_once=max(1, max_connections // 4),
        )
        self._transport = transport
        self._services = Services(api, tracker, polling, clock)
        self._reconciler = Reconciler(api, clock, polling.page_size)
        self._starter = Starter(self._services, self._reconciler, counters)
        self._services.start = self._starter.start
        self._services.learn = tracker.learn = self._reconciler.learn
        self._counters = counters
        self._max_connections = max_connections
        self._max_payload_bytes = check_count(max_payload_bytes, "max_payload_bytes")
        self._account = None if account is None else check_header(account, "linked_account_id")
        self._is_view = False

    # -- accounts and life -------------------------------------------------------------------

    @property
    def linked_account_id(self) -> str | None:
        """For whom calls are made unless they say otherwise."""
        return self._account

    def for_account(self, linked_account_id: str) -> RefoldClient:
        """Give a view of this client for another linked account.

        It shares session, tracker, budget and counters, and costs next to nothing: make one per
        request in a service. Closing a view does nothing; the client it came from is what is
        closed.

        Raises:
            ConfigError: the client authenticates with a session token, which is bound to one
                account.
        """
        if self._transport.auth.bound_to_account:
            raise ConfigError(
                "a session token is bound to one linked account; use an API key, or make a client"
                " with that account's token",
                field="linked_account_id",
            )
        view = copy.copy(self)
        view._account = check_header(linked_account_id, "linked_account_id")  # noqa: SLF001
        view._is_view = True  # noqa: SLF001
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

    async def aclose(self) -> None:
        """Close the client; runs go on. Safe to call again.

        Pending waits and queued calls end with `ClientClosedError`. A session of your own stays
        open.

        Raises:
            ClientClosedError: the client lives on another event loop, or in the process this one
                was forked from: close it there.
        """
        if self._is_view:
            return
        ended = self._transport.loop_has_ended()
        self._transport.wire.closed = True
        if not ended:
            await self._services.tracker.aclose()
            await self._transport.aclose()
            await self._starter.aclose()
        await self._transport.wire.aclose()

    def __repr__(self) -> str:
        transport = self._transport
        state = "closed" if transport.closed else "open"
        return (
            f"<RefoldClient {transport.wire.base_url} linked_account_id={self._account!r} {state}>"
        )

    @property
    def stats(self) -> Stats:
        """The client's counters and its budget as they stand, shared by all its views."""
        return self._counters.snapshot(self._transport.budget.stats())

    # -- starting and finding runs -----------------------------------------------------------

    def execute(
        self,
        workflow_id: str,
        *,
        slug: str,
        payload: Any = None,
        sync: bool = False,
        linked_account_id: str | None = None,
        config_id: str | None = None,
        instance_tag: str | None = None,
        unique_tag: bool = False,
        include_headers: bool = False,
        timeout: Seconds | None = None,
        retry: RetryPolicy | None = None,
    ) -> Coroutine[Any, Any, ExecutionHandle[Any]]:
        """Start a workflow and give the handle of the run: `await refold.execute(...)`.

        Not repeatable by itself: the service knows no idempotency keys. What happens when an answer
        is lost is the retry policy's choice; see "Outcomes" in the documentation. The payload is
        serialised when this is called: changing it afterwards has no effect on what is sent.
        Cancelling it before the request left starts nothing.

        Args:
            workflow_id: id of a published workflow, or its alias.
            slug: the application the workflow belongs to.
            payload: the input, a JSON object; None for an empty one.
            sync: hold the connection until the workflow ends, and give a settled handle.
            linked_account_id: for whom, if not for the client's own account.
            config_id: which configuration; the service's default is the linked account's.
            instance_tag: a label for the run; without one a unique one is made.
            unique_tag: say that no other call ever uses this `instance_tag`, so that a run whose
                answer was lost can be found by it, as by a tag the SDK made.
            include_headers: have the sanitised request headers in the result.
            timeout: seconds (or a timedelta) for all of it: slot, attempts and pauses.
            retry: another policy than the client's for this call.

        Returns:
            The handle; settled already if the reply brought the result.

        Raises:
            ConfigError: an argument is wrong; nothing was sent.
            PayloadError: the payload can't be sent as JSON, or is too large.
            ExecutionOutcomeUnknownError: the run may or may not have started.
            ApiError: the service refused: no run started.
            TransportError: no run started; `ConnectionFailedError` or `RequestTimeoutError` with
                `sent == False`, or `UnexpectedReplyError` for a redirect.
            ClientClosedError: the client is closed, or belongs to another loop.

        See: "Execute Workflow".
        """
        try:
            limit = positive_seconds(timeout, "timeout")
            policy = None if retry is None else _expect(retry, RetryPolicy, "retry")
            request = self._request(
                workflow_id,
                slug=slug,
                payload=payload,
                sync=sync,
                linked_account_id=linked_account_id,
                config_id=config_id,
                instance_tag=instance_tag,
                unique_tag=unique_tag,
                include_headers=include_headers,
            )
        except RefoldError as error:
            # Raised where it is awaited: in the middle of a gather's argument list it would leave
            # the calls made so far unawaited.
            return _raise(error)
        return self._starter.start(request, policy=policy, limit=limit)

    def _request(
        self,
        workflow_id: str,
        *,
        linked_account_id: str | None,
        instance_tag: str | None,
        unique_tag: bool,
        **options: Any,
    ) -> protocol.Request:
        """Check the arguments of a start; one without a tag gets one of its own."""
        account = self._required(self._choose_account(linked_account_id))
        if unique_tag and instance_tag is None:
            raise ConfigError("says something about an instance_tag", field="unique_tag")
        return protocol.execute_request(
            workflow_id,
            account=account,
            instance_tag=instance_tag,
            unique_tag=unique_tag,
            own_tag=new_tag() if instance_tag is None else None,
            max_payload_bytes=self._max_payload_bytes,
            **options,
        )

    def run(
        self,
        workflow_id: str,
        *,
        slug: str,
        timeout: Seconds | None = None,
        **options: Unpack[ExecuteOptions],
    ) -> Coroutine[Any, Any, ExecutionResult[Any]]:
        """Start a workflow and wait for its result: `execute`, then `handle.result()`.

        Args:
            workflow_id: id of a published workflow, or its alias.
            slug: the application the workflow belongs to.
            timeout: seconds (or a timedelta) for all of it. Once the run has started, its end is a
                `WaitTimeoutError` that names the run.
            options: the other arguments of `execute`.

        Raises:
            RefoldError: whatever `execute` and `ExecutionHandle.result` raise. An error with an
                `execution_id` is about a run that exists: don't start it again.

        See: "Execute Workflow".
        """
        submit = self.execute(workflow_id, slug=slug, timeout=timeout, **options)
        return self._run(submit, timeout)

    async def _run(
        self, submit: Coroutine[Any, Any, ExecutionHandle[Any]], timeout: Seconds | None
    ) -> ExecutionResult[Any]:
        began = self._services.clock.monotonic()
        handle = await submit
        limit = positive_seconds(timeout, "timeout")
        if limit is not None:
            limit = max(limit - (self._services.clock.monotonic() - began), 1e-9)
        return await handle.result(timeout=limit)

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
        ref = execution_id_or_ref
        if not isinstance(ref, ExecutionRef):
            ref = ExecutionRef(execution_id=ref)
        elif ref.execution_id is None:
            raise ConfigError(
                "this ref has none, so there is nothing to find", field="execution_id"
            )
        account = self._choose_account(linked_account_id or ref.linked_account_id)
        self._required(account)
        ref = ExecutionRef(
            execution_id=check_id(ref.execution_id, "execution_id"),
            workflow_id=_plain_or_none(ref.workflow_id),
            slug=_plain_or_none(ref.slug),
            linked_account_id=account,
            instance_tag=_plain_or_none(ref.instance_tag),
        )
        return handle_of_ref(self._services, ref)

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
        account = self._required(self._choose_account(linked_account_id))
        workflow_id = check_id(workflow_id, "workflow_id")
        instance_tag = check_header(instance_tag, "instance_tag")
        found = await self._reconciler.find(account, instance_tag, workflow_id)
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
        return await self._reconciler.check(self._required(self._account), workflow_id)

    @property
    def orphans(self) -> Orphans:
        """Handles of runs whose caller was cancelled after the request had left.

        Iterating takes them out; at most 1,000 are kept, the oldest dropped with a log line.
        """
        return self._starter.orphans

    # -- batches -----------------------------------------------------------------------------

    def map(
        self,
        requests: Iterable[ExecutionRequest] | AsyncIterable[ExecutionRequest],
        *,
        concurrency: int | None = None,
        wait: bool = True,
        ordered: bool = False,
        validate: bool = False,
    ) -> AsyncGenerator[BatchItem]:
        """Run many workflows and give each item as it settles, whatever became of it.

        ::

            async with aclosing(refold.map(requests)) as items:
                async for item in items:
                    print(item.key, item.outcome)

        The input is pulled as the request budget lets items through, so it may be endless, and
        memory does not grow with it. An item takes one of `concurrency` places from when it is
        pulled to when it is yielded: a slow reader slows the pulling. Not repeatable: it starts
        runs.

        Leaving early (`break` inside `aclosing`, or being cancelled) cancels no run and sends
        nothing more. Handles of runs that were started and not yielded are then in `orphans`.

        Args:
            requests: an iterable or async iterable of `ExecutionRequest`. If it raises, what was
                pulled is still yielded, and then its error is raised.
            concurrency: items under way at most; 10,000 by default, since each costs a few KiB and
                runs that take long must not hold up starts. How fast starts leave is the rate
                limit's and the service's business, and no more than `max_connections` of them are
                being started at one time.
            wait: wait for the runs to end; False: an item has succeeded once its run has started.
            ordered: yield in the order of the input, within the same number of places.
            validate: check each payload against its workflow's JSON Schema before it is sent
                (needs the extra `validate`); items that don't fit are `rejected`.

        Yields:
            Each item once, with exactly one outcome; failures are in `item.error`, not raised.

        Raises:
            ConfigError: an argument is wrong, or an extra is missing.
            ClientClosedError: the client is closed, or belongs to another loop.

        See: "Execute Workflow".
        """
        return self._batches().map(
            requests, concurrency=concurrency, wait=wait, ordered=ordered, validate=validate
        )

    async def run_batch(
        self,
        requests: Iterable[ExecutionRequest] | AsyncIterable[ExecutionRequest],
        *,
        journal: str | os.PathLike[str] | None = None,
        concurrency: int | None = None,
        wait: bool = True,
        stop_after_failures: int | None = None,
        progress: Callable[[BatchProgress], object] | None = None,
        validate: bool = False,
        stop: asyncio.Event | None = None,
    ) -> BatchReport:
        """Run many workflows and report what became of each; failures don't raise.

        Keeps every item for the report: for inputs without end there is `map`. With a journal it
        may be repeated after a crash, with the same input: what is done is not run again. Without
        one, repeating it starts everything again. Cancelling it cancels no run and sends nothing
        more.

        Args:
            requests: as of `map`; what it raises ends up in `report.input_error`.
            journal: a file that remembers the batch (needs the extra `batch`): made if it is not
                there, resumed from if it is. See "Batches" in the documentation.
            concurrency: as of `map`.
            wait: as of `map`.
            stop_after_failures: after so many items that are failed, rejected or unknown nothing
                more is sent; what runs is waited for, and the rest of the input is `unsent`.
            progress: called on every change with how far the batch is; must not block.
            validate: read the whole input first and check every payload against its workflow's
                JSON Schema (needs the extra `validate`); if one does not fit, nothing is sent.
            stop: set it to stop the batch as `stop_after_failures` does.

        Raises:
            ConfigError: an argument is wrong, or an extra is missing.
            JournalError: the journal can't be used; nothing was sent.
            ClientClosedError: the client is closed, or belongs to another loop.

        See: "Execute Workflow".
        """
        return await self._batches().run(
            requests,
            journal=journal,
            concurrency=concurrency,
            wait=wait,
            stop_after_failures=stop_after_failures,
            progress=progress,
            validate=validate,
            stop=stop,
        )

    def _batches(self) -> Batches:
        transport, services = self._transport, self._services
        return Batches(
            prepare=self._prepare,
            reattach=self.handle,
            structure=self._structure,
            reconciler=self._reconciler,
            orphaned=self._starter.orphans.add,
            check_usable=transport.check_usable,
            requests_made=lambda: dict(self._counters.requests),
            at_once=self._max_connections,
            clock=services.clock,
            meta={"base_url": transport.wire.base_url, "linked_account_id": self._account},
        )

    def _prepare(self, wanted: ExecutionRequest) -> Submission:
        """Make a start that can be sent later, or raise what is wrong with it."""
        options = attrs.asdict(wanted, recurse=False)
        limit = positive_seconds(options.pop("timeout"), "timeout")
        policy = options.pop("retry")
        policy = None if policy is None else _expect(policy, RetryPolicy, "retry")
        del options["key"]
        return Submission(
            self._starter,
            self._request(**options),
            policy=policy,
            limit=limit,
            tag_is_ours=wanted.instance_tag is None,
        )

    async def _structure(self, workflow_id: str, account: str | None) -> RequestStructure:
        return await self._services.api.request_structure(
            workflow_id, account=self._choose_account(account)
        )

    # -- the other operations ----------------------------------------------------------------

    @property
    def executions(self) -> Executions:
        """Runs, to get, list, stop or start again.

        Raises:
            ConfigError: no linked account is known; runs belong to one.
        """
        return Executions(self._services, self._required(self._account))

    @property
    def workflows(self) -> Workflows:
        """Workflows, to list and to ask what they expect."""
        return Workflows(self._services, self._account)

    @property
    def webhooks(self) -> Webhooks:
        """Webhooks, to make and to manage. What they deliver is read by `refold_async.webhooks`."""
        return Webhooks(self._services)

    @property
    def session_tokens(self) -> SessionTokens:
        """Session tokens, to create."""
        return SessionTokens(self._services)

    def _choose_account(self, given: str | None) -> str | None:
        """Settle on a linked account: the call's own wins over the client's."""
        if given is None:
            return self._account
        given = check_header(given, "linked_account_id")
        bound = self._transport.auth.bound_to_account
        if bound and self._account is not None and given != self._account:
            raise ConfigError(
                "the session token is bound to another linked account", field="linked_account_id"
            )
        return given

    def _required(self, account: str | None) -> str | None:
        """Refuse calls for which no linked account is known (a session token brings its own)."""
        if account is None and not self._transport.auth.bound_to_account:
            raise ConfigError(
                "with an API key this call needs one: pass it to the call or the client, use"
                " for_account(...), or set REFOLD_LINKED_ACCOUNT_ID",
                field="linked_account_id",
            )
        return account


def _plain_or_none(text: str | None) -> str | None:
    return None if text is None else plain(text)


_P = TypeVar("_P")


def _expect(value: object, kind: type[_P], field: str) -> _P:
    if not isinstance(value, kind):
        raise ConfigError(f"must be a {kind.__name__}, not {value!r:.80}", field=field)
    return value


async def _raise(error: RefoldError) -> Any:
    raise error
