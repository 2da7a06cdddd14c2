"""The groups of operations beside execute: `executions`, `workflows`, `events` and tokens."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from refold_async._checks import check_count, check_flag
from refold_async._errors import ConfigError
from refold_async._handle import ExecutionHandle, Services
from refold_async._models import ExecutionStatus, Pages
from refold_async._protocol import trigger_event_request

if TYPE_CHECKING:
    import builtins
    from collections.abc import Mapping
    from typing import Literal

    from refold_async._models import (
        Execution,
        Page,
        RequestStructure,
        SessionToken,
        Workflow,
    )


class Executions:
    """Runs of one linked account. Get it as `refold.executions`."""

    def __init__(self, services: Services, account: str | None) -> None:
        self._services = services
        self._account = account

    async def get(self, execution_id: str) -> Execution:
        """Read a run with its nodes. See: "Get Execution".

        Raises:
            NotFoundError: no such run for this linked account.
        """
        return await self._services.api.get_execution(execution_id, account=self._account)

    async def response(self, execution_id: str) -> Any:
        """Read the output of a run: the Response node's data as JSON, None before it ends.

        See: "Workflow API".

        Raises:
            NotFoundError: no such run, or the deployment does not serve this path (then the output
                is that of the Response node in `get`).
        """
        output = await self._services.api.get_response(execution_id, account=self._account)
        return output.value

    def list(
        self,
        *,
        page_size: int = 100,
        status: ExecutionStatus | str | None = None,
        workflow_id: str | None = None,
        workflow_name: str | None = None,
        execution_id: str | None = None,
        slug: str | None = None,
        start_date: datetime | str | None = None,
        end_date: datetime | str | None = None,
        execution_type: Literal["SYNC", "ASYNC"] | None = None,
        execution_source: str | None = None,
        oldest_first: bool = False,
    ) -> Pages[Execution]:
        """Iterate over the account's runs, newest first; `.pages()` goes page by page.

        Entries carry no nodes and no output; `get` reads those. Repeatable; nothing is requested
        before the iteration starts.

        Args:
            page_size: runs asked for per request; the service may give fewer.
            status: only runs in this status. A text must be one that `ExecutionStatus` lists;
                `ExecutionStatus("NEW")` asks for one that this version does not know.
            workflow_id: only runs of this workflow.
            workflow_name: only runs of workflows of this name.
            execution_id: only this run.
            slug: only runs of these applications (comma-separated).
            start_date: only runs created at or after this time (aware datetime, or ISO 8601 text).
            end_date: only runs created at or before this time.
            execution_type: SYNC or ASYNC.
            execution_source: how they were started, as the service spells it.
            oldest_first: reverse the order, so that new runs don't shift the pages.

        Raises:
            ConfigError: an argument is wrong.

        See: "List Executions".
        """
        query = {
            "limit": check_count(page_size, "page_size"),
            "status": _known(status),
            "slug": slug,
            "workflow_id": workflow_id,
            "workflow_name": workflow_name,
            "execution_id": execution_id,
            "start_date": _aware(start_date, "start_date"),
            "end_date": _aware(end_date, "end_date"),
            "execution_type": _one_of(execution_type, ("SYNC", "ASYNC"), "execution_type"),
            "execution_source": execution_source,
            "sortAsc": True if oldest_first else None,
        }

        async def fetch(page: Mapping[str, Any]) -> Page[Execution]:
            found = await self._services.api.list_executions(account=self._account, query=page)
            self._services.learn(found)
            return found

        return Pages(fetch, query, operation="list_executions", linked_account_id=self._account)

    async def stop(self, execution_id: str) -> None:
        """Ask the service to stop a run; may be repeated. See: "Stop Execution"."""
        await self._services.api.stop(execution_id, account=self._account)

    async def rerun(self, execution_id: str) -> ExecutionHandle[Any]:
        """Start a new run from a run's payload. See: `ExecutionHandle.rerun`."""
        handle = ExecutionHandle[Any](self._services, execution_id, linked_account_id=self._account)
        return await handle.rerun()

    def batches(
        self, execution_id: str, node_id: str, *, page_size: int = 100
    ) -> Pages[Mapping[str, Any]]:
        """Iterate over the batches of a node, as JSON objects (their shape is not documented).

        Raises:
            ServerError: while iterating, with status 501: the node has no batches.

        See: "List Node Batches".
        """
        query = {"limit": check_count(page_size, "page_size")}

        async def fetch(page: Mapping[str, Any]) -> Page[Mapping[str, Any]]:
            return await self._services.api.list_batches(
                execution_id, node_id, account=self._account, query=page
            )

        return Pages(
            fetch,
            query,
            operation="list_batches",
            execution_id=execution_id,
            linked_account_id=self._account,
        )


class Workflows:
    """Workflows. Get it as `refold.workflows`."""

    def __init__(self, services: Services, account: str | None) -> None:
        self._services = services
        self._account = account

    def list(
        self,
        *,
        page_size: int = 100,
        slug: str | None = None,
        name: str | None = None,
        published: bool | None = None,
        scope: Literal["private"] | None = None,
    ) -> Pages[Workflow]:
        """Iterate over the workflows; `.pages()` goes page by page. See: "List Workflows".

        Args:
            page_size: workflows asked for per request.
            slug: only those of this application.
            name: only those of this name.
            published: only published ones, or only unpublished ones.
            scope: `private` for those of the linked account alone.
        """
        query = {
            "limit": check_count(page_size, "page_size"),
            "slug": slug,
            "name": name,
            "published": None if published is None else check_flag(published, "published"),
            "scope": _one_of(scope, ("private",), "scope"),
        }

        async def fetch(page: Mapping[str, Any]) -> Page[Workflow]:
            return await self._services.api.list_workflows(account=self._account, query=page)

        return Pages(fetch, query, operation="list_workflows", linked_account_id=self._account)

    async def enabled(self) -> builtins.list[Workflow]:
        """Read the workflows enabled for the linked account. See: "List Enabled Workflows"."""
        return await self._services.api.enabled_workflows(account=self._account)

    async def request_structure(self, workflow_id: str) -> RequestStructure:
        """Read what a workflow expects as payload. See: "Get Workflow Request Structure"."""
        return await self._services.api.request_structure(workflow_id, account=self._account)


class Events:
    """Events, which start the workflows that wait for them. Get it as `refold.events`."""

    def __init__(self, services: Services, account: str | None, max_payload_bytes: int) -> None:
        self._services = services
        self._account = account
        self._max_payload_bytes = max_payload_bytes

    async def trigger(
        self,
        event: str,
        *,
        slug: str | None = None,
        payload: Mapping[str, Any] | None = None,
        config_id: str | None = None,
        instance_tag: str | None = None,
        headers: Mapping[str, str] | None = None,
        idempotent: bool = False,
    ) -> None:
        """Fire an event of the linked account.

        **There is no execution id**: the service says that the event was fired, and neither whether
        a workflow waited for it nor which runs it started. So there is nothing to wait for here;
        `executions.list(execution_source="Event")` shows what ran. Where the run matters, start it
        with `execute`.

        Not repeatable by itself: where the answer is lost, nobody knows whether the event was
        fired, and it is not fired again, whatever `RetryPolicy.mode` says: there is no handle to
        show a possible duplicate. The service can drop repeats: an author makes a trigger
        idempotent, by a key from a header or from the payload, and for five minutes by default a
        repeat starts nothing. Say so with `idempotent=True`, and give the key: then a lost answer
        is asked for again, as a read is. Retries stay within that time if `Timeouts` and
        `RetryPolicy` do. Cancelling it once the request has left cancels no run.

        Args:
            event: its name.
            slug: the application it belongs to.
            payload: what comes with it, a JSON object.
            config_id: the configuration to run with; the linked account's own by default.
            instance_tag: a label for what it starts.
            headers: headers of your own, such as the one that carries the idempotency key.
            idempotent: the trigger is made idempotent, and this call carries its key.

        Raises:
            ConfigError: an argument is wrong; nothing was sent.
            PayloadError: the payload can't be sent.
            NotFoundError: no such event (`error_code` INVALID_EVENT; older deployments answer 400,
                a `BadRequestError`).
            ExecutionOutcomeUnknownError: the event may have been fired, or not.

        See: "Events", "Idempotency".
        """
        request = trigger_event_request(
            event,
            slug=slug,
            payload=payload,
            account=self._account,
            config_id=config_id,
            instance_tag=instance_tag,
            headers=headers,
            idempotent=check_flag(idempotent, "idempotent"),
            max_payload_bytes=self._max_payload_bytes,
        )
        await self._services.api.trigger_event(request)


class SessionTokens:
    """Session tokens. Get it as `refold.session_tokens`."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def create(self, linked_account_id: str, *, force_refresh: bool = False) -> SessionToken:
        """Make a session token for a linked account (needs an API key); may be repeated.

        Args:
            linked_account_id: whom the token is bound to.
            force_refresh: make a new one even if the last is still valid.

        See: "Generate Session Token".
        """
        return await self._services.api.create_session_token(
            linked_account_id, force_refresh=check_flag(force_refresh, "force_refresh")
        )


def _known(status: object) -> ExecutionStatus | None:
    """Read a status; one that is misspelt would find nothing, and say nothing."""
    if status is None or isinstance(status, ExecutionStatus):
        return status
    found = ExecutionStatus(status) if isinstance(status, str) else None
    if found not in set(ExecutionStatus):
        known = ", ".join(ExecutionStatus)
        raise ConfigError(f"is one of {known}, not {status!r:.40}", field="status")
    return found


def _one_of(value: str | None, known: tuple[str, ...], field: str) -> str | None:
    if value is not None and value not in known:
        raise ConfigError(f"is {' or '.join(known)}, not {value!r:.40}", field=field)
    return value


def _aware(moment: datetime | str | None, field: str) -> datetime | str | None:
    if isinstance(moment, str):
        try:
            datetime.fromisoformat(moment)
        except ValueError:
            raise ConfigError(
                f"is an aware datetime or ISO 8601 text, not {moment!r:.40}", field=field
            ) from None
    elif moment is not None and not isinstance(moment, datetime):
        raise ConfigError(f"is an aware datetime or ISO 8601 text, not {moment!r:.40}", field=field)
    if isinstance(moment, datetime) and moment.tzinfo is None:
        raise ConfigError("needs a time zone, as datetime.now(UTC) has", field=field)
    return moment
