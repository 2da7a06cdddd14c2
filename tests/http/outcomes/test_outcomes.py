"""What a reply to execute proves, and what each retry mode does about it, on real sockets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from refold_async import ExecutionOutcomeUnknownError, Timeouts
from tests.support.endings import MODES, Ending, at_once, ending_of, unknown
from tests.support.wire import RUN, STARTS, Step, http, wire

if TYPE_CHECKING:
    from collections.abc import Callable

    from refold_async import RefoldClient

HTML = "<html><body><h1>Bad gateway</h1></body></html>"
OVERLOADED = {"status_code": 503, "http_error_type": "SERVICE_UNAVAILABLE", "message": "shed"}
REFUSAL = {"message": "Server Error", "error": "Workflow ID and slug are required"}
QUICK = {"timeouts": Timeouts(read=0.5)}


@MODES
@pytest.mark.parametrize(
    ("reply", "error"),
    [
        pytest.param(http(408, {"message": "slow"}), "ApiError", id="408"),
        pytest.param(http(421, HTML), "ApiError", id="421 HTML"),
        pytest.param(http(425, {}), "ApiError", id="425"),
        pytest.param(http(429, {"message": "slow down"}), "RateLimitError", id="429"),
        pytest.param(http(429, HTML), "RateLimitError", id="429 HTML"),
        pytest.param(http(503, OVERLOADED), "ServerError", id="503 of the service"),
    ],
)
async def test_what_was_turned_away_is_sent_again(
    connect: Callable[..., RefoldClient],
    caplog: pytest.LogCaptureFixture,
    mode: str,
    reply: bytes,
    error: str,
) -> None:
    """A rejection starts nothing: sent again without a flag, unless the mode is `never`."""
    async with wire(Step(reply=reply), STARTS) as server:
        refold = connect(server, retry=at_once(mode))
        actual = await ending_of(refold.execute("wf_1", slug="s"), refold, server, caplog)
    expected = Ending(outcome=error) if mode == "never" else Ending(attempts=2, posts=2)
    assert expected == actual


@MODES
@pytest.mark.parametrize(
    ("step", "cause", "settings"),
    [
        pytest.param(Step(end="fin"), "TransportError", {}, id="FIN"),
        pytest.param(Step(end="rst"), "TransportError", {}, id="RST"),
        pytest.param(Step(end="rst", read="head"), "TransportError", {}, id="RST after the head"),
        pytest.param(Step(end="stall"), "RequestTimeoutError", QUICK, id="stall"),
        pytest.param(
            Step(reply=b"HTTP/1.1 200 OK\r\nContent-", end="stall"),
            "RequestTimeoutError",
            QUICK,
            id="stall in the head",
        ),
        pytest.param(
            Step(reply=http(body={}, length=999), end="stall"),
            "RequestTimeoutError",
            QUICK,
            id="stall in the body",
        ),
        pytest.param(
            Step(reply=http(body={"execution_id": RUN}, length=999), end="fin"),
            "UnexpectedReplyError",
            {},
            id="truncated",
        ),
        pytest.param(
            Step(reply=http(body=b'{"execution_id": "6a31')), "UnexpectedReplyError", {}, id="half"
        ),
        pytest.param(
            Step(reply=b"\x16\x03\x01 what is this\r\n\r\n", end="fin"),
            "UnexpectedReplyError",
            {},
            id="garbage",
        ),
        pytest.param(
            Step(reply=http(body={"execution_id": RUN, "filler": "x" * 2000}), end="fin"),
            "UnexpectedReplyError",
            {"max_reply_bytes": 1000},
            id="oversized",
        ),
        pytest.param(Step(reply=http(200, HTML)), "UnexpectedReplyError", {}, id="200 HTML"),
        pytest.param(Step(reply=http(200, {})), "UnexpectedReplyError", {}, id="200 without id"),
        pytest.param(
            Step(reply=http(200, {"execution_id": ""})), "UnexpectedReplyError", {}, id="empty id"
        ),
        pytest.param(
            Step(reply=http(200, {"execution_id": 7})), "UnexpectedReplyError", {}, id="number id"
        ),
        pytest.param(Step(reply=http(200, [RUN])), "UnexpectedReplyError", {}, id="200 list"),
        pytest.param(Step(reply=http(200, b"")), "UnexpectedReplyError", {}, id="200 empty"),
        pytest.param(Step(reply=http(200, b"\xff\xfe")), "UnexpectedReplyError", {}, id="no text"),
        pytest.param(
            Step(reply=http(200, b"[" * 100_000)), "UnexpectedReplyError", {}, id="too deep"
        ),
        pytest.param(
            Step(reply=http(200, body=b"no gzip", headers={"Content-Encoding": "gzip"})),
            "UnexpectedReplyError",
            {},
            id="broken gzip",
        ),
        pytest.param(
            Step(reply=b"HTTP/1.1 204 No Content\r\n\r\n"), "UnexpectedReplyError", {}, id="204"
        ),
    ],
)
async def test_a_lost_or_unusable_answer_is_unknown(
    connect: Callable[..., RefoldClient],
    caplog: pytest.LogCaptureFixture,
    mode: str,
    step: Step,
    cause: str,
    settings: dict[str, Any],
) -> None:
    """What may have started a run, and can't be proven absent, is never sent again."""
    async with wire(step, STARTS) as server:
        refold = connect(server, retry=at_once(mode), **settings)
        actual = await ending_of(refold.execute("wf_1", slug="s"), refold, server, caplog)
    assert unknown(cause) == actual


@MODES
@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(http(500, {"status_code": 500, "message": "boom"}), id="500"),
        pytest.param(http(502, HTML), id="502 HTML"),
        pytest.param(http(502, {"message": "boom"}), id="502 JSON"),
        pytest.param(http(503, HTML), id="503 HTML"),
        pytest.param(http(503, b""), id="503 empty"),
        pytest.param(http(504, HTML), id="504"),
        *[pytest.param(http(code, HTML), id=str(code)) for code in range(520, 525)],
    ],
)
async def test_a_server_error_is_sent_again_only_by_transient(
    connect: Callable[..., RefoldClient], caplog: pytest.LogCaptureFixture, mode: str, reply: bytes
) -> None:
    """A 5xx may have started a run: `transient` sends again and says so, the others don't."""
    async with wire(Step(reply=reply), STARTS) as server:
        refold = connect(server, retry=at_once(mode))
        actual = await ending_of(refold.execute("wf_1", slug="s"), refold, server, caplog)
    again = Ending(attempts=2, posts=2, duplicates=1)
    assert (again if mode == "transient" else unknown("ServerError")) == actual


@MODES
@pytest.mark.parametrize(
    ("status", "error"),
    [
        pytest.param(400, "BadRequestError", id="400"),
        pytest.param(401, "AuthenticationError", id="401"),
        pytest.param(403, "PermissionDeniedError", id="403"),
        pytest.param(404, "NotFoundError", id="404"),
        pytest.param(409, "ConflictError", id="409"),
        pytest.param(413, "ApiError", id="413"),
        pytest.param(422, "BadRequestError", id="422"),
        pytest.param(451, "ApiError", id="451"),
        pytest.param(501, "ServerError", id="501"),
        pytest.param(505, "ServerError", id="505"),
    ],
)
@pytest.mark.parametrize("body", [pytest.param(REFUSAL, id="JSON"), pytest.param(HTML, id="HTML")])
async def test_a_refusal_is_raised_at_once(
    connect: Callable[..., RefoldClient],
    caplog: pytest.LogCaptureFixture,
    mode: str,
    status: int,
    error: str,
    body: Any,
) -> None:
    """What the service will not do is asked once, in every mode."""
    async with wire(Step(reply=http(status, body)), STARTS) as server:
        refold = connect(server, retry=at_once(mode))
        actual = await ending_of(refold.execute("wf_1", slug="s"), refold, server, caplog)
    assert Ending(outcome=error) == actual


@MODES
@pytest.mark.parametrize("status", [200, 201, 400, 401, 404, 408, 429, 500, 502, 503, 504])
@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"execution_id": RUN}, id="execution_id"),
        pytest.param({"return_value": None}, id="return_value"),
        pytest.param({"errored": True}, id="errored"),
        pytest.param({"execution_error": "node failed"}, id="execution_error"),
        pytest.param({"executed_by_thanos": True, "message": "done"}, id="executed_by_thanos"),
    ],
)
async def test_a_body_that_proves_a_run_is_the_outcome(
    connect: Callable[..., RefoldClient],
    caplog: pytest.LogCaptureFixture,
    mode: str,
    status: int,
    body: Any,
) -> None:
    """A run that happened is never asked for again, whatever the status says."""
    async with wire(Step(reply=http(status, body))) as server:
        refold = connect(server, retry=at_once(mode))
        actual = await ending_of(refold.execute("wf_1", slug="s"), refold, server, caplog)
    assert Ending() == actual


async def test_an_unknown_outcome_says_how_to_look_the_run_up(
    connect: Callable[..., RefoldClient],
) -> None:
    """The error names the workflow and the tag, and both are in its message."""
    async with wire(Step(end="fin")) as server:
        refold = connect(server, retry=at_once("never"))
        with pytest.raises(ExecutionOutcomeUnknownError) as caught:
            await refold.execute("wf_1", slug="s")
    tag = server.seen[0].headers["instance_tag"]
    assert (tag, "wf_1", 1) == (
        caught.value.instance_tag,
        caught.value.workflow_id,
        caught.value.attempts,
    )
    assert "wf_1" in str(caught.value)
    assert tag in str(caught.value)
