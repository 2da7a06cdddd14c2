"""The list of executions: one page of an account's runs, filtered."""

import math
from collections.abc import Callable, Mapping

from ._documents import list_document, page_document
from ._queries import chosen, is_true, moment, paging
from ._replies import Reply, json_reply
from ._runs import Run
from ._service import Call, Service
from ._state import between

Keep = Callable[[Run], bool]


def list_executions(service: Service, call: Call) -> Reply:
    """One page of an account's executions, newest first."""
    account, behaviour = service.account(call), service.behaviour
    now = service.now() - behaviour.list_lag
    query = {} if behaviour.ignores_filters else call.query
    runs = _shelf(service, account, query)
    days = behaviour.list_dates == "days"
    start = max(moment(query.get("start_date"), -math.inf, days=days), service.oldest)
    end = min(moment(query.get("end_date"), math.inf, days=days, end=True), now)
    found: range | list[int] = between(runs, start, end)
    for keep in _filters(query, now):
        found = [at for at in found if keep(runs[at])]
    if not is_true(call.query.get("sortAsc")):
        found = found[::-1]
    page, limit = paging(service, call)
    every = behaviour.undated_every
    docs = [
        list_document(runs[at], now, behaviour, dated=not every or (at + 1) % every != 0)
        for at in found[(page - 1) * limit : page * limit]
    ]
    return json_reply(page_document(docs, total=len(found), page=page, limit=limit))


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
    if status := chosen(query, "status"):
        statuses = {status, status.upper()}
        keep.append(lambda run: run.status(now) in statuses)
    if slugs := query.get("slug"):
        wanted = {slug.strip() for slug in slugs.split(",")}
        keep.append(lambda run: run.workflow.slug in wanted)
    if name := query.get("workflow_name", "").lower():
        keep.append(lambda run: name in run.workflow.name.lower())
    if kind := chosen(query, "execution_type").upper():
        keep.append(lambda run: run.sync is (kind == "SYNC"))
    if source := chosen(query, "execution_source").upper().replace(" ", "_"):
        keep.append(lambda run: source == ("EVENT" if run.event else "API_CALL"))
    if query.get("execution_id") and (workflow_id := query.get("workflow_id")):
        keep.append(lambda run: workflow_id in {run.workflow_id, run.workflow.alias})
    return keep
