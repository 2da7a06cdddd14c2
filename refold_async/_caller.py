"""For whom calls are made, and with what: arguments are checked here, and starts made ready."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import attrs

from refold_async import _protocol as protocol
from refold_async._batch import Batches
from refold_async._checks import check_flag, check_header, check_kind, plain, positive_seconds
from refold_async._config import Dialect, RetryPolicy
from refold_async._errors import ConfigError
from refold_async._parts import Parts
from refold_async._starting import Submission, new_tag

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from refold_async._batch import ExecutionRequest
    from refold_async._checks import Seconds
    from refold_async._handle import ExecutionHandle
    from refold_async._models import ExecutionRef, RequestStructure


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
        **options: Any,
    ) -> Callable[[], Coroutine[Any, Any, ExecutionHandle[Any]]]:
        """Check the arguments of `execute`; what is given back sends, when it is awaited."""
        limit = positive_seconds(timeout, "timeout")
        policy = None if retry is None else check_kind(retry, RetryPolicy, "retry")
        request = self._request(workflow_id, **options)
        return partial(self.parts.starter.start, request, policy=policy, limit=limit)

    def planned_once(
        self,
        workflow_id: str,
        *,
        once: str,
        within: Seconds,
        scope: str,
        fallback: str | None,
        timeout: Seconds | None,
        retry: RetryPolicy | None,
        unique_tag: bool,
        **options: Any,
    ) -> Callable[[], Coroutine[Any, Any, ExecutionHandle[Any]]]:
        """Check the arguments of an `execute` with a key; what is given back starts or attaches."""
        from refold_async._shared import asked_for, check_once, tag_of  # noqa: PLC0415

        parts, sharing = self.parts, self.parts.sharing
        limit = positive_seconds(timeout, "timeout")
        policy = None if retry is None else check_kind(retry, RetryPolicy, "retry")
        account = self.required(options["linked_account_id"])
        checked = check_once(
            once,
            within=within,
            scope=scope,
            fallback=fallback,
            shared=sharing.shared is not None,
            sync=options["sync"],
            instance_tag=options["instance_tag"],
            policy=policy or parts.services.api.policy,
            workflow_id=workflow_id,
            account=account,
        )
        base_url = parts.transport.wire.base_url
        tag = tag_of(sharing.name, base_url, account or "", plain(workflow_id), checked.key)
        request = self._request(workflow_id, own_tag=tag, unique_tag=unique_tag, **options)
        asked = asked_for(checked, request)
        return partial(sharing.once.start, asked, parts.starter, policy, limit)

    def submission(self, wanted: ExecutionRequest) -> Submission:
        """Make a start that can be sent later, or raise what is wrong with it."""
        options = attrs.asdict(wanted, recurse=False)
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
        linked_account_id: str | None = None,
        instance_tag: str | None = None,
        unique_tag: bool = False,
        own_tag: str | None = None,
        **options: Any,
    ) -> protocol.Request:
        """Check the arguments of a start; one without a tag gets one of its own."""
        account = self.required(linked_account_id)
        if check_flag(unique_tag, "unique_tag") and instance_tag is None:
            raise ConfigError("says something about an instance_tag", field="unique_tag")
        return protocol.execute_request(
            workflow_id,
            account=account,
            instance_tag=instance_tag,
            unique_tag=unique_tag,
            own_tag=own_tag or (new_tag() if instance_tag is None else None),
            bare=self.dialect.body == "bare",
            max_payload_bytes=self.max_payload_bytes,
            **options,
        )

    def batches(self, reattach: Callable[[ExecutionRef], ExecutionHandle[Any]]) -> Batches:
        """Give what batches need of a client."""
        parts = self.parts
        transport = parts.transport
        return Batches(
            prepare=self.submission,
            reattach=reattach,
            structure=self._structure,
            reconciler=parts.reconciler,
            orphaned=parts.starter.orphans.add,
            check_usable=transport.check_usable,
            requests_made=lambda: dict(parts.counters.requests),
            at_once=transport.wire.connections.limit,
            clock=parts.services.clock,
            meta={"base_url": transport.wire.base_url, "linked_account_id": self.account},
        )

    async def _structure(self, workflow_id: str, account: str | None) -> RequestStructure:
        api = self.parts.services.api
        return await api.request_structure(workflow_id, account=self.choose(account))
