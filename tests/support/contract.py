"""The documented examples, as a table: what is asked, and what the documentation says is answered.

Written from the service's documentation, not from the emulator. A type stands for any value of it.
"""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.support.asking import RUN, V1, V2

if TYPE_CHECKING:
    from collections.abc import Mapping

HEX_ID = re.compile("[0-9a-f]{24}")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
NUMBER = re.compile("[0-9]+")


class Some:
    """Equal to every value of these types, or to every text of this form; True is no number."""

    def __init__(self, *kinds: Any) -> None:
        self.kinds = kinds

    def __eq__(self, other: object) -> bool:
        return any(
            isinstance(other, str) and kind.fullmatch(other) is not None
            if isinstance(kind, re.Pattern)
            else type(other) is kind
            for kind in self.kinds
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<{' or '.join(getattr(k, '__name__', str(k)) for k in self.kinds)}>"


class Each:
    """Equal to every list whose entries all equal this one, if there is one at least."""

    def __init__(self, entry: Any) -> None:
        self.entry = entry

    def __eq__(self, other: object) -> bool:
        return isinstance(other, list) and other == [self.entry] * max(1, len(other))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"[{self.entry!r}, ...]"


class Example(NamedTuple):
    """One documented request and its answer.

    Attributes:
        page: The page of the service's documentation.
        asked: Method and path; `{run}`, `{long}`, `{failed}` and `{hook}` are ids of what there is.
        status: The documented status.
        body: The documented body.
        headers: Headers beyond the usual; an empty one is left out.
        sent: The body of the request.
        case: What is special about it.
    """

    page: str
    asked: str
    status: int
    body: Any
    headers: Mapping[str, str] = MappingProxyType({})
    sent: Any = None
    case: str = ""


MAYBE = type(None)
TEXT = Some(str)
FLAG = Some(bool)
COUNT = Some(int)
ID = Some(HEX_ID)
WHEN = Some(TIME)
MESSAGE = {"message": TEXT}
NAMED = {"_id": TEXT, "name": TEXT, "icon": Some(str, MAYBE)}
ENTRY = {
    "_id": ID,
    "name": Some(re.compile(r"(Execution|Retry) for workflow \w+")),
    "org_id": ID,
    "environment": Some(re.compile("test|production")),
    "status": TEXT,
    "createdAt": WHEN,
    "updatedAt": WHEN,
    "completion_time": Some(TIME, MAYBE),
    "instance_execution_time": Some(int, MAYBE),
    "associated_workflow": NAMED,
    "associated_application": {**NAMED, "_id": ID},
    "associated_event_id": None,
    "linked_account_id": "acct_1",
    "config_id": TEXT,
    "type_of_execution": Some(re.compile("SYNC|ASYNC")),
    "execution_source": Some(re.compile("API_CALL|SCHEDULE|Event")),
    "trigger_application_event": Some(str, MAYBE),
    "executed_by_thanos": FLAG,
    "instance_tag": Some(str, MAYBE),
}
NODE = {
    "node_id": Some(NUMBER),
    "node_name": TEXT,
    "node_type": TEXT,
    "node_status": TEXT,
    "is_batch": FLAG,
    "attempts_made": COUNT,
    "maximum_attempts": COUNT,
    "execution_time": COUNT,
    "input_data": Some(dict, MAYBE),
    "latest_output": Some(dict, MAYBE),
}
EXECUTION = {**ENTRY, "completion_percentage": COUNT, "nodes": [NODE, NODE, NODE]}
PAGE = {
    "docs": Some(list),
    "totalDocs": COUNT,
    "limit": 10,
    "page": 1,
    "totalPages": COUNT,
    "pagingCounter": 1,
    "hasPrevPage": False,
    "hasNextPage": FLAG,
    "prevPage": None,
    "nextPage": Some(int, MAYBE),
}
WORKFLOW = {
    "_id": TEXT,
    "name": TEXT,
    "alias": Some(str, MAYBE),
    "slug": TEXT,
    "published": FLAG,
    "application": Some(dict),
}
TOKENS = {
    "token": TEXT,
    "refresh_token": TEXT,
    "expires_in": COUNT,
    "refresh_expires_in": COUNT,
}
SYNC = {
    "execution_id": ID,
    "return_value": {},
    "errored": False,
    "status_code": 200,
    "execution_error": None,
    "executed_by_thanos": True,
}
WEBHOOK = {
    "_id": ID,
    "org_id": TEXT,
    "environment": "test",
    "is_enabled": FLAG,
    "webhook_events": Some(list),
    "workflow_ids": Some(list),
    "webhook_url": TEXT,
    "webhook_body": TEXT,
    "method": TEXT,
    "webhook_type": TEXT,
    "createdAt": WHEN,
    "updatedAt": WHEN,
    "__v": COUNT,
}
UNAUTHORIZED = {
    "status_code": 401,
    "http_error_type": "UNAUTHORIZED",
    "error": "SERVER_ERROR",
    "message": "Invalid Credentials",
}
NOT_FOUND = {
    "status_code": 404,
    "http_error_type": "NOT_FOUND",
    "error_code": "RESOURCE_NOT_FOUND",
    "message": "Execution not found",
}
NO_EVENT = {**NOT_FOUND, "error_code": "INVALID_EVENT", "message": TEXT}
REFUSED = {"status_code": 400, "http_error_type": "BAD_REQUEST", "message": TEXT}
SERVER_ERROR = {"message": "Server Error", "error": TEXT}
STARTED = {"message": "Workflow execution started", "execution_id": ID}
SYNCHRONOUS = {"sync_execution": "true"}
STRANGE_KEY = {"x-api-key": "tk_other"}
INPUT: dict[str, Any] = {"payload": {}}
HOOK = f"{V2}/webhook"
SUBSCRIBED = {"webhook_url": "http://127.0.0.1:9/", "webhook_events": ["Workflow Completed"]}

EXAMPLES = (
    Example("Execute Workflow", f"POST {RUN}", 200, STARTED, sent=INPUT),
    Example("Execute Workflow", f"POST {RUN}?include-headers=true", 200,
            {**STARTED, "headers": Some(dict)}, sent=INPUT),
    Example("Execute Workflow", f"POST {RUN}", 200, SYNC, SYNCHRONOUS, INPUT, "sync"),
    Example("Execute Workflow", f"POST {RUN}", 400,
            {"message": "Server Error", "error": "Workflow ID and slug are required"},
            {"slug": ""}, INPUT, "no slug"),
    Example("Execute Workflow", f"POST {V2}/workflow/draft/execute", 400, SERVER_ERROR,
            sent=INPUT, case="not published"),
    Example("Execute Workflow", f"POST {RUN}", 401, UNAUTHORIZED, STRANGE_KEY, INPUT, "bad key"),
    Example("Execute Workflow", f"POST {V2}/workflow/failing/execute", 200,
            {**SYNC, "return_value": None, "errored": True, "status_code": None,
             "execution_error": TEXT}, SYNCHRONOUS, INPUT, "sync, fails"),
    Example("Execute Workflow", f"POST {V2}/workflow/grouped/execute", 400, SERVER_ERROR,
            SYNCHRONOUS, INPUT, "sync, Group node"),
    Example("Execute Workflow", f"POST {RUN}", 400, {**MESSAGE, "errors": Some(list)},
            sent={"payload": {"email": 1}}, case="fails its schema"),
    Example("Response Node", f"POST {V2}/workflow/responding/execute", 422,
            {**SYNC, "return_value": {"reason": TEXT}, "status_code": 422},
            SYNCHRONOUS, INPUT, "sync, sets a status"),
    Example("API Trigger", f"POST {V1}/workflow/wf/execute", 200, {"execution_id": ID}, sent={}),
    Example("API Trigger", f"POST {V1}/workflow/wf/execute", 200,
            {"execution_id": ID, "return_value": {}}, SYNCHRONOUS, {}, "sync"),
    Example("Get Execution", f"GET {V2}/execution/{{run}}", 200, EXECUTION),
    Example("Get Execution", f"GET {V2}/execution/{{failed}}", 200, EXECUTION, case="failed"),
    Example("Get Execution", f"GET {V2}/execution/{'0' * 24}", 404, NOT_FOUND, case="unknown id"),
    Example("Get Execution", f"GET {V2}/execution/{{run}}", 401, UNAUTHORIZED, STRANGE_KEY,
            case="bad key"),
    Example("List Executions", f"GET {V2}/execution", 200, {**PAGE, "docs": Each(ENTRY)}),
    Example("List Executions", f"GET {V2}/execution?status=ERRORED&execution_type=All", 200,
            {**PAGE, "docs": Each({**ENTRY, "status": "ERRORED"})}),
    Example("Workflow API", f"GET {V1}/execution/{{run}}/response", 200,
            {"response": {}, "status": "COMPLETED"}),
    Example("Workflow API", f"GET {V1}/execution/{{long}}/response", 200,
            {"response": None, "status": "RUNNING"}, case="going on"),
    Example("Workflow API", f"GET {V1}/execution/{{failed}}/response", 200,
            {"response": None, "status": "ERRORED"}, case="failed"),
    Example("Stop Execution", f"POST {V2}/execution/{{long}}/stop", 200,
            {"message": "Stopping instance"}),
    Example("Rerun Execution", f"POST {V2}/execution/{{run}}/rerun", 200,
            {"status": "success", "id": ID}),
    Example("List Node Batches", f"GET {V2}/execution/{{run}}/nodes/2/batches", 200,
            {**PAGE, "docs": Each(Some(dict))}),
    Example("List Node Batches", f"GET {V2}/execution/{{run}}/nodes/1/batches", 501,
            {**REFUSED, "status_code": 501, "http_error_type": "NOT_IMPLEMENTED",
             "error_code": TEXT, "request_id": TEXT}, case="no batches"),
    Example("Request Structure", f"GET {V2}/workflow/request-structure/wf", 200,
            {"payload": Some(dict), "schema": Some(dict), "schema_interpreted": Some(dict)}),
    Example("Request Structure", f"GET {V2}/workflow/request-structure/failing", 200,
            {"payload": Some(dict), "schema": None, "schema_interpreted": Some(dict)},
            case="no schema"),
    Example("List Workflows", f"GET {V2}/workflow?published=true", 200,
            {**PAGE, "docs": Each({**WORKFLOW, "published": True})}),
    Example("Get Workflow", f"GET {V2}/workflow/wf", 200,
            {**WORKFLOW, "nodes": Each({"node_id": Some(NUMBER), "node_name": TEXT,
                                        "node_type": TEXT}),
             "edges": Each({"source": Some(NUMBER), "target": Some(NUMBER)})}),
    Example("Get Workflow", f"GET {V2}/workflow/none", 404,
            {**NOT_FOUND, "message": "Workflow not found"}, case="unknown id"),
    Example("Enabled Workflows", f"GET {V2}/workflow/enabled", 200, Each({
        "id": TEXT, "name": TEXT, "description": TEXT, "icon": Some(str, MAYBE),
        "config_id": TEXT, "application": Some(dict)})),
    Example("Generate Session Token", f"POST {V2}/session-token", 200, TOKENS,
            sent={"linked_account_id": "acct_1"}),
    Example("Generate Session Token", f"POST {V2}/session-token?force_refresh=true", 200, TOKENS,
            sent={"linked_account_id": "acct_1"}),
    Example("Generate Session Token", f"POST {V2}/session-token", 400,
            {**REFUSED, "error": "INVALID_LINKED_ACCOUNT_ID", "error_code": TEXT,
             "request_id": TEXT}, sent={"linked_account_id": "nobody"}, case="unknown account"),
    Example("Revoke Session Token", f"POST {V2}/session-token/revoke", 200,
            {"success": True, "revoked_count": COUNT},
            {"x-api-key": "", "Authorization": "Bearer {token}"}),
    Example("Revoke Session Token", f"POST {V2}/session-token/revoke", 401,
            {**UNAUTHORIZED, "error": "INVALID_TOKEN", "message": TEXT}, case="no token"),
    Example("Trigger Event", f"POST {V2}/event/trigger", 200, {"message": "Webhook Fired Success"},
            sent={"event": "Contact Created", "payload": {}}),
    Example("Trigger Event", f"POST {V2}/event/hubspot", 200, {"message": "Webhook Fired Success"},
            sent={"trigger": "Contact Created", "payload": {}}),
    Example("Trigger Event", f"POST {V2}/event/trigger", 404, NO_EVENT, sent={"event": "Nothing"},
            case="unknown event"),
    Example("Create Webhook", f"POST {HOOK}", 200,
            {**WEBHOOK, "is_enabled": True, "webhook_body": "{{event}}", "method": "POST",
             "webhook_type": "default"}, sent=SUBSCRIBED),
    Example("Create Webhook", f"POST {HOOK}", 400, {**REFUSED, "error": "INVALID_EVENT"},
            sent={**SUBSCRIBED, "webhook_events": ["Nothing"]}, case="bad event"),
    Example("List Webhooks", f"GET {HOOK}", 200, Each(WEBHOOK)),
    Example("Get Webhook", f"GET {HOOK}/{{hook}}", 200, WEBHOOK),
    Example("Get Webhook", f"GET {HOOK}/none", 400, {**REFUSED, "error": "RESOURCE_NOT_FOUND"},
            case="unknown id"),
    Example("Update Webhook", f"PUT {HOOK}/{{hook}}", 200, {**WEBHOOK, "is_enabled": False},
            sent={"is_enabled": False}),
    Example("Delete Webhook", f"DELETE {HOOK}/{{hook}}", 200, Each(WEBHOOK)),
    Example("Group Webhooks", f"PUT {V2}/webhooks/group/edit", 200,
            Each({**WEBHOOK, "group": "crm"}), sent={"webhookIds": ["{hook}"], "group": "crm"}),
)  # fmt: skip

EVENT = {
    "linked_account_id": "acct_1",
    "instance_id": ID,
    "workflow_id": TEXT,
    "config_id": TEXT,
    "environment": "test",
    "event": TEXT,
    "workflow_name": TEXT,
    "status": TEXT,
}
DELIVERIES = {
    "Workflow Completed": {**EVENT, "status": "COMPLETED"},
    "Workflow Errored": {**EVENT, "status": "ERRORED", "failed_node": Some(dict)},
    "Workflow Stopped": {**EVENT, "status": TEXT},
    "Connection Created": {
        "linked_account_id": "acct_1",
        "org_id": TEXT,
        "environment": "test",
        "type": "General",
        "event": "Connection Created",
        "slug": "hubspot",
        "createdAt": Some(re.compile(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT")),
    },
}
"""What a webhook's address gets, by event."""
