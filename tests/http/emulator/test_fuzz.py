"""Whatever comes in, no answer is a 500, and every answer is one the API could give."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from refold_async.emulator import Behaviour, Emulator, Event
from tests.support.asking import V1, V2, credentials, read_json, send

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.long

GATE = settings(deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
ENVELOPE = {"status_code", "http_error_type", "message"}


class Fuzzed:
    """An emulator with a loop of its own."""

    def __init__(self) -> None:
        self.runner = asyncio.Runner()
        self.complaints: list[Any] = []
        self.runner.get_loop().set_debug(False)  # the origins of all futures take most of the time
        self.runner.get_loop().set_exception_handler(lambda _, c: self.complaints.append(c))
        self.emulator = Emulator(behaviour=Behaviour(max_payload_bytes=2000))
        schema = {"type": "object", "properties": {"email": {"type": "string"}}}
        self.emulator.workflow("wf", slug="hubspot", alias="a")(lambda payload: payload)
        self.emulator.workflow("strict", slug="hubspot", schema=schema)(dict)
        self.emulator.event(Event(name="a", starts=["wf"], idempotency_field="a"))
        self.runner.run(self.emulator.start())
        self.known = [self.started() for _ in range(2)]

    def started(self) -> str:
        """Start a run."""
        path = f"POST {V2}/workflow/wf/execute"
        answer = self.ask(path, [b"Content-Type: application/json"], b'{"payload": {"a": [1]}}')
        return str(answer.body["execution_id"])

    def ask(self, first: str, lines: list[bytes], body: bytes) -> Any:
        """Send a request with credentials."""
        usual = [f"{k}: {v}".encode() for k, v in credentials(self.emulator).items()]
        head = [first.encode() + b" HTTP/1.1", b"Host: x", b"Connection: close", *usual, *lines]
        length = f"Content-Length: {len(body)}".encode()
        data = b"\r\n".join([*head, length]) + b"\r\n\r\n" + body
        return self.runner.run(send(self.emulator, data))


@pytest.fixture(scope="module")
def fuzzed() -> Iterator[Fuzzed]:
    """One emulator for all examples: what one leaves behind, the next one meets."""
    made = Fuzzed()
    yield made
    made.runner.run(made.emulator.aclose())
    made.runner.close()
    assert made.complaints == []


segments = st.text(alphabet="abw%/._~-?#019 é\x7f", max_size=12).map(
    lambda text: text.encode("unicode_escape").decode().replace(" ", "%20")
)
known = st.sampled_from(["wf", "a", "strict", "1", "0" * 24, "{known}"])
ids = st.one_of(known, segments)
paths = st.one_of(
    st.builds("{}/workflow/{}/execute".format, st.sampled_from([V2, "/api/v1"]), ids),
    st.builds(
        "{}/execution/{}{}".format,
        st.sampled_from([V1, V2]),
        ids,
        st.sampled_from(
            ["", "/response", "/stop", "/rerun", "/nodes/1/batches", "/nodes/2/batches"]
        ),
    ),
    st.builds(
        "{}/workflow/{}{}".format, st.just(V2), st.sampled_from(["", "request-structure/"]), ids
    ),
    st.sampled_from(
        [
            f"{V2}/execution",
            f"{V2}/workflow",
            f"{V2}/workflow/enabled",
            f"{V2}/session-token",
            f"{V2}/session-token/revoke",
            f"{V2}/event/trigger",
            f"{V2}/event/hubspot",
            "/",
            "*",
            "",
            "http://x/y",
            "//",
        ]
    ),
)
fields = st.sampled_from([
    "page", "limit", "status", "slug", "workflow_id", "workflow_name", "execution_id",
    "start_date", "end_date", "execution_type", "execution_source", "sortAsc", "name",
    "published", "scope", "force_refresh", "include-headers",
])  # fmt: skip
values = st.one_of(
    st.sampled_from([
        "All", "true", "-1", "0", "999999999999", "1e3", "RUNNING", "2001-01-01", "%FF", "%00",
        "2001-09-09T01:46:40Z", "9999-12-31T23:59:59-23:59", "0001-01-01", "NaN", "%ED%A0%80", "",
    ]),
    segments,
)  # fmt: skip
queries = st.lists(st.builds("{}={}".format, fields, values), max_size=3).map("&".join)
headers = st.lists(
    st.one_of(
        st.binary(max_size=20).map(
            lambda raw: b"instance_tag: " + raw.replace(b"\r", b"").replace(b"\n", b"")
        ),
        st.sampled_from([
            b"Content-Type: Application/JSON", b"Content-Type: application/jsonp",
            b"Content-Encoding: gzip", b"Content-Encoding: br", b"Content-Encoding: \xff",
            b"Authorization: bearer x", b"Authorization: ", b"include-headers: true",
            b"config_id: \xed\xa0\x80", b"Expect: 100-continue", b"Upgrade: websocket",
            b"Connection: Upgrade", b"Accept: text/html", b"sync_execution: true",
        ]),
    ),
    max_size=3,
)  # fmt: skip
odd_numbers = st.floats() | st.integers(min_value=10**300)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | odd_numbers | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["payload", "email", "linked_account_id", "event", "a"]), inner
        )
    ),
    max_leaves=8,
)
documents = json_values | st.builds(lambda inner: {"payload": inner}, json_values)
bodies = st.one_of(
    st.binary(max_size=60),
    documents.map(lambda value: json.dumps(value).encode()),
    st.builds(lambda v: {"payload": v}, json_values).map(lambda v: json.dumps(v).encode()),
    st.sampled_from([
        b'{"payload": {"a": "\\ud800"}}', b'{"payload": {"email": NaN}}', b"[" * 5000,
        b'{"payload": {"a": "' + b"x" * 5000 + b'"}}', b'{"linked_account_id": "\\udfff"}',
    ]),
)  # fmt: skip


@settings(GATE, max_examples=120)
@given(
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "BREW"]),
    path=paths,
    query=queries,
    lines=headers,
    body=bodies,
    json_body=st.booleans(),
)
def test_no_request_is_answered_500(
    fuzzed: Fuzzed,
    method: str,
    path: str,
    query: str,
    lines: list[bytes],
    body: bytes,
    json_body: bool,
) -> None:
    """Well-formed requests of any content get an answer of the API, and leave lists readable."""
    if json_body:
        lines = [b"Content-Type: application/json", *lines]
    path = path.replace("{known}", fuzzed.known[0]) or "/"
    answer = fuzzed.ask(f"{method} {path}?{query}", lines, body)

    assert answer.status in {200, 400, 401, 404, 413, 415, 501}, answer
    if method != "HEAD" and answer.headers["content-type"].startswith("application/json"):
        errors = answer.status >= 400 and "errors" not in answer.body
        assert (
            not errors
            or answer.body.keys() >= ENVELOPE
            or answer.body.keys() == {"message", "error"}
        )
    listed = fuzzed.ask(f"GET {V2}/execution?limit=100", [], b"")
    assert listed.status == 200
    assert len(listed.body["docs"]) == min(100, listed.body["totalDocs"])
    for run in fuzzed.emulator.runs[-1:]:
        read = fuzzed.ask(f"GET {V2}/execution/{run.execution_id}", [], b"")
        assert (read.status, read.body["_id"]) == (200, run.execution_id)


REQUEST = (
    b"POST /api/v2/public/workflow/wf/execute HTTP/1.1\r\nHost: x\r\nx-api-key: tk_emulator\r\n"
    b"linked_account_id: acct_1\r\nslug: hubspot\r\nContent-Type: application/json\r\n"
    b'Content-Length: 15\r\n\r\n{"payload": {}}'
)
pieces = st.sampled_from([
    b"\r\n", b"\n", b"\r", b"\x00", b":", b" ", b"\xff", b"HTTP/1.1", b"Expect: x\r\n",
    b"Content-Length: 9\r\n", b"5\r\n", b"0\r\n\r\n", b"Content-Encoding: gzip\r\n",
    b"Transfer-Encoding: chunked\r\n",
])  # fmt: skip
damages = st.lists(
    st.tuples(
        st.integers(0, len(REQUEST)), st.integers(0, 20), st.one_of(pieces, st.binary(max_size=9))
    ),
    min_size=1,
    max_size=4,
)


@settings(GATE, max_examples=120)
@given(damages=damages, times=st.integers(1, 3))
def test_no_damaged_request_is_answered_500(
    fuzzed: Fuzzed, damages: list[tuple[int, int, bytes]], times: int
) -> None:
    """Bytes that are hardly HTTP are refused or ignored, and the next request is served."""
    data = bytearray(REQUEST)
    for at, cut, piece in damages:
        data[at : at + cut] = piece
    raw = fuzzed.runner.run(_converse(fuzzed.emulator, bytes(data) * times))

    for line in raw.split(b"\r\n"):
        if line.startswith(b"HTTP/1.1 "):
            assert int(line.split()[1]) in {200, 400, 401, 404, 405, 413, 415, 417}, raw
    assert fuzzed.ask(f"GET {V2}/execution/{fuzzed.known[0]}", [], b"").status == 200


async def _converse(emulator: Emulator, data: bytes) -> bytes:
    """Send bytes, say that this is all, and read what comes."""
    port = int(emulator.base_url.rsplit(":", 1)[1])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    raw = b""
    try:
        async with asyncio.timeout(30):
            writer.write(data)
            writer.write_eof()
            with contextlib.suppress(ConnectionError):
                raw = await reader.read()
    finally:
        writer.close()
    return raw


def test_the_fuzzer_reads_json_strictly() -> None:
    """NaN on the wire would be seen."""
    with pytest.raises(AssertionError, match="NaN on the wire"):
        read_json('{"a": NaN}')
