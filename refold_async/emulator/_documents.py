"""Runs and workflows as the JSON documents of the API."""

import hashlib
import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from ._behaviour import Behaviour
from ._runs import TERMINAL, Progress, Run
from ._tokens import SessionToken
from ._workflows import RESPONSE_NODE, Workflow

Document = dict[str, Any]

_ORG_ID = "64e5a1b2c3d4e5f6a7b8c9d0"


def list_document(run: Run, now: float, behaviour: Behaviour, *, dated: bool = True) -> Document:
    """A run as an entry of the list: no nodes, no output, and perhaps no date."""
    workflow = run.workflow
    status = run.status(now)
    over = status in TERMINAL and run.ends_at is not None
    document: Document = {
        "_id": run.execution_id,
        "name": f"{'Retry' if run.rerun_of else 'Execution'} for workflow {workflow.workflow_id}",
        "org_id": _ORG_ID,
        "environment": "test",
        "status": _spelled(status, behaviour),
        "createdAt": iso(run.created_at, behaviour.created_at),
        "updatedAt": iso(run.changed_at(now), behaviour.created_at),
        "completion_time": iso(run.ends_at, behaviour.created_at)
        if over and run.ends_at is not None
        else None,
        "instance_execution_time": _ms(run.seconds(now)) if over else None,
        "associated_workflow": {
            "_id": workflow.workflow_id,
            "name": workflow.name,
            "icon": None,
        },
        "associated_application": {
            "_id": made_id(workflow.slug),
            "name": workflow.slug.title(),
            "icon": None,
        },
        "associated_event_id": None,
        "linked_account_id": run.linked_account_id,
        "config_id": run.config_id,
        "type_of_execution": "SYNC" if run.sync else "ASYNC",
        "execution_source": "Event" if run.event else "API_CALL",
        "trigger_application_event": run.event,
        "executed_by_thanos": True,
    }
    if behaviour.echo_instance_tag_in_list:
        document["instance_tag"] = run.instance_tag
    if not dated:
        del document["createdAt"]
    return _extended(document, behaviour)


def execution_document(run: Run, now: float, behaviour: Behaviour) -> Document:
    """A run with its nodes."""
    progress = run.progress(now)
    document = list_document(run, now, behaviour)
    document.pop("instance_tag", None)
    if behaviour.echo_instance_tag_in_get:
        document["instance_tag"] = run.instance_tag
    document["completion_percentage"] = progress.percentage
    document["nodes"] = [
        _node(run, index, progress, now, behaviour) for index in range(len(run.workflow.nodes))
    ]
    return document


def response_document(run: Run, now: float, behaviour: Behaviour) -> Document:
    """The result of an asynchronous run."""
    status = run.status(now)
    if behaviour.response_status_for_ended == "ERRORED" and status != "COMPLETED":
        status = "ERRORED" if status in TERMINAL else "RUNNING"
    return {"response": run.output(now), "status": _spelled(status, behaviour)}


def sync_document(run: Run, now: float, behaviour: Behaviour) -> Document:
    """The answer of a sync run that is over."""
    completed = run.status(now) == "COMPLETED"
    tells_status = completed and behaviour.sync_status_code == "set"
    document: Document = {
        "execution_id": run.execution_id,
        "return_value": run.output(now),
        "errored": not completed,
        "status_code": run.outcome.status_code if tells_status else None,
        "execution_error": None if completed else _execution_error(run, behaviour),
        "executed_by_thanos": True,
    }
    return {field: document[field] for field in document if field not in behaviour.sync_strips}


def whole_workflow_document(workflow: Workflow, behaviour: Behaviour) -> Document:
    """A workflow with its nodes, and what leads from one to the next."""
    count = len(workflow.nodes)
    return {
        **workflow_document(workflow, behaviour),
        "nodes": [
            {"node_id": node_id(index), "node_name": name, "node_type": node_type(name)}
            for index, name in enumerate(workflow.nodes)
        ],
        "edges": [
            {"source": node_id(index), "target": node_id(index + 1)} for index in range(count - 1)
        ],
    }


def workflow_document(workflow: Workflow, behaviour: Behaviour) -> Document:
    """A workflow as an entry of the list."""
    document = {
        "_id": workflow.workflow_id,
        "name": workflow.name,
        "alias": workflow.alias,
        "slug": workflow.slug,
        "published": workflow.published,
        "application": _application(workflow),
    }
    return _extended(document, behaviour)


def enabled_document(workflow: Workflow, account: str | None) -> Document:
    """A workflow as an entry of the enabled ones."""
    return {
        "id": workflow.workflow_id,
        "name": workflow.name,
        "description": "",
        "icon": None,
        "config_id": account,
        "application": _application(workflow),
    }


def request_structure_document(workflow: Workflow) -> Document:
    """What a workflow wants as its payload."""
    properties = (workflow.schema or {}).get("properties", {})
    return {
        "payload": dict.fromkeys(properties),
        "schema": workflow.schema,
        "schema_interpreted": {name: kind.get("type") for name, kind in properties.items()},
    }


def token_document(issued: SessionToken, now: float) -> Document:
    """A session token with the seconds it is still good for."""
    return {
        "token": issued.token,
        "refresh_token": issued.refresh_token,
        "expires_in": math.floor(issued.expires_at - now),
        "refresh_expires_in": math.floor(issued.refresh_expires_at - now),
    }


def page_document(docs: Sequence[Any], *, total: int, page: int, limit: int) -> Document:
    """One page and where it stands among the others."""
    pages = max(1, math.ceil(total / limit))
    return {
        "docs": docs,
        "totalDocs": total,
        "limit": limit,
        "page": page,
        "totalPages": pages,
        "pagingCounter": (page - 1) * limit + 1,
        "hasPrevPage": page > 1,
        "hasNextPage": page < pages,
        "prevPage": page - 1 if page > 1 else None,
        "nextPage": page + 1 if page < pages else None,
    }


def iso(seconds: float, precision: Literal["milliseconds", "seconds"]) -> str:
    """Epoch seconds as the service writes times: in UTC, with milliseconds or without."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat(timespec=precision).replace("+00:00", "Z")


def made_id(name: str) -> str:
    """An id that looks like the service's, always the same for the same name."""
    return hashlib.sha256(name.encode()).hexdigest()[:24]


def node_id(index: int) -> str:
    """The id of a node: its number in the workflow, as text."""
    return str(index + 1)


def node_type(name: str) -> str:
    """The type of a node."""
    return name.lower() if name in {"Start", RESPONSE_NODE} else "action"


def _node(run: Run, index: int, progress: Progress, now: float, behaviour: Behaviour) -> Document:
    name = run.workflow.nodes[index]
    status = progress.node_status(index)
    reached = index <= progress.node
    passed = min(1.0, max(0.0, progress.position - index))
    each = run.seconds(now) / progress.position if progress.position else 0.0
    return {
        "node_id": node_id(index),
        "node_name": name,
        "node_type": node_type(name),
        "node_status": status,
        "is_batch": name in run.workflow.batches,
        "attempts_made": 1 if reached else 0,
        "maximum_attempts": 3,
        "execution_time": _ms(each * passed),
        "input_data": run.payload if reached else None,
        "latest_output": _latest_output(run, index, status, behaviour),
    }


def _latest_output(run: Run, index: int, status: str, behaviour: Behaviour) -> Any:
    name = run.workflow.nodes[index]
    about = {"status": status, "node_id": node_id(index), "node_name": name}
    if status == "Errored":
        return {**about, "body": {"error": ending_text(run)}}
    if status != "Success":
        return None
    if name == "Start":
        about = {"node_id": node_id(index), "node_type": node_type(name), "status": "initialized"}
        return {"message": "Workflow initialized", **about}
    if name != RESPONSE_NODE:
        return run.payload
    wrapped = behaviour.response_node_output == "wrapped"
    return {**about, "body": run.outcome.output} if wrapped else run.outcome.output


def _execution_error(run: Run, behaviour: Behaviour) -> Any:
    if behaviour.sync_error_shape == "null":
        return None
    text = ending_text(run)
    return text if behaviour.sync_error_shape == "text" else {"message": text}


def ending_text(run: Run) -> str:
    """Why a run ended badly."""
    if run.ending == run.outcome.status and run.outcome.error is not None:
        return run.outcome.error
    return f"Workflow ended {run.ending}"


def _application(workflow: Workflow) -> Document:
    return {"name": workflow.slug.title(), "slug": workflow.slug, "icon": None}


def _extended(document: Document, behaviour: Behaviour) -> Document:
    if behaviour.extra_fields:
        document["region"] = "local"
        document["emulated"] = {"since": 1}
    return document


def _spelled(status: str, behaviour: Behaviour) -> str:
    return status.lower() if behaviour.status_case == "lower" else status


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
