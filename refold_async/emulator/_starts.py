"""The operations that start runs."""

import logging
from collections.abc import Callable
from typing import Any, Literal

import attrs

from ._behaviour import Behaviour
from ._documents import sync_document
from ._events import Event, Fired
from ._queries import is_true
from ._replies import RefusedError, Reply, execute_refusal, json_reply, refusal
from ._runs import Run
from ._service import Call, Service
from ._workflows import Workflow

logger = logging.getLogger("refold_async.emulator")

_SECRET_HEADERS = frozenset({"x-api-key", "authorization", "cookie"})


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
    run, included = _start(service, call, service.behaviour.execute_body)
    if run.sync:
        return Held(run, lambda: _sync_reply(service, run, included))
    started = {"message": "Workflow execution started", "execution_id": run.execution_id}
    return json_reply({**started, **included})


def execute_v1(service: Service, call: Call) -> Reply | Held:
    """Start a run the old way: a bare body, and a short answer."""
    service.require_key(call)
    run, _ = _start(service, call, "bare")
    if run.sync:
        return Held(run, lambda: _short_reply(service, run))
    return json_reply({"execution_id": run.execution_id})


def trigger_event(service: Service, call: Call) -> Reply:
    """Start what waits for an event; the answer names no run."""
    account = service.account(call)
    document = service.json_object(call)
    slug = call.ids.get("slug") or call.headers.get("slug")
    event = service.events.find(document.get("event", document.get("trigger")), slug)
    if event is None:
        status = service.behaviour.unknown_event_status
        raise RefusedError(refusal(status, "Event not found", error_code="INVALID_EVENT"))
    payload = document.get("payload", {})
    if not isinstance(payload, dict):
        raise RefusedError(refusal(400, "payload must be a JSON object"))
    service.admit_start()
    key, now = event.key(call.headers, payload), service.now()
    duplicate = service.events.is_repeat(event, account, key, now)
    runs = () if duplicate else _started_by(service, call, account, event, payload)
    service.events.fired.append(
        Fired(
            event=event.name,
            linked_account_id=account,
            payload=payload,
            key=key,
            duplicate=duplicate,
            execution_ids=runs,
            at=now,
        )
    )
    return json_reply({"message": "Webhook Fired Success"})


def _start(
    service: Service, call: Call, body: Literal["wrapped", "bare", "either"]
) -> tuple[Run, dict[str, Any]]:
    """Start a run; give it and the headers that its answer includes."""
    account = service.account(call)
    document = service.json_object(call)
    workflow = _startable(service, call, account)
    payload = _payload(document, body)
    if complaints := workflow.complaints(payload):
        raise RefusedError(_payload_refusal(service.behaviour, complaints))
    sync = is_true(call.headers.get("sync_execution"))
    if sync and workflow.has_group_node:
        raise RefusedError(execute_refusal("sync_execution is refused with a Group node"))
    service.admit_start()
    included, where = _included_headers(service, call), service.behaviour.included_headers_in
    run = service.state.start(
        workflow,
        payload if where == "reply" else {**payload, **included},
        account=account,
        config_id=call.headers.get("config_id"),
        instance_tag=call.headers.get("instance_tag"),
        sync=sync,
    )
    return run, {} if where == "payload" else included


def _payload(document: dict[str, Any], body: Literal["wrapped", "bare", "either"]) -> Any:
    """The input in a body of execute."""
    is_wrapped = document.keys() <= {"payload"} and isinstance(document.get("payload", {}), dict)
    if body == "bare" or (body == "either" and not is_wrapped):
        return document
    if strange := sorted(document.keys() - {"payload"}):
        why = f"the input belongs under `payload`, and nothing beside it: {strange[0]!r}"
        raise RefusedError(execute_refusal(why))
    if not is_wrapped:
        raise RefusedError(execute_refusal("payload must be a JSON object"))
    return document.get("payload", {})


def rerun(service: Service, call: Call) -> Reply:
    """Start a run again from its original payload."""
    run = service.run(call)
    service.admit_start()
    again = service.state.rerun(run)
    if service.behaviour.rerun_shape == "id":
        return json_reply({"status": "success", "id": again.execution_id})
    return json_reply({"message": "Execution queued", "instanceId": again.execution_id})


def _startable(service: Service, call: Call, account: str) -> Workflow:
    name, slug = call.ids["workflow_id"], call.headers.get("slug")
    workflow = service.state.workflow(name)
    if (
        workflow is None
        or not workflow.published
        or workflow.slug != slug
        or not workflow.owned_by(account)
    ):
        # The answer is the service's own, and tells whoever wrote the test nothing.
        why = _why_not(service, workflow, account)
        logger.warning("no run of workflow %.99r with slug %.99r: %.999s", name, slug, why)
        raise RefusedError(execute_refusal("Workflow ID and slug are required"))
    return workflow


def _why_not(service: Service, workflow: Workflow | None, account: str) -> str:
    if workflow is None:
        there = ", ".join(f"{one.workflow_id!r}" for one in service.state.workflows.values())
        return f"this emulator knows {there or 'none yet: make one with emulator.workflow(...)'}"
    if not workflow.published:
        return "it is not published"
    if not workflow.owned_by(account):
        return f"it is not one of account {account!r}"
    return f"its slug is {workflow.slug!r}"


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
    behaviour = service.behaviour
    status = 200 if completed else behaviour.sync_error_status
    if completed and behaviour.honours_response_status:
        status = run.outcome.status_code or 200
    return json_reply({**sync_document(run, now, behaviour), **included}, status)


def _short_reply(service: Service, run: Run) -> Reply:
    full = _sync_reply(service, run, {})
    document = {"execution_id": run.execution_id, "return_value": run.output(service.now())}
    return json_reply(document, full.status)


def _included_headers(service: Service, call: Call) -> dict[str, Any]:
    asked = call.headers.get("include-headers") or call.query.get("include-headers")
    if not is_true(asked):
        return {}
    shown = {
        name.lower(): value
        for name, value in call.headers.items()
        if name.lower() not in _SECRET_HEADERS
    }
    return {service.behaviour.included_headers_field: shown}


def _started_by(
    service: Service, call: Call, account: str, event: Event, payload: dict[str, Any]
) -> tuple[str, ...]:
    runs = []
    for name in event.starts:
        workflow = service.state.workflow(name)
        if workflow is not None and workflow.published and workflow.owned_by(account):
            run = service.state.start(
                workflow,
                payload,
                account=account,
                config_id=call.headers.get("config_id"),
                instance_tag=call.headers.get("instance_tag"),
                event=event.name,
            )
            runs.append(run.execution_id)
    return tuple(runs)
