"""Nothing a client sends, and nothing a workflow returns, breaks the emulator."""

from __future__ import annotations

import asyncio
import gzip
import tracemalloc
import zlib
from typing import TYPE_CHECKING, Any

import pytest

from refold_async.emulator import Behaviour, Emulator, Fault, Recorded, Respond
from refold_async.emulator._records import Requests
from tests.support.asking import (
    RUN,
    V2,
    ask,
    document,
    head,
    listed,
    post,
    response,
    send,
    start,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

EMPTY = b'{"payload": {}}'


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    """An emulator whose workflow gives back what it is given."""
    async with Emulator() as emulator:
        emulator.workflow("wf", slug="hubspot")(lambda payload: payload)
        yield emulator


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'{"payload": {"a": "\\ud800"}}', id="lone-surrogate"),
        pytest.param(b'{"payload": {"a": [{"\\udc00": 1}]}}', id="lone-surrogate-as-key"),
        pytest.param(b'{"payload": {"a": "\xed\xa0\x80"}}', id="lone-surrogate-in-bytes"),
        pytest.param(b'{"payload": {"a": "\xff"}}', id="no-utf-8"),
        pytest.param('{"payload": {"a": "é"}}'.encode("utf-16"), id="utf-16"),
        pytest.param(b'{"payload": {"a": NaN}}', id="nan"),
        pytest.param(b'{"payload": {"a": -Infinity}}', id="infinity"),
        pytest.param(b'{"payload": {"a": 1e999}}', id="out-of-range"),
        pytest.param(b'{"payload": {"a": ' + b"9" * 5000 + b"}}", id="digits"),
        pytest.param(b'{"payload": {"a": ' + b"[" * 300 + b"]" * 300 + b"}}", id="deep"),
        pytest.param(b'{"payload": {"a": ' + b"[" * 9000 + b"]" * 9000 + b"}}", id="bottomless"),
    ],
)
async def test_what_could_not_be_written_again_is_refused(emulator: Emulator, body: bytes) -> None:
    """What Python reads and JSON has not is refused, not taken and then a 500 at every read."""
    answer = await send(emulator, post(emulator, body))

    assert (answer.status, answer.body["http_error_type"]) == (400, "BAD_REQUEST")
    assert emulator.runs == []
    assert await listed(emulator) == []


async def test_a_whole_character_in_two_halves_is_taken(emulator: Emulator) -> None:
    """A pair of surrogates is one character, and many short lists are not deep."""
    body = b'{"payload": {"a": "\\ud83d\\ude00", "b": [' + b",".join([b"[]"] * 300) + b"]}}"
    answer = await send(emulator, post(emulator, body))

    output = (await response(emulator, answer.body["execution_id"]))["response"]
    assert output == {"a": "😀", "b": [[]] * 300}


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(b"config_id: \xff\xfe", id="value"),
        pytest.param(b"instance_tag: caf\xe9", id="latin-1"),
        pytest.param(b"instance_tag: \xed\xa0\x80", id="surrogate"),
    ],
)
async def test_a_header_that_is_no_text_is_refused(emulator: Emulator, line: bytes) -> None:
    """A header that is no UTF-8 would come back in every document of the run."""
    answer = await send(emulator, post(emulator, EMPTY, line))

    assert (answer.status, answer.body["message"]) == (400, "Request headers must be UTF-8")
    assert emulator.runs == []


async def test_a_header_in_utf_8_is_taken(emulator: Emulator) -> None:
    """A tag may be in any alphabet, and comes back as it was."""
    await send(emulator, post(emulator, EMPTY, "instance_tag: café".encode()))

    assert [entry["instance_tag"] for entry in await listed(emulator)] == ["café"]


@pytest.mark.parametrize(
    ("encoding", "body", "status"),
    [
        pytest.param("gzip", gzip.compress(EMPTY), 200, id="gzip"),
        pytest.param("Deflate", zlib.compress(EMPTY), 200, id="deflate"),
        pytest.param("identity", EMPTY, 200, id="identity"),
        pytest.param("gzip", EMPTY, 400, id="not-gzip"),
        pytest.param("gzip", gzip.compress(EMPTY)[:-9], 400, id="cut-short"),
        pytest.param("deflate", EMPTY, 400, id="not-deflate"),
        pytest.param("br", b"\x0b\x02\x80", 415, id="brotli"),
        pytest.param("zstd", EMPTY, 415, id="zstd"),
        pytest.param("compress", EMPTY, 415, id="unknown"),
        pytest.param("gzip, gzip", EMPTY, 415, id="twice"),
    ],
)
async def test_content_encodings(
    emulator: Emulator, encoding: str, body: bytes, status: int
) -> None:
    """A compressed body is read; one that is broken gets 400, an unknown compression 415."""
    answer = await send(emulator, post(emulator, body, f"Content-Encoding: {encoding}".encode()))

    assert answer.status == status
    assert len(emulator.runs) == (status == 200)


@pytest.mark.parametrize("encoding", ["none", "gzip", "chunked"])
async def test_a_body_is_read_no_further_than_it_may_be(encoding: str) -> None:
    """A body that is too large is refused with 413 and takes no memory, whatever it claims."""
    size = 20_000_000
    async with Emulator() as emulator:
        large = b'{"payload": {"a": "' + b"x" * size + b'"}}'
        if encoding == "gzip":
            request = post(emulator, gzip.compress(large, 1), b"Content-Encoding: gzip")
        elif encoding == "chunked":
            lines = b"Content-Type: application/json", b"Transfer-Encoding: chunked"
            chunk = f"{len(large):x}\r\n".encode() + large + b"\r\n0\r\n\r\n"
            request = head(emulator, f"POST {RUN}", *lines) + chunk
        else:
            request = post(emulator, large)
        del large
        tracemalloc.start()
        try:
            answers = [await send(emulator, request) for _ in range(6)]
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

    assert [answer.status for answer in answers] == [413] * 6
    assert peak < size
    assert [asked.raw for asked in emulator.requests] == [b""] * 6


async def test_a_payload_may_be_as_large_as_the_behaviour_says() -> None:
    """The limit is the behaviour's."""
    async with Emulator(behaviour=Behaviour(max_payload_bytes=2000)) as emulator:
        emulator.workflow("wf", slug="hubspot")(len)
        small = await ask(emulator, "POST", RUN, json={"payload": {"a": "x" * 2000}})
        large = await ask(emulator, "POST", RUN, json={"payload": {"a": "x" * 4000}})

    assert (small.status, large.status) == (200, 413)


def test_requests_are_kept_within_a_byte_cap() -> None:
    """The oldest requests go when the bodies of all take more than 64 MiB."""
    requests = Requests()
    for number in range(20):
        body = bytes([65 + number]) * 10_000_000
        requests.append(Recorded(str(number), "POST", "/", {}, {}, body, 0.0))

    kept = [request.operation for request in requests]
    assert kept == ["14", "15", "16", "17", "18", "19"]
    assert [request.operation for request in requests[:2]] == kept[:2]
    requests.clear()
    assert len(requests) == 0


def test_requests_are_kept_up_to_a_number() -> None:
    """The oldest requests go when there are more than 100,000."""
    requests = Requests()
    for number in range(100_002):
        requests.append(Recorded(str(number), "GET", "/", {}, {}, b"x", 0.0))

    assert (len(requests), requests[0].operation) == (100_000, "2")


@pytest.mark.parametrize("body", [{"email": "jane@example.com"}, {"payload": {}, "email": "x"}])
async def test_a_bare_body_is_not_an_empty_payload(emulator: Emulator, body: Any) -> None:
    """What is not under `payload` would be lost in silence: it is refused, naming it."""
    answer = await ask(emulator, "POST", RUN, json=body)

    assert (answer.status, answer.body["message"]) == (400, "Server Error")
    assert "payload" in answer.body["error"]
    assert "'email'" in answer.body["error"]
    assert emulator.runs == []


@pytest.mark.parametrize(
    ("media_type", "status"),
    [
        pytest.param("Application/JSON", 200, id="capitals"),
        pytest.param("application/json;charset=utf-8", 200, id="charset"),
        pytest.param("application/json ; a=b", 200, id="parameter"),
        pytest.param("application/jsonp", 400, id="jsonp"),
        pytest.param("application/json-patch+json", 400, id="patch"),
        pytest.param("text/json", 400, id="text"),
    ],
)
async def test_the_media_type_is_json(emulator: Emulator, media_type: str, status: int) -> None:
    """A media type is compared as such: whatever its case, with parameters, and whole."""
    answer = await ask(emulator, "POST", RUN, {"Content-Type": media_type}, data=EMPTY)

    assert answer.status == status


@pytest.mark.parametrize(
    ("scheme", "status"),
    [
        pytest.param("Bearer ", 200, id="bearer"),
        pytest.param("bearer ", 200, id="lower-case"),
        pytest.param("BEARER  ", 200, id="two-spaces"),
        pytest.param("", 401, id="none"),
        pytest.param("Basic ", 401, id="basic"),
        pytest.param("Bearer", 401, id="no-space"),
    ],
)
async def test_a_token_comes_with_its_scheme(emulator: Emulator, scheme: str, status: int) -> None:
    """A session token is a bearer's, and the scheme has no case."""
    token = emulator.issue_token("acct_1")
    headers = {"Authorization": f"{scheme}{token}", "x-api-key": "", "linked_account_id": ""}
    answer = await ask(emulator, "POST", RUN, headers, json={"payload": {}})

    assert answer.status == status


@pytest.mark.parametrize(
    "query",
    [
        pytest.param("page=" + "9" * 4000, id="digits"),
        pytest.param("page=%D9%A3", id="other-digits"),
        pytest.param("limit=1_0", id="underscore"),
        pytest.param("limit=1e1", id="exponent"),
        pytest.param("start_date=%FF%ED%A0%80", id="no-text"),
        pytest.param("end_date=0001-01-01T00:00:00%2B23:59x", id="date"),
    ],
)
async def test_a_query_that_makes_no_sense_is_refused(emulator: Emulator, query: str) -> None:
    """Numbers are ASCII digits of a sensible count, dates are dates."""
    answer = await ask(emulator, "GET", f"{V2}/execution?{query}")

    assert (answer.status, answer.body["http_error_type"]) == (400, "BAD_REQUEST")


class Odd:
    """Something that is no JSON."""


LOOP: list[Any] = []
LOOP.append(LOOP)


@pytest.mark.parametrize(
    ("returned", "named"),
    [
        pytest.param({1, 2}, "set", id="set"),
        pytest.param({"rows": [1, Odd()]}, "Odd at .rows[1]", id="object"),
        pytest.param(b"bytes", "bytes", id="bytes"),
        pytest.param({"rate": float("nan")}, "nan at .rate", id="nan"),
        pytest.param([float("-inf")], "-inf at [0]", id="infinity"),
        pytest.param({(1, 2): 3}, "tuple as a key", id="key"),
        pytest.param({"a": {Odd(): 3}}, "Odd as a key at .a", id="odd-key"),
        pytest.param("\ud800", "half a character", id="surrogate"),
        pytest.param(LOOP, "nested deeper than 250 levels", id="itself"),
        pytest.param(10**5000, "digits", id="digits"),
        pytest.param(Respond(data={1}), "set", id="respond"),
    ],
)
async def test_what_is_no_json_makes_the_run_errored(
    emulator: Emulator, returned: Any, named: str
) -> None:
    """The run ends ERRORED, and says which workflow returned what."""
    emulator.workflow("wf", slug="hubspot")(lambda _: returned)
    execution_id = await start(emulator)
    sync = await ask(emulator, "POST", RUN, {"sync_execution": "true"}, json={"payload": {}})

    assert (await document(emulator, execution_id))["status"] == "ERRORED"
    assert (sync.status, sync.body["errored"]) == (200, True)
    assert sync.body["execution_error"].startswith("workflow 'wf' returned no JSON: ")
    assert named in sync.body["execution_error"]


async def test_what_is_returned_is_what_is_told(emulator: Emulator) -> None:
    """What a workflow changes after it has returned, or in its payload, shows nowhere."""
    kept: list[Any] = []

    @emulator.workflow("wf", slug="hubspot")
    def spoil(payload: dict[str, Any]) -> Any:
        kept.append(payload)
        payload["b"] = (1, 2)
        return payload

    execution_id = await start(emulator, {"a": 1})
    kept[0].clear()

    assert (await response(emulator, execution_id))["response"] == {"a": 1, "b": [1, 2]}
    assert emulator.runs[0].payload == {"a": 1}


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf"), "3", True, 1e300])
async def test_a_duration_is_a_number_of_seconds(emulator: Emulator, seconds: Any) -> None:
    """A duration that is none is refused, or the run that was to take it says so."""
    with pytest.raises(ValueError, match="number of seconds"):
        emulator.workflow("wf", slug="hubspot", duration=seconds)(dict)
    emulator.workflow("wf", slug="hubspot", duration=lambda _: seconds)(dict)
    headers = {"sync_execution": "true"}
    answer = await ask(emulator, "POST", RUN, headers, json={"payload": {}})

    assert answer.body["errored"] is True
    assert "duration of workflow 'wf'" in answer.body["execution_error"]


@pytest.mark.parametrize("status", [0, 100, 199, 600, "200"])
def test_an_answer_has_a_status_that_exists(status: Any) -> None:
    """A status that would break the answer is refused where it is written."""
    with pytest.raises(ValueError, match="from 200 to 599"):
        Respond(status=status)
    with pytest.raises(ValueError, match="from 200 to 599"):
        Fault(status=status)


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param({"body": {"a": {1}}}, id="no-json"),
        pytest.param({"body": {"a": float("nan")}}, id="nan"),
        pytest.param({"headers": {"a": "b\r\nc: d"}}, id="header"),
        pytest.param({"headers": {"a\n": "b"}}, id="header-name"),
        pytest.param({"delay": float("nan")}, id="delay"),
    ],
)
def test_a_fault_that_could_not_be_answered_is_refused(fault: dict[str, Any]) -> None:
    """A mistake in a script fails where it is written, not as a 500 on the wire."""
    with pytest.raises((TypeError, ValueError)):
        Fault(**fault)


async def test_a_schema_without_end_is_no_failure(emulator: Emulator) -> None:
    """A payload deeper than its recursive schema can be followed is refused."""
    schema = {"$defs": {"n": {"properties": {"n": {"$ref": "#/$defs/n"}}}}, "$ref": "#/$defs/n"}
    emulator.workflow("wf", slug="hubspot", schema=schema)(dict)
    payload: dict[str, Any] = {}
    for _ in range(240):
        payload = {"n": payload}
    answer = await ask(emulator, "POST", RUN, json={"payload": payload})

    assert answer.status == 400
    assert "too deeply" in answer.body["errors"][0]["message"]


async def test_a_client_that_leaves_in_the_middle_of_a_body(
    emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    """Half a request is no request: nothing is counted, nothing is logged."""
    port = int(emulator.base_url.rsplit(":", 1)[1])
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(post(emulator, EMPTY)[:-3])
    await writer.drain()
    while not emulator.open_connections:  # noqa: ASYNC110 - it is the server's own news
        await asyncio.sleep(0)
    writer.close()
    while emulator.open_connections:  # noqa: ASYNC110
        await asyncio.sleep(0)

    assert (emulator.counts, len(emulator.requests), caplog.records) == ({}, 0, [])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        pytest.param("webhook_headers", {"X-Team": ["crm"]}, id="header"),
        pytest.param("workflow_ids", ["wf", None], id="workflow"),
        pytest.param("webhook_events", [["Workflow Completed"]], id="event"),
        pytest.param("webhook_events", [], id="no-event"),
        pytest.param("webhook_url", "http://[", id="address"),
        pytest.param("webhook_url", "http://", id="no-address"),
    ],
)
async def test_a_webhook_of_odd_parts_is_refused(
    emulator: Emulator, field: str, value: Any
) -> None:
    """What is no text where text belongs could be neither delivered nor shown as documented."""
    sent = {"webhook_url": "http://127.0.0.1:9/", "webhook_events": ["Workflow Completed"]}
    made = await ask(emulator, "POST", f"{V2}/webhook", json={**sent, field: value})
    fine = await ask(emulator, "POST", f"{V2}/webhook", json=sent)
    path = f"{V2}/webhook/{fine.body['_id']}"
    changed = await ask(emulator, "PUT", path, json={field: value})
    hooks = await ask(emulator, "GET", f"{V2}/webhook")

    assert (made.status, changed.status) == (400, 400)
    assert hooks.body == [fine.body]
