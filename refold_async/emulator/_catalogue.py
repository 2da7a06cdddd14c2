"""The operations on workflows and session tokens."""

from ._documents import (
    enabled_document,
    page_document,
    request_structure_document,
    token_document,
    whole_workflow_document,
    workflow_document,
)
from ._queries import is_true, paging
from ._replies import RefusedError, Reply, json_reply, refusal
from ._service import Call, Service
from ._workflows import Workflow


def list_workflows(service: Service, call: Call) -> Reply:
    """One page of the workflows the caller may see."""
    account, query = service.caller(call), call.query
    name, published = query.get("name", "").lower(), query.get("published")
    found = [
        workflow
        for workflow in service.state.workflows.values()
        if workflow.owned_by(account)
        and ("slug" not in query or workflow.slug in query["slug"].split(","))
        and name in workflow.name.lower()
        and (published is None or workflow.published is is_true(published))
        and (query.get("scope") != "private" or workflow.accounts is not None)
    ]
    page, limit = paging(service, call)
    shown = found[(page - 1) * limit : page * limit]
    docs = [workflow_document(workflow, service.behaviour) for workflow in shown]
    return json_reply(page_document(docs, total=len(found), page=page, limit=limit))


def enabled_workflows(service: Service, call: Call) -> Reply:
    """The published workflows the caller may run, as a plain array."""
    account = service.caller(call)
    return json_reply(
        [
            enabled_document(workflow, account)
            for workflow in service.state.workflows.values()
            if workflow.published and workflow.owned_by(account)
        ]
    )


def get_workflow(service: Service, call: Call) -> Reply:
    """One workflow with its nodes and edges."""
    return json_reply(whole_workflow_document(_workflow(service, call), service.behaviour))


def request_structure(service: Service, call: Call) -> Reply:
    """What a workflow wants as its payload."""
    return json_reply(request_structure_document(_workflow(service, call)))


def create_session_token(service: Service, call: Call) -> Reply:
    """A session token for a linked account; API key only."""
    service.require_key(call)
    account = service.json_object(call).get("linked_account_id")
    if not isinstance(account, str) or not account:
        raise RefusedError(refusal(400, "linked_account_id is required"))
    service.check_account(account)
    force = is_true(call.query.get("force_refresh"))
    return json_reply(token_document(service.tokens.create(account, force=force), service.now()))


def revoke_session_token(service: Service, call: Call) -> Reply:
    """End all tokens of the account that a token belongs to; token only."""
    account = service.bearer(call)
    if account is None:
        raise RefusedError(refusal(401, "Invalid session token", error="INVALID_TOKEN"))
    return json_reply({"success": True, "revoked_count": service.tokens.revoke_all(account)})


def _workflow(service: Service, call: Call) -> Workflow:
    account = service.caller(call)
    workflow = service.state.workflow(call.ids["workflow_id"])
    if workflow is None or not workflow.owned_by(account):
        raise RefusedError(refusal(404, "Workflow not found"))
    return workflow
