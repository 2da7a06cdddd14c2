"""For whom calls are made, and with what: arguments are checked here, and starts made ready."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs

from refold_async import _protocol as protocol
from refold_async._checks import (
    check_flag,
    check_header,
    check_id,
    check_kind,
    plain,
    positive_seconds,
)
from refold_async._config import Dialect, RetryPolicy
from refold_async._errors import ConfigError, RefoldError
from refold_async._handle import handle_of_ref
from refold_async._models import ExecutionRef
from refold_async._parts import Parts
from refold_async._starting import Submission, new_tag
from refold_async._typed import TypedWorkflow, plain_payload

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from refold_async._batch import Batches, ExecutionRequest
    from refold_async._checks import Seconds
    from refold_async._handle import ExecutionHandle
    from refold_async._models import ExecutionResult, RequestStructure
    from refold_async._typed import Out


DAY = timedelta(days=1)
"""For which a key of `once` counts, if nothing else is said."""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Caller:
    """A client's own way of calling, or a view's.

    Attributes:
        parts: what calls are made with.
        account: for whom, unless a call says otherwise.
        max_payload_bytes: largest payload, serialised.
        dialect: how the deployment speaks.
    """

    parts: Parts
    account: str | None
    max_payload_bytes: int
    dialect: Dialect

    @property
    def bound(self) -> bool:
        """Whether the credential itself says for which linked account calls are."""
        return self.parts.transport.auth.bound_to_account

    def for_account(self, linked_account_id: str) -> Caller:
        """Give the same for another account; see `RefoldClient.for_account`."""
        if self.bound:
            raise ConfigError(
                "a session token is bound to one linked account; use an API key, or make a client"
                " with that account's token",
                field="linked_account_id",
            )
        return attrs.evolve(self, account=check_header(linked_account_id, "linked_account_id"))

    def choose(self, given: str | None) -> str | None:
        """Settle on a linked account: the call's own wins over the client's."""
        if given is None:
            return self.account
        given = check_header(given, "linked_account_id")
        if self.bound and self.account is not None and given != self.account:
            raise ConfigError(
                "the session token is bound to another linked account", field="linked_account_id"
            )
        return given

    def required(self, given: str | None = None) -> str | None:
        """Settle on one, and refuse calls for which none is known (a token brings its own)."""
        account = self.choose(given)
        if account is None and not self.bound:
            raise ConfigError(
                "with an API key this call needs one: pass it to the call or the client, use"
                " for_account(...), or set REFOLD_LINKED_ACCOUNT_ID",
                field="linked_account_id",
            )
        return account

    def planned(
        self,
        workflow_id: str,
        *,
        timeout: Seconds | None,
        retry: RetryPolicy | None = None,
        once: str | None = None,
        once_within: Seconds = DAY,
        once_scope: str = "shared",
        once_fallback: str | None = None,
        **options: Any,
    ) -> Callable[[], Coroutine[Any, Any, ExecutionHandle[Any]]]:
        """Check the arguments of `execute`; what is given back sends, when it is awaited."""
        limit = positive_seconds(timeout, "timeout")
        policy = None if retry is None else check_kind(retry, RetryPolicy, "retry")
        if once is not None:
            key = {"within": once_within, "scope": once_scope, "fallback": once_fallback}
            return self._planned_once(
                workflow_id, limit=limit, policy=policy, once=once, key=key, **options
            )
        request = self._request(workflow_id, **options)
        return partial(self.parts.starter.start, request, policy=policy, limit=limit)

    def _planned_once(
        self,
        workflow_id: str,
        *,
        limit: float | None,
        policy: RetryPolicy | None,
        once: str,
        key: Mapping[str, Any],
        **options: Any,
    ) -> Callable[[], Coroutine[Any, Any, ExecutionHandle[Any]]]:
        """Check the arguments of an `execute` with a key; what is given back starts or attaches."""
        from refold_async._shared import asked_for, check_once, tag_of  # noqa: PLC0415

        parts, sharing = self.parts, self.parts.sharing
        account = self.required(options.get("linked_account_id"))
        checked = check_once(
            once,
            **key,
            shared=sharing.shared is not None,
            sync=options.get("sync", False),
            instance_tag=options.get("instance_tag"),
            policy=policy or parts.services.api.policy,
            workflow_id=workflow_id,
            account=account,
        )
        base_url = parts.transport.wire.base_url
        tag = tag_of(sharing.name, base_url, account or "", plain(workflow_id), checked.key)
        request = self._request(workflow_id, own_tag=tag, **options)
        asked = asked_for(checked, request)
        return partial(sharing.once.start, asked, parts.starter, policy, limit)

    def execute(
        self, workflow_id: str, **arguments: Any
    ) -> Coroutine[Any, Any, ExecutionHandle[Any]]:
        """Start a run; what is wrong is raised where it is awaited.

        In the middle of a gather's argument list it would leave the calls made so far unawaited.
        """
        try:
            return self.planned(workflow_id, **arguments)()
        except RefoldError as error:
            return failing(error)

    async def run(
        self,
        start: Callable[[], Coroutine[Any, Any, ExecutionHandle[Out]]],
        timeout: Seconds | None,
    ) -> ExecutionResult[Out]:
        """Start a run and wait for its result; left while it waits, it is an orphan."""
        clock = self.parts.services.clock
        began = clock.monotonic()
        handle = await start()
        limit = positive_seconds(timeout, "timeout")
        if limit is not None:
            limit = max(limit - (clock.monotonic() - began), 1e-9)
        try:
            return await handle.result(timeout=limit)
        except asyncio.CancelledError:
            # The id of a run that goes on must not be lost with a stack.
            self.parts.starter.orphan(handle, "run left while it waited")
            raise

    def reattach(
        self, execution_id_or_ref: str | ExecutionRef, *, linked_account_id: str | None = None
    ) -> ExecutionHandle[Any]:
        """Give a handle of a run that was started before; see `RefoldClient.handle`."""
        ref = execution_id_or_ref
        if not isinstance(ref, ExecutionRef):
            ref = ExecutionRef(execution_id=ref)
        elif ref.execution_id is None:
            raise ConfigError(
                "this ref has none, so there is nothing to find", field="execution_id"
            )
        account = self.required(linked_account_id or ref.linked_account_id)
        ref = ExecutionRef(
            execution_id=check_id(ref.execution_id, "execution_id"),
            workflow_id=_plain_or_none(ref.workflow_id),
            slug=_plain_or_none(ref.slug),
            linked_account_id=account,
            instance_tag=_plain_or_none(ref.instance_tag),
            traceparent=_plain_or_none(ref.traceparent),
        )
        return handle_of_ref(self.parts.services, ref)

    def submission(self, wanted: ExecutionRequest) -> Submission:
        """Make a start that can be sent later, or raise what is wrong with it."""
        options = attrs.asdict(wanted, recurse=False)
        if (types := options.pop("types")) is not None:
            options["payload"] = check_kind(types, TypedWorkflow, "types").payload(wanted.payload)
        limit = positive_seconds(options.pop("timeout"), "timeout")
        retry = options.pop("retry")
        policy = None if retry is None else check_kind(retry, RetryPolicy, "retry")
        del options["key"]
        return Submission(
            self.parts.starter,
            self._request(**options),
            policy=policy,
            limit=limit,
            tag_is_ours=wanted.instance_tag is None,
        )

    def _request(
        self,
        workflow_id: str,
        *,
        payload: Any = None,
        linked_account_id: str | None = None,
        instance_tag: str | None = None,
        unique_tag: bool = False,
        own_tag: str | None = None,
        **options: Any,
    ) -> protocol.Request:
        """Check the arguments of a start; one without a tag gets one of its own."""
        account = self.required(linked_account_id)
        if check_flag(unique_tag, "unique_tag") and instance_tag is None:
            raise ConfigError("give the instance_tag that is unique, too", field="unique_tag")
        return protocol.execute_request(
            workflow_id,
            payload=plain_payload(payload),
            account=account,
            instance_tag=instance_tag,
            unique_tag=unique_tag,
            own_tag=own_tag or (new_tag() if instance_tag is None else None),
            bare=self.dialect.body == "bare",
            max_payload_bytes=self.max_payload_bytes,
            **options,
        )

    def batches(self) -> Batches:
        """Give what batches need of a client."""
        from refold_async._batch import Batches  # noqa: PLC0415 - with the first batch

        parts = self.parts
        transport = parts.transport
        return Batches(
            prepare=self.submission,
            reattach=self.reattach,
            structure=self._structure,
            reconciler=parts.reconciler,
            orphaned=parts.starter.orphans.add,
            check_usable=transport.check_usable,
            until_closed=parts.closing.told,
            requests_made=lambda: dict(parts.counters.requests),
            at_once=transport.wire.connections.limit,
            clock=parts.services.clock,
            meta={
                "base_url": transport.wire.base_url,
                "linked_account_id": self.account,
                "lease": None,  # on Dask it is another: then workers may still start what it has
            },
        )

    async def _structure(self, workflow_id: str, account: str | None) -> RequestStructure:
        api = self.parts.services.api
        return await api.request_structure(workflow_id, account=self.choose(account))


def named(coroutine: Coroutine[Any, Any, Out], name: str) -> Coroutine[None, None, Out]:
    """Give a coroutine the name it is known by to whoever forgets to await it.

    With None for what it yields mypy knows the result of a `gather` of several kinds; with Any, as
    the loop would have it, that is Any.
    """
    nameable: Any = coroutine
    nameable.__qualname__ = name
    return coroutine


async def failing(error: RefoldError) -> Any:
    """Raise what was wrong with a call, where it is awaited."""
    raise error


def _plain_or_none(text: str | None) -> str | None:
    return None if text is None else plain(text)
