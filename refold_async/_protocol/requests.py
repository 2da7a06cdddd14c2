"""Arguments → `Request`: validated, serialised once, without a secret in it.

For whom a call is made (`linked_account_id`) and who makes it are headers the transport adds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

from refold_async._checks import check_flag, check_header, check_id, plain
from refold_async._errors import ConfigError
from refold_async._protocol.payload import dump_payload, unwrapped


class Operation(StrEnum):
    """What a request asks for; the names under which `stats` counts."""

    EXECUTE = "execute"
    RERUN = "rerun"
    TRIGGER_EVENT = "trigger_event"
    STOP = "stop"
    GET_EXECUTION = "get_execution"
    GET_RESPONSE = "get_response"
    LIST_EXECUTIONS = "list_executions"
    LIST_BATCHES = "list_batches"
    LIST_WORKFLOWS = "list_workflows"
    ENABLED_WORKFLOWS = "enabled_workflows"
    REQUEST_STRUCTURE = "request_structure"
    CREATE_SESSION_TOKEN = "create_session_token"  # noqa: S105 - an operation's name
    CREATE_WEBHOOK = "create_webhook"
    LIST_WEBHOOKS = "list_webhooks"
    GET_WEBHOOK = "get_webhook"
    UPDATE_WEBHOOK = "update_webhook"
    DELETE_WEBHOOK = "delete_webhook"


STARTING = frozenset({Operation.EXECUTE, Operation.RERUN, Operation.TRIGGER_EVENT})
"""Operations that start a run: sending one twice may start two."""


_NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class Request(NamedTuple):
    """One request, complete but for the credential, which the transport adds.

    Attributes:
        operation: what it asks for.
        method: HTTP method.
        target: path with query, below the base URL, already quoted.
        headers: all headers but those of credential and linked account.
        body: the JSON body, or None.
        account: the linked account the call is for, or None.
        sync: whether the reply comes only when the workflow ends.
        instance_tag: the label a started run will carry.
        unique_tag: whether no other call uses that label, so that it identifies the run.
        workflow_id: the workflow to start, for errors.
        execution_id: the execution the call is about, for errors.
        slug: the application of the workflow, for the handle.
        bare: whether the body is the payload itself, and not an object around it.
        idempotent: whether a second start like it starts nothing, as its sender knows.
    """

    operation: Operation
    target: str
    method: str = "GET"
    headers: Mapping[str, str] = _NO_HEADERS
    body: bytes | None = None
    account: str | None = None
    sync: bool = False
    instance_tag: str | None = None
    unique_tag: bool = False
    workflow_id: str | None = None
    execution_id: str | None = None
    slug: str | None = None
    bare: bool = False
    idempotent: bool = False

    def __repr__(self) -> str:
        return f"<Request {self.operation} {self.method} {self.target}>"  # a payload is private

    @property
    def names(self) -> dict[str, str | None]:
        """What and whose it is, in the words of errors."""
        return {
            "operation": self.operation.value,
            "execution_id": self.execution_id,
            "workflow_id": self.workflow_id,
            "slug": self.slug,
            "linked_account_id": self.account,
        }

    @property
    def ids(self) -> dict[str, str | None]:
        """The same, for a line of the log: with the tag by which its run is found."""
        return {**self.names, "instance_tag": self.instance_tag}

    @property
    def payload(self) -> bytes:
        """The input of the workflow, as JSON."""
        return unwrapped(self.body or b"", bare=self.bare)

    @property
    def repeatable(self) -> bool:
        """Whether sending it twice does no more than sending it once."""
        return self.operation not in STARTING or self.idempotent


_TOKEN = re.compile("[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}")
_OURS = frozenset(
    {
        *("x-api-key", "authorization", "linked_account_id", "slug", "config_id", "instance_tag"),
        *("host", "content-type", "content-length", "content-encoding", "transfer-encoding"),
        *("connection", "expect", "upgrade", "cookie", "accept-encoding", "user-agent"),
        *("proxy-authorization", "te", "trailer"),
    }
)
"""Headers that say who asks for what, and how bytes are to be read."""
JSON_HEADERS = {"Content-Type": "application/json"}


def execute_request(
    workflow_id: str,
    *,
    slug: str,
    payload: Any = None,
    sync: bool = False,
    account: str | None = None,
    config_id: str | None = None,
    instance_tag: str | None = None,
    unique_tag: bool = False,
    own_tag: str | None = None,
    include_headers: bool = False,
    bare: bool = False,
    max_payload_bytes: int,
) -> Request:
    """Start a workflow; under `own_tag`, which is unique, unless the caller gave a tag.

    See: "Execute Workflow".
    """
    # Before the cache is asked: a class of the caller's may call two texts equal, and 1 is True.
    check_flag(sync, "sync")
    check_flag(include_headers, "include_headers")
    workflow_id, slug = _plain(workflow_id), _plain(slug)
    common = workflow_id, slug, _plain(config_id), sync, include_headers
    try:
        target, headers = _target_and_headers(*common)
    except TypeError:  # one of them can't be hashed: no string, which is now said of the right one
        target, headers = _target_and_headers.__wrapped__(*common)
    if instance_tag is not None:
        instance_tag = check_header(instance_tag, "instance_tag")
    elif own_tag is not None:
        instance_tag, unique_tag = own_tag, True
    if instance_tag is not None:
        headers = {**headers, "instance_tag": instance_tag}
    body = dump_payload(payload, limit=max_payload_bytes, bare=bare)
    # By position, which takes half the time that names would.
    return Request(
        Operation.EXECUTE,
        target,
        "POST",
        headers,
        body,
        account,
        sync,
        instance_tag,
        unique_tag,
        workflow_id,
        None,
        slug,
        bare,
    )


def _plain(value: Any) -> Any:
    return plain(value) if isinstance(value, str) else value


@lru_cache(maxsize=1_024)
def _target_and_headers(
    workflow_id: str,
    slug: str,
    config_id: str | None,
    sync: bool,  # noqa: FBT001 - by position the cache is asked faster
    include_headers: bool,  # noqa: FBT001
) -> tuple[str, Mapping[str, str]]:
    """Check what the calls of one workflow have in common, once."""
    check_id(workflow_id, "workflow_id")  # plain already, as are the others
    headers = {
        "Content-Type": "application/json",
        "slug": check_header(slug, "slug"),
        "sync_execution": "true" if sync else "false",
    }
    if config_id is not None:
        headers["config_id"] = check_header(config_id, "config_id")
    if include_headers:
        headers["include-headers"] = "true"
    return f"/api/v2/public/workflow/{workflow_id}/execute", headers


def trigger_event_request(
    event: str,
    *,
    slug: str | None,
    payload: Any,
    account: str | None,
    config_id: str | None,
    instance_tag: str | None,
    headers: Mapping[str, str] | None,
    idempotent: bool,
    max_payload_bytes: int,
) -> Request:
    """Fire an event, which starts the workflows that wait for it. See: "Events"."""
    named = {"slug": slug, "config_id": config_id, "instance_tag": instance_tag}
    own = {name: check_header(value, name) for name, value in named.items() if value is not None}
    body = dump_payload(payload, limit=max_payload_bytes)
    return Request(
        operation=Operation.TRIGGER_EVENT,
        target="/api/v2/public/event/trigger",
        method="POST",
        headers={**_further({} if headers is None else headers), **own, **JSON_HEADERS},
        body=b'{"event":' + json.dumps(_event(event)).encode() + b"," + body.removeprefix(b"{"),
        account=account,
        instance_tag=own.get("instance_tag"),
        slug=own.get("slug"),
        idempotent=idempotent,
    )


def _event(name: Any) -> str:
    if not isinstance(name, str) or not name.strip() or not name.isprintable():
        raise ConfigError(f"must be the name of an event, not {name!r:.80}", field="event")
    return str.__str__(name)


def _further(headers: object) -> dict[str, str]:
    """Check headers of the caller's own: they take no place of ours."""
    if not isinstance(headers, Mapping):
        kind = type(headers).__name__
        raise ConfigError(f"must be a mapping of names to values, not {kind}", field="headers")
    further = {}
    for given, value in headers.items():
        name = _plain(given)
        if type(name) is not str or not _TOKEN.fullmatch(name) or name.lower() in _OURS:
            raise ConfigError(f"{given!r:.80} can't be a header of your own", field="headers")
        further[name] = check_header(value, "headers")
    return further


def _execution_request(
    operation: Operation, execution_id: str, account: str | None, target: str, method: str = "GET"
) -> Request:
    execution_id = check_id(execution_id, "execution_id")
    return Request(
        operation=operation,
        method=method,
        target=target.format(execution_id),
        account=account,
        execution_id=execution_id,
    )


def get_execution_request(execution_id: str, *, account: str | None) -> Request:
    """Read a run with its nodes. See: "Get Execution"."""
    return _execution_request(
        Operation.GET_EXECUTION, execution_id, account, "/api/v2/public/execution/{}"
    )


def get_response_request(execution_id: str, *, account: str | None) -> Request:
    """Read the output of a run. See: "Workflow API"."""
    return _execution_request(
        Operation.GET_RESPONSE, execution_id, account, "/api/v1/execution/{}/response"
    )


def stop_request(execution_id: str, *, account: str | None) -> Request:
    """Ask the service to stop a run. See: "Stop Execution"."""
    return _execution_request(
        Operation.STOP, execution_id, account, "/api/v2/public/execution/{}/stop", "POST"
    )


def rerun_request(execution_id: str, *, account: str | None) -> Request:
    """Run an execution's original payload again. See: "Rerun Execution"."""
    return _execution_request(
        Operation.RERUN, execution_id, account, "/api/v2/public/execution/{}/rerun", "POST"
    )


def list_executions_request(*, account: str | None, query: Mapping[str, Any]) -> Request:
    """Read one page of an account's runs. See: "List Executions"."""
    return Request(
        operation=Operation.LIST_EXECUTIONS,
        target="/api/v2/public/execution" + _query(query),
        account=account,
    )


def list_batches_request(
    execution_id: str, node_id: str, *, account: str | None, query: Mapping[str, Any]
) -> Request:
    """Read one page of a node's batches. See: "List Node Batches"."""
    node_id = check_id(node_id, "node_id")
    target = f"/api/v2/public/execution/{{}}/nodes/{node_id}/batches"
    request = _execution_request(Operation.LIST_BATCHES, execution_id, account, target)
    return request._replace(target=request.target + _query(query))


def list_workflows_request(*, account: str | None, query: Mapping[str, Any]) -> Request:
    """Read one page of workflows. See: "List Workflows"."""
    return Request(
        operation=Operation.LIST_WORKFLOWS,
        target="/api/v2/public/workflow" + _query(query),
        account=account,
    )


def enabled_workflows_request(*, account: str | None) -> Request:
    """Read the workflows enabled for an account. See: "List Enabled Workflows"."""
    return Request(
        operation=Operation.ENABLED_WORKFLOWS,
        target="/api/v2/public/workflow/enabled",
        account=account,
    )


def request_structure_request(workflow_id: str, *, account: str | None) -> Request:
    """Read what a workflow expects. See: "Get Workflow Request Structure"."""
    workflow_id = check_id(workflow_id, "workflow_id")
    return Request(
        operation=Operation.REQUEST_STRUCTURE,
        target=f"/api/v2/public/workflow/request-structure/{workflow_id}",
        account=account,
        workflow_id=workflow_id,
    )


def create_session_token_request(account: str, *, force_refresh: bool) -> Request:
    """Make a session token for an account. See: "Generate Session Token"."""
    return Request(
        operation=Operation.CREATE_SESSION_TOKEN,
        method="POST",
        target="/api/v2/public/session-token" + ("?force_refresh=true" if force_refresh else ""),
        headers=JSON_HEADERS,
        body=json.dumps({"linked_account_id": check_header(account, "linked_account_id")}).encode(),
    )


def _query(parameters: Mapping[str, Any]) -> str:
    """Quote a query; None means "not asked", others are written as the service does."""
    pairs = [
        (name, _spelled(value, name)) for name, value in parameters.items() if value is not None
    ]
    return "?" + urlencode(pairs, quote_via=quote) if pairs else ""


def _spelled(value: Any, field: str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return int.__repr__(value)
    if isinstance(value, datetime):  # an aware one
        text = value.astimezone(UTC).isoformat(timespec="milliseconds")
        return text.replace("+00:00", "Z")
    if not isinstance(value, str):
        raise ConfigError(f"must be text, not {type(value).__name__}", field=field)
    text = plain(value)
    if not text or not text.isprintable():
        raise ConfigError(f"must be printable text, not {text[:40]!r}", field=field)
    return text
