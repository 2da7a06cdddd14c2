"""Bad input is refused before any connection, by the name of the field that is wrong."""

from __future__ import annotations

import asyncio
import json
import math
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from refold_async import ConfigError, ExecutionRef, PayloadError, RefoldClient, RetryPolicy
from tests.support.wire import STARTS, wire

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

BAD_IDS = [
    "",
    ".",
    "..",
    "a/b",
    "a?b",
    "a#b",
    "a b",
    "a%2e",
    "wf\n",
    "é",
    "x" * 129,
    7,
    None,
    b"wf",
]
BAD_HEADERS = ["", " a", "a ", "a\r\nx-evil: 1", "a\tb", "\x7f", "é", "\ud800", "x" * 1025, 7, b"a"]
BAD_SECONDS = [0, -1, math.nan, math.inf, "5", True, timedelta(0), timedelta(seconds=-1)]
BAD_FLAGS = ["false", "", 0, 1, None]
BAD_COUNTS = [0, -1, 1.5, "10", True, None]


def deep(levels: int) -> dict[str, Any]:
    """Give an object of so many levels."""
    value: dict[str, Any] = {}
    for _ in range(levels - 1):
        value = {"a": value}
    return value


def cyclic() -> dict[str, Any]:
    """Give an object that holds itself."""
    value: dict[str, Any] = {"list": []}
    value["list"].append(value)
    return value


async def _all(items: Any) -> None:
    async for _ in items:
        pass


def execute(field: str, value: Any) -> Callable[[RefoldClient], Awaitable[Any]]:
    """Execute with one argument that is wrong."""

    async def call(refold: RefoldClient) -> Any:
        arguments: dict[str, Any] = {"workflow_id": "wf_1", "slug": "s", field: value}
        return await refold.execute(arguments.pop("workflow_id"), **arguments)

    return call


def cases(
    field: str, values: list[Any], make: Callable[[Any], Callable[[RefoldClient], Any]], name: str
) -> list[Any]:
    """Give one case per bad value."""
    return [pytest.param(make(value), field, id=f"{name} {value!r:.20}") for value in values]


def on(verb: str) -> Callable[[Any], Callable[[RefoldClient], Any]]:
    """Ask one of `executions` about a bad id."""
    return lambda value: lambda refold: getattr(refold.executions, verb)(value)


def reattach(value: Any) -> Callable[[RefoldClient], Any]:
    """Pick a run up by a ref with a bad id."""
    return lambda r: r.handle(ExecutionRef(execution_id=value)).fetch()


CALLS = [
    *cases("workflow_id", BAD_IDS, lambda v: execute("workflow_id", v), "workflow_id"),
    *cases("slug", [*BAD_HEADERS, None], lambda v: execute("slug", v), "slug"),
    *cases("config_id", BAD_HEADERS, lambda v: execute("config_id", v), "config_id"),
    *cases("instance_tag", BAD_HEADERS, lambda v: execute("instance_tag", v), "instance_tag"),
    *cases("linked_account_id", BAD_HEADERS, lambda v: execute("linked_account_id", v), "account"),
    *cases("timeout", BAD_SECONDS, lambda v: execute("timeout", v), "timeout"),
    *cases("retry", ["safe", 3, RetryPolicy], lambda v: execute("retry", v), "retry"),
    *cases("sync", BAD_FLAGS, lambda v: execute("sync", v), "sync"),
    *cases("unique_tag", BAD_FLAGS, lambda v: execute("unique_tag", v), "unique_tag"),
    *cases("include_headers", BAD_FLAGS, lambda v: execute("include_headers", v), "headers"),
    *cases("idempotent", BAD_FLAGS, lambda v: lambda r: r.events.trigger("e", idempotent=v), "e"),
    *cases(
        "force_refresh",
        BAD_FLAGS,
        lambda v: lambda r: r.session_tokens.create("a", force_refresh=v),
        "force",
    ),
    *[
        case
        for verb in ("get", "response", "stop", "rerun")
        for case in cases("execution_id", BAD_IDS, on(verb), verb)
    ],
    *cases(
        "execution_id",
        BAD_IDS,
        lambda v: lambda r: _all(r.executions.batches(v, "n")),
        "batches",
    ),
    *cases("node_id", BAD_IDS, lambda v: lambda r: _all(r.executions.batches("e", v)), "node"),
    *cases("execution_id", BAD_IDS, lambda v: lambda r: r.handle(v).fetch(), "handle"),
    *cases("execution_id", [None, "..", ""], reattach, "ref"),
    *cases("page_size", BAD_COUNTS, lambda v: lambda r: _all(r.executions.list(page_size=v)), "e"),
    *cases("page_size", BAD_COUNTS, lambda v: lambda r: _all(r.workflows.list(page_size=v)), "w"),
    *cases(
        "page_size",
        BAD_COUNTS,
        lambda v: lambda r: _all(r.executions.batches("e", "n", page_size=v)),
        "b",
    ),
    *cases(
        "start_date",
        [datetime(2026, 1, 1), "", "a\nb"],  # noqa: DTZ001 - the point
        lambda v: lambda r: _all(r.executions.list(start_date=v)),
        "start_date",
    ),
    *cases("status", ["", "\n"], lambda v: lambda r: _all(r.executions.list(status=v)), "status"),
    *cases("workflow_id", BAD_IDS, lambda v: lambda r: r.workflows.request_structure(v), "wf"),
    *cases(
        "linked_account_id",
        [*BAD_HEADERS, None],
        lambda v: lambda r: r.session_tokens.create(v),
        "token",
    ),
    *cases(
        "linked_account_id",
        [*BAD_HEADERS, None],
        lambda v: lambda r: r.for_account(v).execute("wf_1", slug="s"),
        "view",
    ),
    *cases("timeout", BAD_SECONDS, lambda v: lambda r: r.handle("e").result(timeout=v), "result"),
    *cases("timeout", BAD_SECONDS, lambda v: lambda r: r.handle("e").wait(timeout=v), "wait"),
    *cases("timeout", BAD_SECONDS, lambda v: lambda r: r.run("w", slug="s", timeout=v), "run"),
    *cases(
        "interval",
        BAD_SECONDS,
        lambda v: lambda r: _all(r.handle("e").snapshots(interval=v)),
        "snapshots",
    ),
]


@pytest.mark.parametrize(("call", "field"), CALLS)
async def test_a_bad_argument_is_named_before_any_connection(
    connect: Callable[..., RefoldClient], call: Callable[[RefoldClient], Awaitable[Any]], field: str
) -> None:
    """The error is a ConfigError with the field in its attribute and in its text."""
    async with wire(STARTS) as server:
        refold = connect(server)
        with pytest.raises(ConfigError) as caught:
            await call(refold)
    assert caught.value.field == field
    assert field in str(caught.value)
    assert server.connections == 0


@pytest.mark.parametrize(
    ("payload", "path"),
    [
        pytest.param([1], "$", id="list"),
        pytest.param("text", "$", id="text"),
        pytest.param(b"{}", "$", id="bytes"),
        pytest.param({"a": {"b": [0, math.nan]}}, "$.a.b[1]", id="NaN"),
        pytest.param({"a": math.inf}, "$.a", id="infinity"),
        pytest.param({"a": object()}, "$.a", id="object"),
        pytest.param({"a": datetime.now(UTC)}, "$.a", id="datetime"),
        pytest.param({"a": date.max}, "$.a", id="date"),
        pytest.param({"a": Decimal(1)}, "$.a", id="Decimal"),
        pytest.param({"a": UUID(int=0)}, "$.a", id="UUID"),
        pytest.param({"a": b"x"}, "$.a", id="bytes inside"),
        pytest.param({"a": {1, 2}}, "$.a", id="set"),
        pytest.param({1: "a"}, "$", id="number as key"),
        pytest.param({"a": {None: 1}}, "$.a", id="None as key"),
        pytest.param({"a": "\ud800"}, "$.a", id="lone surrogate"),
        pytest.param({"\ud800": 1}, "$", id="lone surrogate in a key"),
        pytest.param(cyclic(), "$.list[0]", id="cycle"),
        pytest.param({"a": "x" * 3 * 1024 * 1024}, "$", id="too large"),
    ],
)
async def test_a_bad_payload_is_located_before_any_connection(
    connect: Callable[..., RefoldClient], payload: Any, path: str
) -> None:
    """The error is a PayloadError with the JSON path of what can't be sent."""
    async with wire(STARTS) as server:
        with pytest.raises(PayloadError) as caught:
            await connect(server).execute("wf_1", slug="s", payload=payload)
    assert (caught.value.field, caught.value.path) == ("payload", path)
    assert server.connections == 0


async def test_the_deepest_payload_is_sent_and_a_deeper_one_is_not(
    connect: Callable[..., RefoldClient],
) -> None:
    """200 levels, and not one more."""
    async with wire(STARTS) as server:
        refold = connect(server)
        await refold.execute("wf_1", slug="s", payload=deep(200))
        for levels in (201, 100_000):
            with pytest.raises(PayloadError, match="deeper than 200"):
                await refold.execute("wf_1", slug="s", payload=deep(levels))
    assert len(server.seen) == 1


async def test_an_account_is_needed_with_a_key(connect: Callable[..., RefoldClient]) -> None:
    """The client can be made without one, a call can not."""
    async with wire(STARTS) as server:
        refold = connect(server, linked_account_id=None)
        with pytest.raises(ConfigError) as caught:
            await refold.execute("wf_1", slug="s")
        assert (caught.value.field, server.connections) == ("linked_account_id", 0)
        await refold.for_account("acct_2").execute("wf_1", slug="s")
    assert server.seen[0].headers["linked_account_id"] == "acct_2"


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        pytest.param({"api_key": None}, "api_key", id="no credential"),
        pytest.param({"session_token": "jwt"}, "api_key", id="two credentials"),
        pytest.param({"api_key": "tk\n"}, "api_key", id="api_key"),
        pytest.param({"api_key": ""}, "api_key", id="empty api_key"),
        pytest.param({"api_key": None, "session_token": " j"}, "session_token", id="session_token"),
        pytest.param({"api_key": None, "session_token": 7}, "session_token", id="number as token"),
        pytest.param({"linked_account_id": "a\nb"}, "linked_account_id", id="linked_account_id"),
        pytest.param({"base_url": ""}, "base_url", id="empty base_url"),
        pytest.param({"base_url": "http://refold.example"}, "base_url", id="http"),
        pytest.param({"base_url": "ftp://refold.example"}, "base_url", id="ftp"),
        pytest.param({"base_url": "https://"}, "base_url", id="no host"),
        pytest.param({"base_url": "https://jane:x@refold.example"}, "base_url", id="user"),
        pytest.param({"base_url": "https://refold.example/?a=1"}, "base_url", id="query"),
        pytest.param({"base_url": "https://refold.example/#a"}, "base_url", id="fragment"),
        pytest.param({"base_url": "https://refold.example/../x"}, "base_url", id="dots"),
        pytest.param({"base_url": "https://refold.example:99999"}, "base_url", id="port"),
        pytest.param({"base_url": f"https://{'x' * 64}.example"}, "base_url", id="long label"),
        pytest.param({"base_url": "https://refold..example"}, "base_url", id="empty label"),
        pytest.param({"timeouts": 30}, "timeouts", id="timeouts"),
        pytest.param({"retry": "never"}, "retry", id="retry"),
        pytest.param({"polling": 5}, "polling", id="polling"),
        pytest.param({"rate_limit": 20}, "rate_limit", id="rate_limit"),
        pytest.param({"max_connections": 0}, "max_connections", id="max_connections"),
        pytest.param({"max_payload_bytes": -1}, "max_payload_bytes", id="max_payload_bytes"),
        pytest.param({"max_reply_bytes": 1.5}, "max_reply_bytes", id="max_reply_bytes"),
        pytest.param({"session": "mine"}, "session", id="session"),
        pytest.param(
            {"base_url": "http://refold.example", "allow_insecure_http": "false"},
            "allow_insecure_http",
            id="allow_insecure_http",
        ),
    ],
)
def test_a_bad_setting_is_named_when_the_client_is_made(
    settings: dict[str, Any], field: str
) -> None:
    """Making a client does no I/O, and tells what is wrong at once."""
    with pytest.raises(ConfigError) as caught:
        RefoldClient(**{"api_key": "tk_1", **settings})
    assert caught.value.field == field


async def test_a_bad_item_in_a_gather_leaves_the_others_alone(
    connect: Callable[..., RefoldClient],
) -> None:
    """It fails where it is awaited: nothing is left that was never awaited."""
    async with wire(STARTS) as server:
        refold = connect(server)
        payloads: list[Any] = [{"n": 1}, {"n": math.nan}, {"n": 2}]
        calls = (refold.execute("wf_1", slug="s", payload=payload) for payload in payloads)
        ends = await asyncio.gather(*calls, refold.run("..", slug="s"), return_exceptions=True)
    names = [type(end).__name__ for end in ends]
    assert names == ["ExecutionHandle", "PayloadError", "ExecutionHandle", "ConfigError"]
    assert len(server.seen) == 2


async def test_a_payload_changed_after_the_call_has_no_effect(
    connect: Callable[..., RefoldClient],
) -> None:
    """It is serialised when `execute` is called, not when the coroutine runs."""
    payload: dict[str, Any] = {"n": 1, "items": [1]}
    async with wire(STARTS) as server:
        call = connect(server).execute("wf_1", slug="s", payload=payload)
        payload["n"] = 2
        payload["items"].append(object())
        await call
    assert json.loads(server.seen[0].body) == {"payload": {"n": 1, "items": [1]}}
