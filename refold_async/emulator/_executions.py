"""The operations on executions: start, read, list, stop, run again."""

import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import attrs

from ._behaviour import Behaviour
from ._documents import (
    execution_document,
    list_document,
    page_document,
    response_document,
    sync_document,
)
from ._replies import RefusedError, Reply, execute_refusal, json_reply, refusal
from ._service import Call, Service
from ._state import Run, between
from ._workflows import Workflow

_SECRET_HEADERS = frozenset({"x-api-key", "authorization", "cookie"})

Keep = Callable[[Run], bool]


@attrs.frozen
class Held:
    """An answer that waits for a run to end.

    Attributes:
        run: The run.
        reply: Makes the answer once it is over.
    """

    run: Run
    reply: Callable[[], Reply]


def execute(service: Service, call: Call) -> Reply | Held:
    """Start a run; a sync one is answered when it is over."""
    account = service.account(call)
    document = service.json_object(call)
    workflow = _startable(service, call, account)
    payload = document.get("payload", {})
    if not isinstance(payload, dict):
        raise RefusedError(execute_refusal("payload must be a JSON object"))
    if complaints := workflow.complaints(payload):
        raise RefusedError(_payload_refusal(service.behaviour, complaints))
    sync = _flag(call.headers.get("sync_execution"))
    if sync and workflow.has_group_node:
        raise RefusedError(execute_refusal("sync_execution is refused with a Group node"))
    service.admit_start()
    run = service.state.start(
        workflow,
        payload,
        account=account,
        config_id=call.headers.get("config_id"),
        instance_tag=call.headers.get("instance_tag"),
        sync=sync,
    )
    included = _included_headers(service, call)
    if sync:
        return Held(run, lambda: _sync_reply(service, run, included))
    started = {"message": "Workflow execution started", "execution_id": run.execution_id}
    return json_reply({**started, **included})


def get_execution(service: Service, call: Call) -> Reply:
    """One execution with its nodes."""
    run = service.run(call)
    return json_reply(execution_document(run, service.now(), service.behaviour))


def get_response(service: Service, call: Call) -> Reply:
    """The result of an asynchronous run."""
    behaviour = service.behaviour
    if behaviour.response_path == "missing":
        raise RefusedError(refusal(404, "Cannot find this path"))
    if not behaviour.response_accepts_session_token:
        service.require_key(call)
    return json_reply(response_document(service.run(call), service.now(), behaviour))


def list_executions(service: Service, call: Call) -> Reply:
    """One page of an account's executions, newest first."""
    account, behaviour, now = service.account(call), service.behaviour, service.now()
    query = {} if behaviour.ignores_filters else call.query
    runs = _shelf(service, account, query)
    start = _moment(query.get("start_date"), -math.inf)
    end = min(_moment(query.get("end_date"), math.inf), now - behaviour.list_lag)
    found: range | list[int] = between(runs, start, end)
    for keep in _filters(query, now):
        found = [at for at in found if keep(runs[at])]
    if not _flag(call.query.get("sortAsc")):
        found = found[::-1]
    page, limit = paging(service, call)
    docs = [
        list_document(runs[at], now, behaviour) for at in found[(page - 1) * limit : page * limit]
    ]
    return json_reply(page_document(docs, total=len(found), page=page, limit=limit))


def stop(service: Service, call: Call) -> Reply:
    """Ask a run to stop."""
    run, now = service.run(call), service.now()
    if run.is_over(now):
        raise RefusedError(refusal(400, "Execution has already ended"))
    run.stop(now, takes=service.behaviour.stop_takes)
    return json_reply({"message": "Stopping instance"})


def rerun(service: Service, call: Call) -> Reply:
    """Start a run again from its original payload."""
    run = service.run(call)
    service.admit_start()
    again = service.state.rerun(run)
    if service.behaviour.rerun_shape == "id":
        return json_reply({"status": "success", "id": again.execution_id})
    return json_reply({"message": "Execution queued", "instanceId": again.execution_id})


def list_batches(service: Service, call: Call) -> Reply:
    """One page of a node's batches."""
    batches = service.run(call).workflow.batches.get(call.ids["node_id"])
    if batches is None:
        raise RefusedError(refusal(501, "Node has no batches"))
    page, limit = paging(service, call)
    docs = batches[(page - 1) * limit : page * limit]
    return json_reply(page_document(docs, total=len(batches), page=page, limit=limit))


def paging(service: Service, call: Call) -> tuple[int, int]:
    """The page and limit asked for; a limit out of range is moved into it."""
    try:
        page, limit = int(call.query.get("page", 1)), int(call.query.get("limit", 10))
    except ValueError:
        raise RefusedError(refusal(400, "page and limit must be numbers")) from None
    return max(1, page), min(max(1, limit), service.behaviour.max_page_size)


def _startable(service: Service, call: Call, account: str) -> Workflow:
    workflow = service.state.workflow(call.ids["workflow_id"])
    if (
        workflow is None
        or not workflow.published
        or workflow.slug != call.headers.get("slug")
        or not workflow.owned_by(account)
    ):
        raise RefusedError(execute_refusal("Workflow ID and slug are required"))
    return workflow


def _payload_refusal(behaviour: Behaviour, complaints: list[tuple[str, str]]) -> Reply:
    status, shape = behaviour.payload_error_status, behaviour.payload_error_shape
    if shape == "text":
        return execute_refusal("; ".join(f"{field}: {text}" for field, text in complaints), status)
    errors: Any = [{"field": field, "message": text} for field, text in complaints]
    if shape == "fields":
        errors = {}
        for field, text in complaints:
            errors.setdefault(field, []).append(text)
    return json_reply({"message": "Payload validation failed", "errors": errors}, status)


def _sync_reply(service: Service, run: Run, included: dict[str, Any]) -> Reply:
    now = service.now()
    completed = run.status(now) == "COMPLETED"
    status = (run.outcome.status_code or 200) if completed else service.behaviour.sync_error_status
    return json_reply({**sync_document(run, now, service.behaviour), **included}, status)


def _included_headers(service: Service, call: Call) -> dict[str, Any]:
    asked = call.headers.get("include-headers") or call.query.get("include-headers")
    if not _flag(asked):
        return {}
    shown = {
        name.lower(): value
        for name, value in call.headers.items()
        if name.lower() not in _SECRET_HEADERS
    }
    return {service.behaviour.included_headers_field: shown}


def _shelf(service: Service, account: str, query: Mapping[str, str]) -> list[Run]:
    if execution_id := query.get("execution_id"):
        run = service.state.run(execution_id)
        return [run] if run is not None and run.linked_account_id == account else []
    if workflow_id := query.get("workflow_id"):
        workflow = service.state.workflow(workflow_id)
        return [] if workflow is None else service.state.listed(account, workflow.workflow_id)
    return service.state.listed(account)


def _filters(query: Mapping[str, str], now: float) -> list[Keep]:
    """What remains to be asked of each run once the shelf and the times are chosen."""
    keep: list[Keep] = []
    if status := query.get("status"):
        statuses = {status, status.upper()}
        keep.append(lambda run: run.status(now) in statuses)
    if slugs := query.get("slug"):
        wanted = {slug.strip() for slug in slugs.split(",")}
        keep.append(lambda run: run.workflow.slug in wanted)
    if name := query.get("workflow_name", "").lower():
        keep.append(lambda run: name in run.workflow.name.lower())
    if kind := query.get("execution_type", "").upper():
        keep.append(lambda run: run.sync is (kind == "SYNC"))
    if source := query.get("execution_source", "").upper().replace(" ", "_"):
        keep.append(lambda _: source == "API_CALL")
    if query.get("execution_id") and (workflow_id := query.get("workflow_id")):
        keep.append(lambda run: workflow_id in {run.workflow_id, run.workflow.alias})
    return keep


def _moment(text: str | None, default: float) -> float:
    if not text:
        return default
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise RefusedError(refusal(400, f"not an ISO 8601 date: {text}")) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _flag(text: str | None) -> bool:
    return text is not None and text.lower() == "true"
