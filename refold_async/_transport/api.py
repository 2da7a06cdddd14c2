"""One typed coroutine per HTTP operation. Each follows the page its request names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from refold_async import _protocol as protocol
from refold_async._errors import UnexpectedReplyError, clip
from refold_async._pacing import Priority

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping

    from refold_async._config import RetryPolicy, Timeouts
    from refold_async._models import (
        Execution,
        Page,
        RequestStructure,
        SessionToken,
        Webhook,
        Workflow,
    )
    from refold_async._transport.retry import Care
    from refold_async._transport.transport import Transport


class Api:
    """The service's operations over one transport.

    `policy` is the retry policy of one call; None for that of this object, which is the client's
    own unless it was given another, as the timeouts of its attempts are. `deadline` is in monotonic
    seconds. `priority` says who goes first.
    """

    def __init__(
        self,
        transport: Transport,
        policy: RetryPolicy | None = None,
        timeouts: Timeouts | None = None,
    ) -> None:
        self.transport = transport
        self.policy = policy or transport.policy
        self.timeouts = timeouts or transport.wire.timeouts

    def send(
        self,
        request: protocol.Request,
        *,
        policy: RetryPolicy | None = None,
        deadline: float | None = None,
        care: Care | None = None,
        priority: Priority = Priority.RESULT,
    ) -> Coroutine[Any, Any, protocol.Answer]:
        """Send a request and give the accepted answer; see `Transport.send`."""
        return self.transport.send(
            request,
            policy=policy or self.policy,
            timeouts=self.timeouts,
            deadline=deadline,
            care=care,
            priority=priority,
        )

    async def stop(self, execution_id: str, *, account: str | None) -> None:
        """Ask the service to stop a run."""
        request = protocol.stop_request(execution_id, account=account)
        await self.send(request, priority=Priority.STOP)

    async def get_execution(
        self,
        execution_id: str,
        *,
        account: str | None,
        policy: RetryPolicy | None = None,
        priority: Priority = Priority.RESULT,
    ) -> Execution:
        """Read a run with its nodes."""
        request = protocol.get_execution_request(execution_id, account=account)
        answer = await self.send(request, policy=policy, priority=priority)
        _check_run(answer.document, execution_id)
        _check_status(answer.document)
        return protocol.read_execution(answer.document, execution_id=execution_id)

    async def get_response(
        self,
        execution_id: str,
        *,
        account: str | None,
        policy: RetryPolicy | None = None,
        priority: Priority = Priority.RESULT,
    ) -> protocol.Output:
        """Read the output of a run."""
        request = protocol.get_response_request(execution_id, account=account)
        answer = await self.send(request, policy=policy, priority=priority)
        _check_run(answer.document, execution_id)
        _check_status(answer.document)
        return protocol.read_response(answer)

    async def list_executions(
        self,
        *,
        account: str | None,
        query: Mapping[str, Any],
        deadline: float | None = None,
        policy: RetryPolicy | None = None,
        priority: Priority = Priority.RESULT,
    ) -> Page[Execution]:
        """Read one page of an account's runs."""
        request = protocol.list_executions_request(account=account, query=query)
        answer = await self.send(request, policy=policy, deadline=deadline, priority=priority)
        return protocol.read_page(answer, protocol.read_execution)

    async def list_batches(
        self, execution_id: str, node_id: str, *, account: str | None, query: Mapping[str, Any]
    ) -> Page[Mapping[str, Any]]:
        """Read one page of a node's batches; their shape is not documented, so they stay JSON."""
        request = protocol.list_batches_request(execution_id, node_id, account=account, query=query)
        return protocol.read_page(await self.send(request), dict)

    async def list_workflows(
        self, *, account: str | None, query: Mapping[str, Any], policy: RetryPolicy | None = None
    ) -> Page[Workflow]:
        """Read one page of workflows."""
        request = protocol.list_workflows_request(account=account, query=query)
        answer = await self.send(request, policy=policy)
        return protocol.read_page(answer, protocol.read_workflow)

    async def enabled_workflows(self, *, account: str | None) -> list[Workflow]:
        """Read the workflows enabled for an account."""
        request = protocol.enabled_workflows_request(account=account)
        answer = await self.send(request)
        return [protocol.read_workflow(doc) for doc in answer.document if isinstance(doc, dict)]

    async def request_structure(self, workflow_id: str, *, account: str | None) -> RequestStructure:
        """Read what a workflow expects."""
        request = protocol.request_structure_request(workflow_id, account=account)
        return protocol.read_request_structure(await self.send(request))

    async def trigger_event(self, request: protocol.Request) -> None:
        """Fire an event, by a request of `trigger_event_request`.

        What may have been fired is not fired again, whatever the mode: there is no handle on which
        a possible duplicate could be seen.
        """
        policy = self.policy
        if policy.mode == "transient":
            policy = attrs.evolve(policy, mode="safe")
        await self.send(request, policy=policy, priority=Priority.START)

    async def create_session_token(self, account: str, *, force_refresh: bool) -> SessionToken:
        """Make a session token for an account."""
        request = protocol.create_session_token_request(account, force_refresh=force_refresh)
        return protocol.read_session_token(await self.send(request))

    async def create_webhook(
        self, fields: Mapping[str, Any], *, policy: RetryPolicy | None = None
    ) -> Webhook:
        """Subscribe to events."""
        request = protocol.create_webhook_request(fields)
        answer = await self.send(request, policy=policy)
        return protocol.read_webhook(answer.document)

    async def list_webhooks(self) -> list[Webhook]:
        """Read all webhooks."""
        answer = await self.send(protocol.list_webhooks_request())
        return [protocol.read_webhook(doc) for doc in answer.document if isinstance(doc, dict)]

    async def get_webhook(self, webhook_id: str) -> Webhook:
        """Read one webhook."""
        answer = await self.send(protocol.get_webhook_request(webhook_id))
        return protocol.read_webhook(answer.document)

    async def update_webhook(
        self, webhook_id: str, fields: Mapping[str, Any], *, policy: RetryPolicy | None = None
    ) -> Webhook:
        """Change fields of a webhook."""
        request = protocol.update_webhook_request(webhook_id, fields)
        return protocol.read_webhook((await self.send(request, policy=policy)).document)

    async def delete_webhook(self, webhook_id: str) -> None:
        """Remove a webhook."""
        await self.send(protocol.delete_webhook_request(webhook_id))


def _check_run(document: Mapping[str, Any], asked: str) -> None:
    """See that an answer is about the run that was asked for: a cache may have mixed them up."""
    for name in ("_id", "execution_id"):
        told = document.get(name)
        if isinstance(told, str) and told.casefold() != asked.casefold():
            raise UnexpectedReplyError(f"the answer is about another run ({clip(told, 40)})")


def _check_status(document: Mapping[str, Any]) -> None:
    """See that an answer says how a run stands: one that doesn't would be waited on for ever."""
    status = document.get("status")
    if not (isinstance(status, str) and status):
        raise UnexpectedReplyError("the answer says nothing of how the run stands (no `status`)")
