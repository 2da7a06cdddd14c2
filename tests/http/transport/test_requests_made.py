"""Which request is made for which call: method, URL, headers, body."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from refold_async import RefoldClient, __version__

if TYPE_CHECKING:
    from collections.abc import Callable

    from aioresponses import aioresponses

BASE = "https://refold.example/prefix"
RUN = "6a314c54d4616e99e7fa5a02"
ANY = re.compile(".*")
PAGE = {"docs": [], "hasNextPage": False}


def only_call(mocked: aioresponses) -> tuple[str, str, dict[str, Any]]:
    """Give method, URL and arguments of the one request that was made."""
    ((method, url), (call,)) = next(iter(mocked.requests.items()))
    assert len(mocked.requests) == 1
    return method, str(url), call.kwargs


def client(**settings: Any) -> RefoldClient:
    """Make a client of a deployment behind a prefix."""
    defaults = {"linked_account_id": "acct_1", "base_url": BASE + "/"}
    if "session_token" not in settings:
        defaults["api_key"] = "tk_1"
    return RefoldClient(**(defaults | settings))


async def test_execute_sends_what_the_page_documents(mocked: aioresponses) -> None:
    """Headers, path and body are those of "Execute Workflow"."""
    mocked.post(f"{BASE}/api/v2/public/workflow/wf_1/execute", payload={"execution_id": RUN})
    async with client() as refold:
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
    assert sent["headers"] == {
        "x-api-key": "tk_1",
        "linked_account_id": "acct_1",
        "slug": "hubspot",
        "config_id": "cfg",
        "instance_tag": "nightly",
        "sync_execution": "true",
        "include-headers": "true",
        "Content-Type": "application/json",
        "Accept": "application/json",
        "User-Agent": f"refold-async/{__version__}",
    }


async def test_execute_says_no_more_than_it_was_told(mocked: aioresponses) -> None:
    """Without options there is no config, no headers asked for, and a tag that is made."""
    mocked.post(ANY, payload={"execution_id": RUN})
    async with client() as refold:
        handle = await refold.execute("wf_1", slug="hubspot")
    _, _, sent = only_call(mocked)
    assert json.loads(sent["data"]) == {"payload": {}}
    assert sent["headers"]["sync_execution"] == "false"
    assert {"config_id", "include-headers"}.isdisjoint(sent["headers"])
    assert re.fullmatch("rfa-[0-9a-f]{32}", sent["headers"]["instance_tag"])
    assert handle.instance_tag == sent["headers"]["instance_tag"]


async def test_each_call_has_a_tag_of_its_own(mocked: aioresponses) -> None:
    """Two calls with the same arguments can be told apart."""
    mocked.post(ANY, payload={"execution_id": RUN}, repeat=True)
    async with client() as refold:
        tags = {(await refold.execute("wf_1", slug="hubspot")).instance_tag for _ in range(20)}
    assert len(tags) == 20


@pytest.mark.parametrize(
    ("workflow_id", "path"),
    [
        pytest.param("my-alias_1.2~x", "my-alias_1.2~x", id="alias"),
        pytest.param("...", "...", id="three dots"),
        pytest.param("x" * 128, "x" * 128, id="longest"),
    ],
)
async def test_an_alias_stands_in_the_path_as_it_is(
    mocked: aioresponses, workflow_id: str, path: str
) -> None:
    """What is allowed needs no quoting, and is not normalised away."""
    mocked.post(ANY, payload={"execution_id": RUN})
    async with client() as refold:
        await refold.execute(workflow_id, slug="s")
    assert only_call(mocked)[1] == f"{BASE}/api/v2/public/workflow/{path}/execute"


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        pytest.param(lambda r: r.executions.get("e1"), "GET /api/v2/public/execution/e1", id="get"),
        pytest.param(
            lambda r: r.handle("e1").fetch(), "GET /api/v2/public/execution/e1", id="fetch"
        ),
        pytest.param(
            lambda r: r.handle("e1").status(), "GET /api/v2/public/execution/e1", id="status"
        ),
        pytest.param(
            lambda r: r.executions.response("e1"),
            "GET /api/v1/execution/e1/response",
            id="response",
        ),
        pytest.param(
            lambda r: r.executions.stop("e1"), "POST /api/v2/public/execution/e1/stop", id="stop"
        ),
        pytest.param(
            lambda r: r.executions.rerun("e1"), "POST /api/v2/public/execution/e1/rerun", id="rerun"
        ),
        pytest.param(
            lambda r: r.workflows.request_structure("wf_1"),
            "GET /api/v2/public/workflow/request-structure/wf_1",
            id="request structure",
        ),
    ],
)
async def test_each_call_makes_its_one_request(
    mocked: aioresponses, call: Callable[[RefoldClient], Any], expected: str
) -> None:
    """Method and path are those of the page, without a query or a body, with the account."""
    for method in (mocked.get, mocked.post):
        method(ANY, payload={"_id": "e1", "id": "e2", "status": "COMPLETED"})
    async with client() as refold:
        await call(refold)
    method_name, url, sent = only_call(mocked)
    assert f"{method_name} {url.removeprefix(BASE)}" == expected
    assert sent["data"] is None
    assert (sent["headers"]["x-api-key"], sent["headers"]["linked_account_id"]) == (
        *("tk_1", "acct_1"),
    )


async def test_enabled_workflows_are_asked_for(mocked: aioresponses) -> None:
    """A plain array comes back."""
    mocked.get(f"{BASE}/api/v2/public/workflow/enabled", payload=[{"id": "wf_1", "name": "n"}])
    async with client() as refold:
        (workflow,) = await refold.workflows.enabled()
    assert workflow.workflow_id == "wf_1"


@pytest.mark.parametrize(
    ("items", "path", "query"),
    [
        pytest.param(
            lambda r: r.executions.list(),
            "/api/v2/public/execution",
            {"limit": "100", "page": "1"},
            id="executions",
        ),
        pytest.param(
            lambda r: r.executions.list(
                page_size=7,
                status="COMPLETED",
                workflow_id="wf_1",
                workflow_name="a & b",
                execution_id="e1",
                slug="hubspot,slack",
                start_date=datetime(2026, 6, 16, 13, 15, tzinfo=UTC),
                end_date="2026-07-01",
                execution_type="SYNC",
                execution_source="API_CALL",
                oldest_first=True,
            ),
            "/api/v2/public/execution",
            {
                "limit": "7",
                "page": "1",
                "status": "COMPLETED",
                "workflow_id": "wf_1",
                "workflow_name": "a & b",
                "execution_id": "e1",
                "slug": "hubspot,slack",
                "start_date": "2026-06-16T13:15:00.000Z",
                "end_date": "2026-07-01",
                "execution_type": "SYNC",
                "execution_source": "API_CALL",
                "sortAsc": "true",
            },
            id="executions with filters",
        ),
        pytest.param(
            lambda r: r.executions.batches("e1", "n1", page_size=5),
            "/api/v2/public/execution/e1/nodes/n1/batches",
            {"limit": "5", "page": "1"},
            id="batches",
        ),
        pytest.param(
            lambda r: r.workflows.list(slug="s", name="ü", published=False, scope="private"),
            "/api/v2/public/workflow",
            {
                "limit": "100",
                "page": "1",
                "slug": "s",
                "name": "ü",
                "published": "false",
                "scope": "private",
            },
            id="workflows",
        ),
    ],
)
async def test_a_list_asks_for_what_it_was_told(
    mocked: aioresponses, items: Callable[[RefoldClient], Any], path: str, query: dict[str, str]
) -> None:
    """Filters go into the query as the page spells them; what wasn't given is left out."""
    mocked.get(ANY, payload=PAGE)
    async with client() as refold:
        assert [item async for item in items(refold)] == []
    method, url, _ = only_call(mocked)
    parts = urlsplit(url)
    assert (method, parts.path.removeprefix("/prefix")) == ("GET", path)
    assert dict(parse_qsl(parts.query)) == query


@pytest.mark.parametrize(
    ("force", "query"),
    [pytest.param(False, "", id="any"), pytest.param(True, "?force_refresh=true", id="new")],
)
async def test_a_session_token_is_made_for_an_account(
    mocked: aioresponses, force: bool, query: str
) -> None:
    """The account stands in the body, and not in a header."""
    mocked.post(ANY, payload={"token": "jwt", "expires_in": 60})
    async with client(linked_account_id=None) as refold:
        token = await refold.session_tokens.create("acct_9", force_refresh=force)
    _, url, sent = only_call(mocked)
    assert url == f"{BASE}/api/v2/public/session-token{query}"
    assert json.loads(sent["data"]) == {"linked_account_id": "acct_9"}
    assert "linked_account_id" not in sent["headers"]
    assert "jwt" not in repr(token)


async def test_a_calls_account_wins_over_the_clients(mocked: aioresponses) -> None:
    """The handle keeps it, and asks for the same account."""
    mocked.post(ANY, payload={"execution_id": RUN})
    mocked.get(ANY, payload={"_id": RUN, "status": "RUNNING"})
    async with client() as refold:
        handle = await refold.execute("wf_1", slug="s", linked_account_id="acct_2")
        await handle.fetch()
    calls = [call for (call,) in mocked.requests.values()]
    assert [call.kwargs["headers"]["linked_account_id"] for call in calls] == ["acct_2", "acct_2"]
