"""Who may do what in the emulator: keys, session tokens, ownership."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp
import pytest

from refold_async.emulator import Behaviour, Emulator

V2 = "/api/v2/public"
RUN = f"{V2}/workflow/wf_1/execute"
NOT_FOUND = {
    "status_code": 404,
    "http_error_type": "NOT_FOUND",
    "error_code": "RESOURCE_NOT_FOUND",
    "message": "Execution not found",
}
UNAUTHORIZED = {
    "status_code": 401,
    "http_error_type": "UNAUTHORIZED",
    "error": "SERVER_ERROR",
    "message": "Invalid Credentials",
}


class Clock:
    """A clock that moves when told."""

    seconds = 1_000_000_000.0

    def __call__(self) -> float:
        """The time in epoch seconds."""
        return self.seconds


def by_key(emulator: Emulator) -> dict[str, str]:
    """Headers that speak for acct_1 with the API key."""
    return {"x-api-key": emulator.api_key, "linked_account_id": "acct_1", "slug": "hubspot"}


def bearer(token: str) -> dict[str, str]:
    """Headers that speak with a session token."""
    return {"Authorization": f"Bearer {token}", "slug": "hubspot"}


async def ask(
    emulator: Emulator, method: str, path: str, headers: Mapping[str, str], json: Any = None
) -> tuple[int, Any]:
    """Make one request."""
    async with aiohttp.request(
        method, emulator.base_url + path, headers=headers, json=json
    ) as answer:
        return answer.status, await answer.json()


async def start(emulator: Emulator) -> str:
    """Start a run and give its id."""
    _, body = await ask(emulator, "POST", RUN, by_key(emulator), json={"payload": {}})
    return str(body["execution_id"])


async def token(emulator: Emulator, query: str = "") -> Any:
    """Ask for a session token of acct_1."""
    body = {"linked_account_id": "acct_1"}
    path = f"{V2}/session-token{query}"
    status, document = await ask(emulator, "POST", path, by_key(emulator), json=body)
    assert status == 200
    return document


@pytest.fixture
def clock() -> Clock:
    """The server's clock."""
    return Clock()


@pytest.fixture
async def emulator(clock: Clock) -> AsyncIterator[Emulator]:
    """An emulator whose tokens live for a minute."""
    async with Emulator(behaviour=Behaviour(token_lifetime=60.0), now=clock) as emulator:
        emulator.workflow("wf_1", slug="hubspot")(dict)
        yield emulator


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("/api/v2/public/execution/{id}", id="get"),
        pytest.param("/api/v1/execution/{id}/response", id="response"),
    ],
)
async def test_another_accounts_execution_is_not_found(emulator: Emulator, path: str) -> None:
    """An execution exists for the linked account that owns it, and for nobody else."""
    url = path.format(id=await start(emulator))
    answer = await ask(emulator, "GET", url, {**by_key(emulator), "linked_account_id": "acct_2"})
    unknown = await ask(emulator, "GET", path.format(id="0" * 24), by_key(emulator))

    assert answer == unknown == (404, NOT_FOUND)


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"x-api-key": "tk_other"}, id="other-key"),
        pytest.param({"Authorization": "Bearer unknown"}, id="unknown-token"),
    ],
)
async def test_strangers_are_refused(emulator: Emulator, headers: dict[str, str]) -> None:
    """A request without a valid key or token gets the documented 401."""
    answer = await ask(emulator, "POST", RUN, {**headers, "slug": "hubspot"}, json={"payload": {}})

    assert answer == (401, UNAUTHORIZED)
    assert emulator.runs == []


async def test_a_key_without_an_account_is_refused(emulator: Emulator) -> None:
    """An API key alone says nothing about the linked account."""
    headers = {"x-api-key": emulator.api_key, "slug": "hubspot"}
    status, body = await ask(emulator, "POST", RUN, headers, json={"payload": {}})

    assert (status, body["message"]) == (400, "linked_account_id is required")


async def test_a_token_speaks_for_its_account(emulator: Emulator) -> None:
    """With a session token the run belongs to the token's account."""
    headers = bearer(emulator.issue_token("acct_7"))
    await ask(emulator, "POST", RUN, headers, json={"payload": {}})

    assert [run.linked_account_id for run in emulator.runs] == ["acct_7"]


@pytest.mark.parametrize(
    ("workflow_id", "slug"),
    [
        pytest.param("wf_1", None, id="no-slug"),
        pytest.param("wf_1", "salesforce", id="wrong-slug"),
        pytest.param("wf_none", "hubspot", id="no-such-workflow"),
        pytest.param("wf_draft", "hubspot", id="unpublished"),
        pytest.param("wf_private", "hubspot", id="not-owned"),
    ],
)
async def test_what_cannot_run_is_refused(
    emulator: Emulator, workflow_id: str, slug: str | None
) -> None:
    """A missing slug, an unpublished and a foreign workflow get the documented 400."""
    emulator.workflow("wf_draft", slug="hubspot", published=False)(dict)
    emulator.workflow("wf_private", slug="hubspot", accounts={"acct_9"})(dict)
    headers = {name: value for name, value in by_key(emulator).items() if name != "slug"}
    if slug is not None:
        headers["slug"] = slug
    path = f"{V2}/workflow/{workflow_id}/execute"
    answer = await ask(emulator, "POST", path, headers, json={"payload": {}})

    assert answer == (
        400,
        {"message": "Server Error", "error": "Workflow ID and slug are required"},
    )


async def test_a_valid_token_is_given_again(emulator: Emulator, clock: Clock) -> None:
    """A token is renewed only when forced, revoked or expired."""
    first = await token(emulator)
    clock.seconds += 30
    again = await token(emulator)
    forced = await token(emulator, "?force_refresh=true")
    emulator.revoke_token(forced["token"])
    emulator.revoke_token("unknown")
    after_revocation = await token(emulator)
    clock.seconds += 60
    after_expiry = await token(emulator)

    assert first.keys() == {"token", "refresh_token", "expires_in", "refresh_expires_in"}
    assert again["token"] == first["token"]
    assert (first["expires_in"], again["expires_in"]) == (60, 30)
    tokens = {body["token"] for body in (first, forced, after_revocation, after_expiry)}
    assert len(tokens) == 4
    assert all(text.count(".") == 2 for text in tokens)


async def test_an_expired_token_is_refused(emulator: Emulator, clock: Clock) -> None:
    """A token opens nothing once its time is over."""
    headers = bearer(emulator.issue_token("acct_1"))
    before, _ = await ask(emulator, "POST", RUN, headers, json={"payload": {}})
    clock.seconds += 60
    after = await ask(emulator, "POST", RUN, headers, json={"payload": {}})

    assert before == 200
    assert after == (401, UNAUTHORIZED)


async def test_a_token_needs_a_linked_account(emulator: Emulator) -> None:
    """A token without an account is refused, and so is one asked for with a token."""
    path = f"{V2}/session-token"
    nobody, _ = await ask(emulator, "POST", path, by_key(emulator), json={})
    headers = bearer(emulator.issue_token("acct_1"))
    by_token, _ = await ask(emulator, "POST", path, headers, json={"linked_account_id": "acct_1"})

    assert (nobody, by_token) == (400, 401)
