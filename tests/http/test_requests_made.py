"""Which request is made for which call: method, URL, headers, body."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from refold_async import RefoldClient

if TYPE_CHECKING:
    from aioresponses import aioresponses

BASE = "https://refold.example/prefix"
RUN = "6a314c54d4616e99e7fa5a02"


def only_call(mocked: aioresponses) -> tuple[str, str, dict[str, Any]]:
    """Give method, URL and arguments of the one request that was made."""
    ((method, url), (call,)) = next(iter(mocked.requests.items()))
    assert len(mocked.requests) == 1
    return method, str(url), call.kwargs


async def test_execute_sends_what_the_page_documents(mocked: aioresponses) -> None:
    """Headers, path and body are those of "Execute Workflow"."""
    mocked.post(f"{BASE}/api/v2/public/workflow/wf_1/execute", payload={"execution_id": RUN})
    async with RefoldClient(
        api_key="tk_1", linked_account_id="acct_1", base_url=BASE + "/"
    ) as refold:
        await refold.execute(
            "wf_1",
            slug="hubspot",
            payload={"email": "jané@example.com"},
            sync=True,
            config_id="cfg",
            instance_tag="nightly",
            include_headers=True,
        )
    method, _, sent = only_call(mocked)
    assert method == "POST"
    assert json.loads(sent["data"]) == {"payload": {"email": "jané@example.com"}}
    assert sent["allow_redirects"] is False
    wanted = {
        "x-api-key": "tk_1",
        "linked_account_id": "acct_1",
        "slug": "hubspot",
        "config_id": "cfg",
        "instance_tag": "nightly",
        "sync_execution": "true",
        "include-headers": "true",
        "Content-Type": "application/json",
    }
    assert wanted.items() <= sent["headers"].items()
