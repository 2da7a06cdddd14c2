"""The name that all paths of an operation share."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from refold_async import _protocol as protocol
from refold_async._protocol import TEMPLATES, Operation

if TYPE_CHECKING:
    from refold_async._protocol import Request

REQUESTS = [
    protocol.execute_request("wf_1", slug="s", max_payload_bytes=100, account="acct_1"),
    protocol.rerun_request("run_1", account="acct_1"),
    protocol.trigger_event_request(
        "paid",
        slug=None,
        payload={},
        config_id=None,
        instance_tag=None,
        headers=None,
        idempotent=False,
        max_payload_bytes=100,
        account="acct_1",
    ),
    protocol.stop_request("run_1", account="acct_1"),
    protocol.get_execution_request("run_1", account="acct_1"),
    protocol.get_response_request("run_1", account="acct_1"),
    protocol.list_executions_request(query={"page": 1}, account="acct_1"),
    protocol.list_batches_request("run_1", "node_1", query={"page": 1}, account="acct_1"),
    protocol.list_workflows_request(query={"page": 1}, account="acct_1"),
    protocol.enabled_workflows_request(account="acct_1"),
    protocol.request_structure_request("wf_1", account="acct_1"),
    protocol.create_session_token_request("acct_1", force_refresh=True),
    protocol.create_webhook_request({}),
    protocol.list_webhooks_request(),
    protocol.get_webhook_request("hook_1"),
    protocol.update_webhook_request("hook_1", {}),
    protocol.delete_webhook_request("hook_1"),
]


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda request: str(request.operation))
def test_the_path_of_an_operation_fits_its_template(request_: Request) -> None:
    """But for ids and the query, they are the same."""
    ids = {"workflow_id": "wf_1", "execution_id": "run_1", "node_id": "node_1"}
    ids["webhook_id"] = "hook_1"
    template = TEMPLATES[request_.operation]
    named = re.findall(r"{(\w+)}", template)
    assert template.format(**ids) == request_.target.partition("?")[0]
    assert {ids[name] for name in named} == {*ids.values()} & {*request_.target.split("/")}


def test_every_operation_has_a_template() -> None:
    """A new one is not forgotten."""
    assert {request.operation for request in REQUESTS} == {*TEMPLATES} == {*Operation}
