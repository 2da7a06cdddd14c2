"""What the documentation says beyond its examples, and what it leaves open, over real HTTP."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

import pytest

from refold_async.emulator import Behaviour, Emulator, NodeFailed
from tests.support.asking import RUN, V1, V2, ask, document, listed, response, start
from tests.support.contract import NOT_FOUND, TEXT, TIME, UNAUTHORIZED, Some

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

START = 1_781_615_700.887  # 2026-06-16T13:15:00.887Z


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    """An emulator that adds nothing to the documented documents, with one run of id 1."""
    async with Emulator(behaviour=Behaviour(extra_fields=False)) as emulator:
        schema = {"type": "object", "properties": {"email": {"type": "string"}}}
        emulator.workflow("wf", slug="hubspot", schema=schema, batches={"Work": [{"n": 1}]})(dict)
        yield emulator


async def test_nodes_show_what_they_put_out(emulator: Emulator) -> None:
    """A Start node says that it began, a failed one what failed, a Response node its data."""

    @emulator.workflow("wf", slug="hubspot")
    def fail(payload: dict[str, Any]) -> Any:
        if payload:
            raise NodeFailed(node="Work", message="no")
        return {"id": 1}

    fine = await document(emulator, await start(emulator))
    bad = await document(emulator, await start(emulator, {"a": 1}))

    begun = {"message": TEXT, "node_id": "1", "node_type": "start", "status": "initialized"}
    assert [node["latest_output"] for node in fine["nodes"]] == [begun, {}, {"id": 1}]
    failed = {"status": "Errored", "node_id": "2", "node_name": "Work", "body": {"error": "no"}}
    assert [node["latest_output"] for node in bad["nodes"]] == [begun, failed, None]


async def test_a_response_node_may_be_shown_as_the_others() -> None:
    """Whether a Response node's data is wrapped is open."""
    behaviour = Behaviour(response_node_output="wrapped")
    async with Emulator(behaviour=behaviour) as emulator:
        emulator.workflow("wf", slug="hubspot")(lambda _: {"id": 1})
        execution_id = await start(emulator)
        node = (await document(emulator, execution_id))["nodes"][2]

        assert (await response(emulator, execution_id))["response"] == {"id": 1}
    about = {"status": "Success", "node_id": "3", "node_name": "Response"}
    assert node["latest_output"] == {**about, "body": {"id": 1}}


async def test_a_rerun_is_named_as_one(emulator: Emulator) -> None:
    """A rerun's name begins with Retry."""
    await ask(emulator, "POST", f"{V2}/execution/{await start(emulator)}/rerun")

    names = [entry["name"] for entry in await listed(emulator)]
    assert names == ["Retry for workflow wf", "Execution for workflow wf"]


@pytest.mark.parametrize("field", ["status", "execution_type", "execution_source"])
@pytest.mark.parametrize("value", ["All", "all", "ALL"])
async def test_all_filters_nothing(emulator: Emulator, field: str, value: str) -> None:
    """`All` is the documented default of the filters that have few values."""
    await start(emulator)

    assert len(await listed(emulator, f"{field}={value}")) == 1


@pytest.mark.parametrize(
    ("dates", "query", "found"),
    [
        pytest.param("times", "end_date=2026-06-16", 1, id="this-day"),
        pytest.param("times", "end_date=2026-06-15", 0, id="day-before"),
        pytest.param("times", "start_date=2026-06-16", 1, id="from-this-day"),
        pytest.param("times", "start_date=2026-06-17", 0, id="from-day-after"),
        pytest.param("times", "end_date=2026-06-16T13:00:00Z", 0, id="time-before"),
        pytest.param("days", "end_date=2026-06-16T13:00:00Z", 1, id="time-taken-for-its-day"),
        pytest.param("days", "start_date=2026-06-16T14:00:00Z", 1, id="start-as-well"),
        pytest.param("days", "end_date=2026-06-15T23:59:59Z", 0, id="another-day"),
    ],
)
async def test_a_date_is_a_whole_day(dates: Any, query: str, found: int) -> None:
    """`end_date` means on or before; whether times are looked at is open."""
    async with Emulator(behaviour=Behaviour(list_dates=dates), now=lambda: START) as emulator:
        emulator.workflow("wf", slug="hubspot")(dict)
        await start(emulator)

        assert len(await listed(emulator, query)) == found


async def test_a_page_may_be_refused() -> None:
    """A limit beyond the largest is lowered without a word, or refused."""
    async with Emulator(behaviour=Behaviour(max_page_size=50, larger_page="refused")) as emulator:
        asked = [
            await ask(emulator, "GET", f"{V2}/execution?limit={limit}") for limit in (50, 51, 100)
        ]

    assert [answer.status for answer in asked] == [200, 400, 400]
    assert asked[1].body["message"] == "limit must not exceed 50"


async def test_entries_may_lack_their_date() -> None:
    """Every so many-th run has no `createdAt` in the list; its document has one."""
    async with Emulator(behaviour=Behaviour(undated_every=2)) as emulator:
        emulator.workflow("wf", slug="hubspot")(dict)
        runs = [await start(emulator) for _ in range(4)]
        found = [entry.get("createdAt") for entry in await listed(emulator, "sortAsc=true")]
        documents = [(await document(emulator, run))["createdAt"] for run in runs]

    assert [date is None for date in found] == [False, True, False, True]
    assert documents == [Some(TIME)] * 4


async def test_times_may_be_whole_seconds() -> None:
    """Where `createdAt` has no milliseconds, no other time has them either."""
    behaviour = Behaviour(created_at="seconds")
    async with Emulator(behaviour=behaviour, now=lambda: START) as emulator:
        emulator.workflow("wf", slug="hubspot")(dict)
        execution_id = await start(emulator)
        (entry,) = await listed(emulator)
        whole = await document(emulator, execution_id)

    for name in ("createdAt", "updatedAt", "completion_time"):
        assert entry[name] == whole[name] == "2026-06-16T13:15:00Z"


async def test_a_run_is_kept_for_a_while() -> None:
    """What is past its retention is unknown, and in no list."""
    times = [START]
    async with Emulator(behaviour=Behaviour(retention=60.0), now=lambda: times[-1]) as emulator:
        emulator.workflow("wf", slug="hubspot")(dict)
        execution_id = await start(emulator)
        times.append(START + 60)
        kept = (await document(emulator, execution_id))["status"], len(await listed(emulator))
        times.append(START + 61)
        gone = await document(emulator, execution_id), await listed(emulator)

    assert kept == ("COMPLETED", 1)
    assert gone == (NOT_FOUND, [])


async def test_an_unknown_id_may_hang() -> None:
    """With no answer at all, only the client ends it; other operations still answer."""
    async with Emulator(behaviour=Behaviour(unknown_execution="hangs")) as emulator:
        for path in (f"{V2}/execution/nothing", f"{V1}/execution/nothing/response"):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(ask(emulator, "GET", path), 0.1)
        stopped = await ask(emulator, "POST", f"{V2}/execution/nothing/stop")

        assert stopped.status == 404


async def test_tokens_are_revoked(emulator: Emulator) -> None:
    """A token ends all tokens of its account, itself too, and no others."""
    tokens = [emulator.issue_token("acct_1") for _ in range(3)]
    other = emulator.issue_token("acct_2")

    async def asked(path: str, token: str, method: str = "POST") -> Any:
        headers = {"x-api-key": "", "Authorization": f"Bearer {token}"}
        return await ask(emulator, method, f"{V2}/{path}", headers)

    emulator.revoke_token(tokens[2])
    revoked = await asked("session-token/revoke", tokens[0])
    again = await asked("session-token/revoke", tokens[1])
    reads = [(await asked("execution", token, "GET")).status for token in (*tokens, other)]

    assert (revoked.status, revoked.body) == (200, {"success": True, "revoked_count": 2})
    assert (again.status, again.body["error"]) == (401, "INVALID_TOKEN")
    assert reads == [401, 401, 401, 200]


async def test_linked_accounts_may_be_known() -> None:
    """Where the accounts are known, another is refused by name, with a key and for a token."""
    async with Emulator(behaviour=Behaviour(linked_accounts={"acct_1"})) as emulator:
        emulator.workflow("wf", slug="hubspot")(dict)
        mine = await ask(emulator, "POST", RUN, json={"payload": {}})
        theirs = await ask(
            emulator, "POST", RUN, {"linked_account_id": "acct_9"}, json={"payload": {}}
        )
        body = {"linked_account_id": "acct_9"}
        token = await ask(emulator, "POST", f"{V2}/session-token", json=body)

    assert mine.status == 200
    for refused in (theirs, token):
        assert (refused.status, refused.body["error"]) == (400, "INVALID_LINKED_ACCOUNT_ID")


@pytest.mark.parametrize(
    ("form", "sent", "payload"),
    [
        pytest.param("wrapped", {"payload": {"a": 1}}, {"a": 1}, id="wrapped"),
        pytest.param("wrapped", {}, {}, id="wrapped-nothing"),
        pytest.param("bare", {"a": 1}, {"a": 1}, id="bare"),
        pytest.param("bare", {"payload": {"a": 1}}, {"payload": {"a": 1}}, id="bare-wrapped"),
        pytest.param("either", {"payload": {"a": 1}}, {"a": 1}, id="either-wrapped"),
        pytest.param("either", {"a": 1}, {"a": 1}, id="either-bare"),
        pytest.param("either", {"payload": 1}, {"payload": 1}, id="either-no-object"),
        pytest.param("either", {"payload": {}, "a": 1}, {"payload": {}, "a": 1}, id="either-more"),
    ],
)
async def test_the_input_is_the_body_or_within(form: Any, sent: Any, payload: Any) -> None:
    """Where the input is in the body is open, and matters: it is what the workflow gets."""
    async with Emulator(behaviour=Behaviour(execute_body=form)) as emulator:
        emulator.workflow("wf", slug="hubspot")(dict)
        new = await ask(emulator, "POST", RUN, json=sent)
        old = await ask(emulator, "POST", f"{V1}/workflow/wf/execute", json=sent)

        assert (new.status, old.status) == (200, 200)
        assert [run.payload for run in emulator.runs] == [payload, sent]


async def test_the_old_path_takes_no_token(emulator: Emulator) -> None:
    """The v1 path is documented for key and account."""
    headers = {"x-api-key": "", "Authorization": f"Bearer {emulator.issue_token('acct_1')}"}
    answer = await ask(emulator, "POST", f"{V1}/workflow/wf/execute", headers, json={})

    assert (answer.status, answer.body) == (401, UNAUTHORIZED)


@pytest.mark.parametrize(
    ("behaviour", "header"),
    [
        pytest.param(Behaviour(keepalive=0.05), None, id="silent"),
        pytest.param(
            Behaviour(keepalive=0.05, keepalive_announced=True), "timeout=0", id="announced"
        ),
    ],
)
async def test_idle_connections_are_closed(behaviour: Behaviour, header: str | None) -> None:
    """An idle connection is closed after a while, which is announced in whole seconds or not."""
    async with Emulator(behaviour=behaviour) as emulator:
        port = int(emulator.base_url.rsplit(":", 1)[1])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        async with asyncio.timeout(60):
            raw = (await reader.read()).decode()
        writer.close()

    assert raw.startswith("HTTP/1.1 404")
    assert re.findall(r"(?im)^keep-alive: (.*?)\r?$", raw) == ([header] if header else [])
