"""The emulator's list of executions: pages, filters, and many of them."""

import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from refold_async.emulator import Behaviour, Emulator

V2 = "/api/v2/public"
START = 1_000_000_000.0


class Clock:
    """A clock that moves when told."""

    def __init__(self) -> None:
        self.seconds = START

    def __call__(self) -> float:
        """The time in epoch seconds."""
        return self.seconds


async def ask(
    emulator: Emulator, path: str, *, method: str = "GET", **headers: str
) -> tuple[int, Any]:
    """Make one request for acct_1."""
    usual = {"x-api-key": emulator.api_key, "linked_account_id": "acct_1", "slug": "hubspot"}
    payload: Any = {"payload": {}} if method == "POST" else None
    async with aiohttp.request(
        method, emulator.base_url + path, headers={**usual, **headers}, json=payload
    ) as answer:
        return answer.status, await answer.json()


async def execute(emulator: Emulator, workflow_id: str, **headers: str) -> str:
    """Start a run and give its id."""
    path = f"{V2}/workflow/{workflow_id}/execute"
    status, body = await ask(emulator, path, method="POST", **headers)
    assert status == 200, body
    return str(body["execution_id"])


async def listed(emulator: Emulator, query: str = "") -> list[int]:
    """Which runs a list shows, as their places in the order of start."""
    status, page = await ask(emulator, f"{V2}/execution?{query}")
    assert status == 200, page
    order = [run.execution_id for run in emulator.runs]
    return [order.index(document["_id"]) for document in page["docs"]]


@pytest.fixture
def clock() -> Clock:
    """The server's clock."""
    return Clock()


@pytest.fixture
async def emulator(clock: Clock) -> AsyncIterator[Emulator]:
    """Runs 0 to 3 of wf_a and wf_b in turn, a second apart, and one of another account."""
    async with Emulator(now=clock) as emulator:
        emulator.workflow("wf_a", slug="hubspot", alias="first", name="Sync contacts")(dict)
        emulator.workflow("wf_b", slug="slack", name="Notify", duration=None)(dict)
        for workflow_id, slug in (("wf_a", "hubspot"), ("wf_b", "slack")) * 2:
            await execute(emulator, workflow_id, slug=slug)
            clock.seconds += 1
        await execute(emulator, "wf_a", linked_account_id="acct_2")
        yield emulator


async def test_the_list_has_the_documented_envelope(emulator: Emulator) -> None:
    """A page says where it stands among the others."""
    _, page = await ask(emulator, f"{V2}/execution?limit=3&page=2")
    documents = page.pop("docs")

    assert page == {
        "totalDocs": 4,
        "limit": 3,
        "page": 2,
        "totalPages": 2,
        "pagingCounter": 4,
        "hasPrevPage": True,
        "hasNextPage": False,
        "prevPage": 1,
        "nextPage": None,
    }
    assert [document["_id"] for document in documents] == [emulator.runs[0].execution_id]


async def test_an_entry_carries_no_nodes(emulator: Emulator) -> None:
    """An entry says what ran for whom, without nodes and output."""
    _, page = await ask(emulator, f"{V2}/execution?limit=1&sortAsc=true")
    (document,) = page["docs"]

    assert document["createdAt"] == "2001-09-09T01:46:40.000Z"
    assert document["associated_workflow"]["_id"] == "wf_a"
    assert (document["status"], document["linked_account_id"]) == ("COMPLETED", "acct_1")
    assert "nodes" not in document


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        pytest.param("", [3, 2, 1, 0], id="newest-first"),
        pytest.param("sortAsc=true", [0, 1, 2, 3], id="oldest-first"),
        pytest.param("limit=2", [3, 2], id="first-page"),
        pytest.param("limit=3&page=2", [0], id="last-page"),
        pytest.param("page=9", [], id="beyond"),
        pytest.param("limit=0&page=0", [3], id="moved-into-range"),
        pytest.param("workflow_id=wf_a", [2, 0], id="workflow"),
        pytest.param("workflow_id=first", [2, 0], id="alias"),
        pytest.param("workflow_id=wf_none", [], id="no-such-workflow"),
        pytest.param("status=RUNNING", [3, 1], id="status"),
        pytest.param("status=completed", [2, 0], id="status-lower-case"),
        pytest.param("slug=hubspot", [2, 0], id="slug"),
        pytest.param("slug=hubspot,slack", [3, 2, 1, 0], id="slugs"),
        pytest.param("workflow_name=contacts", [2, 0], id="name"),
        pytest.param("execution_type=ASYNC", [3, 2, 1, 0], id="async"),
        pytest.param("execution_type=SYNC", [], id="sync"),
        pytest.param("execution_source=API_CALL", [3, 2, 1, 0], id="source"),
        pytest.param("execution_source=API%20Call", [3, 2, 1, 0], id="source-in-prose"),
        pytest.param("execution_source=Schedule", [], id="other-source"),
        pytest.param("start_date=2001-09-09T01:46:42Z", [3, 2], id="since"),
        pytest.param("end_date=2001-09-09T01:46:41", [1, 0], id="until"),
        pytest.param(
            "start_date=2001-09-09T03:46:41%2B02:00&end_date=2001-09-09T01:46:42Z&status=RUNNING",
            [1],
            id="all-at-once",
        ),
    ],
)
async def test_the_list_is_filtered(emulator: Emulator, query: str, expected: list[int]) -> None:
    """Every documented filter works, alone and with others."""
    assert await listed(emulator, query) == expected


async def test_the_list_finds_one_execution(emulator: Emulator) -> None:
    """An execution is found by its id, if it is the account's and the filters agree."""
    mine, theirs = emulator.runs[0].execution_id, emulator.runs[4].execution_id

    assert await listed(emulator, f"execution_id={mine}") == [0]
    assert await listed(emulator, f"execution_id={mine}&workflow_id=first") == [0]
    assert await listed(emulator, f"execution_id={mine}&workflow_id=wf_b") == []
    assert await listed(emulator, f"execution_id={theirs}") == []


@pytest.mark.parametrize(
    "query",
    [
        pytest.param("page=one", id="page"),
        pytest.param("start_date=yesterday", id="date"),
    ],
)
async def test_a_query_that_makes_no_sense_is_refused(emulator: Emulator, query: str) -> None:
    """What is no number or no date gets 400."""
    assert (await ask(emulator, f"{V2}/execution?{query}"))[0] == 400


async def test_an_empty_list_is_one_page(emulator: Emulator) -> None:
    """An account without runs has one empty page."""
    _, page = await ask(emulator, f"{V2}/execution", linked_account_id="acct_9")

    assert (page["docs"], page["totalDocs"], page["totalPages"]) == ([], 0, 1)


async def test_a_clock_set_back_keeps_the_order(emulator: Emulator, clock: Clock) -> None:
    """The list is in order of creation time, even if the clock was set back."""
    clock.seconds = START + 1.5
    await execute(emulator, "wf_a")
    clock.seconds = START + 9

    assert await listed(emulator) == [3, 2, 5, 1, 0]


async def test_new_runs_may_be_missing_for_a_while(clock: Clock) -> None:
    """With `list_lag` a run shows in the list only after that time."""
    async with Emulator(behaviour=Behaviour(list_lag=2.0), now=clock) as emulator:
        emulator.workflow("wf", slug="hubspot")(dict)
        await execute(emulator, "wf")
        at_once = await listed(emulator)
        clock.seconds += 2
        later = await listed(emulator)

    assert (at_once, later) == ([], [0])


async def test_filters_may_be_ignored(clock: Clock) -> None:
    """With `ignores_filters` the query chooses the page, and nothing else."""
    async with Emulator(behaviour=Behaviour(ignores_filters=True), now=clock) as emulator:
        emulator.workflow("wf", slug="hubspot")(dict)
        await execute(emulator, "wf")
        found = await listed(emulator, "status=RUNNING&workflow_id=wf_none&limit=1")

    assert found == [0]


async def test_a_page_has_a_largest_size(clock: Clock) -> None:
    """A larger limit is lowered without a word."""
    async with Emulator(behaviour=Behaviour(max_page_size=2), now=clock) as emulator:
        emulator.workflow("wf", slug="hubspot")(dict)
        for _ in range(3):
            await execute(emulator, "wf")
        _, page = await ask(emulator, f"{V2}/execution?limit=1000")

    assert (len(page["docs"]), page["limit"], page["totalPages"]) == (2, 2, 2)


async def test_many_runs_are_listed_quickly(clock: Clock) -> None:
    """A page of an account with many runs does not cost a walk through all of them."""
    async with Emulator(now=clock) as emulator:
        emulator.workflow("wf", slug="hubspot")(dict)
        await execute(emulator, "wf")
        (first,) = emulator.runs
        for _ in range(20_000):
            clock.seconds += 0.25
            emulator._state.start(first.workflow, {}, account="acct_1")
        began = time.perf_counter()
        query = "workflow_id=wf&start_date=2001-09-09T01:46:41Z&page=100&limit=100"
        _, page = await ask(emulator, f"{V2}/execution?{query}")
        took = time.perf_counter() - began

    assert page["totalDocs"] == 19_997
    assert took < 1
