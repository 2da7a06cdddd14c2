"""The operations on executions that are there: read and stop."""

from ._documents import execution_document, node_id, page_document, response_document
from ._queries import paging
from ._replies import RefusedError, Reply, json_reply, refusal
from ._service import Call, Service


def get_execution(service: Service, call: Call) -> Reply:
    """One execution with its nodes."""
    run = service.run(call)
    return json_reply(execution_document(run, service.shown_at(run), service.behaviour))


def get_response(service: Service, call: Call) -> Reply:
    """The result of an asynchronous run."""
    behaviour = service.behaviour
    if behaviour.response_path == "missing":
        raise RefusedError(refusal(404, "Cannot find this path"))
    if not behaviour.response_accepts_session_token:
        service.require_key(call)
    run = service.run(call)
    return json_reply(response_document(run, service.shown_at(run), behaviour))


def stop(service: Service, call: Call) -> Reply:
    """Ask a run to stop."""
    run, now = service.run(call), service.now()
    if run.is_over(now):
        raise RefusedError(refusal(400, "Execution has already ended"))
    service.stop(run)
    return json_reply({"message": "Stopping instance"})


def list_batches(service: Service, call: Call) -> Reply:
    """One page of a node's batches."""
    workflow = service.run(call).workflow
    names = {node_id(index): name for index, name in enumerate(workflow.nodes)}
    batches = workflow.batches.get(names.get(call.ids["node_id"], ""))
    if batches is None:
        raise RefusedError(refusal(501, "Node has no batches"))
    page, limit = paging(service, call)
    docs = batches[(page - 1) * limit : page * limit]
    return json_reply(page_document(docs, total=len(batches), page=page, limit=limit))
