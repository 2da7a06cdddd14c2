"""The error a failed reply becomes: its fields, its words."""

from __future__ import annotations

from typing import Any

import pytest

from refold_async import (
    ApiError,
    AuthenticationError,
    BadRequestError,
    NotFoundError,
    RateLimitError,
    ServerError,
    UnexpectedReplyError,
)
from refold_async._errors import TransportError
from refold_async._protocol import judge
from tests.support.making import EXECUTE, LOOK, reply


def api_error(status: int, body: Any, **headers: str) -> ApiError:
    """Give the error of a refused execute."""
    error = judge(EXECUTE, reply(status, body, **headers)).error
    assert isinstance(error, ApiError)
    return error


def strange(status: int, body: Any, **headers: str) -> UnexpectedReplyError:
    """Give the error of a reply that is neither answer nor error."""
    error = judge(EXECUTE, reply(status, body, **headers)).error
    assert isinstance(error, UnexpectedReplyError)
    return error


def test_envelope_is_read_in_full() -> None:
    """All fields of the documented envelope are on the error."""
    body = {
        "status_code": 404,
        "http_error_type": "NOT_FOUND",
        "error_code": "RESOURCE_NOT_FOUND",
        "message": "Execution not found",
        "request_id": "req-7",
    }
    error = judge(LOOK, reply(404, body)).error
    assert isinstance(error, NotFoundError)
    assert (error.status, error.message) == (404, "Execution not found")
    assert (error.error_code, error.error) == ("RESOURCE_NOT_FOUND", None)
    assert (error.request_id, error.body) == ("req-7", body)
    assert str(error) == "HTTP 404, Execution not found"


def test_executes_own_envelope_is_read() -> None:
    """The execute endpoint says what is wrong in `error`."""
    error = api_error(400, {"message": "Server Error", "error": "slug is required"})
    assert isinstance(error, BadRequestError)
    assert (error.message, error.error) == ("Server Error", "slug is required")
    assert str(error) == "HTTP 400, Server Error, slug is required"


def test_documented_401_is_read() -> None:
    """The documented answer to a bad key is an `AuthenticationError`."""
    body = {
        "status_code": 401,
        "http_error_type": "UNAUTHORIZED",
        "error": "SERVER_ERROR",
        "message": "Invalid Credentials",
    }
    error = api_error(401, body)
    assert isinstance(error, AuthenticationError)
    assert (error.message, error.error) == ("Invalid Credentials", "SERVER_ERROR")


def test_status_is_that_of_http_not_of_the_body() -> None:
    """A body may claim another status; what counts is the reply's own."""
    assert api_error(400, {"status_code": 200, "message": "no"}).status == 400


@pytest.mark.parametrize(
    ("body", "message"),
    [
        pytest.param({}, "{}", id="empty-object"),
        pytest.param(b"", "no message", id="empty"),
        pytest.param({"message": None}, "no message", id="null"),
        pytest.param({"message": ["a", 1]}, "['a', 1]", id="list"),
        pytest.param({"message": {"email": "required"}}, "{'email': 'required'}", id="object"),
        pytest.param(b"upstream failed", "upstream failed", id="text"),
        pytest.param(["a"], '["a"]', id="array"),
        pytest.param(b"\xff\xfe\xfd", "\ufffd\ufffd\ufffd", id="bytes"),
        pytest.param({"message": "a\nb\x1b[1m"}, "a\\nb\\x1b[1m", id="control"),
    ],
)
def test_message_is_whatever_the_service_said(body: Any, message: str) -> None:
    """A message of any type, or the body's own text, is told as text."""
    assert api_error(400, body).message == message


def test_long_message_is_clipped() -> None:
    """A stack trace does not become a page of log."""
    error = api_error(500, b"why " * 10_000)
    assert isinstance(error, ServerError)
    assert error.message.startswith("why why")
    assert len(error.message) < 550
    assert len(error.body) < 550
    assert len(str(error)) < 600


@pytest.mark.parametrize("field", ["error", "error_code", "request_id"])
def test_other_fields_are_text_too(field: str) -> None:
    """Fields of another type are told as text, and clipped; missing ones are None."""
    assert getattr(api_error(400, {field: {"a": "x" * 600}}), field).startswith("{'a': 'xxx")
    assert len(getattr(api_error(400, {field: "x" * 600}), field)) < 550
    assert getattr(api_error(400, {field: None}), field) is None
    assert getattr(api_error(400, {}), field) is None


def test_document_is_kept_whole() -> None:
    """A validation error's fields, whatever their shape, are on the error."""
    body = {"message": "invalid", "errors": [{"path": "email", "rule": "format"}]}
    assert api_error(422, body).body == body


def test_body_that_is_no_json_is_kept_as_text() -> None:
    """The beginning of a proxy's text is there for a look."""
    assert api_error(502, b"Bad Gateway\r\n").body == "Bad Gateway\\r\\n"


PAGE = (
    b"<!DOCTYPE html>\n<html><head><TITLE lang='en'>502\n  Bad Gateway</TITLE></head>secret</html>"
)


@pytest.mark.parametrize(
    ("body", "headers", "words"),
    [
        pytest.param(PAGE, {}, "an HTML page, '502 Bad Gateway'", id="titled"),
        pytest.param(b"<html>secret", {}, "an HTML page", id="no-title"),
        pytest.param(b"<title> </title>", {}, "an HTML page", id="empty-title"),
        pytest.param(b"secret", {"Content_Type": "Text/HTML"}, "an HTML page", id="declared"),
        pytest.param(b"<h1>secret</h1>", {}, "an HTML page", id="fragment"),
    ],
)
def test_web_page_is_named_and_not_quoted(body: bytes, headers: Any, words: str) -> None:
    """A debug page may show anything, the request itself too: its title is all that stays."""
    error = api_error(502, body, **headers)
    assert (error.message, error.body) == (words, words)
    assert str(error) == f"HTTP 502, {words}"
    assert words in str(strange(200, body, **headers))
    assert "secret" not in str(strange(200, body, **headers))


@pytest.mark.parametrize(
    ("body", "known"),
    [
        pytest.param({"request_id": "body-1"}, "body-1", id="body-wins"),
        pytest.param({"request_id": None}, "head-1", id="null"),
        pytest.param({}, "head-1", id="header"),
        pytest.param(b"gone", "head-1", id="no-json"),
    ],
)
def test_request_id_is_read_from_body_or_header(body: Any, known: str) -> None:
    """The service's name of a request is in its envelope, or in the header a gateway adds."""
    headers = {"X_Request_Id": "head-1"}
    assert api_error(500, body, **headers).request_id == known
    assert strange(302, body, **headers).request_id == known
    assert api_error(500, b"").request_id is None


def test_retry_after_is_on_the_error() -> None:
    """The advice of a refusal is in the attribute, the message and the answer."""
    answer = judge(EXECUTE, reply(429, {"message": "slow"}, Retry_After="7"))
    assert isinstance(answer.error, RateLimitError)
    assert (answer.retry_after, answer.error.retry_after) == (7, 7)
    assert "retry after 7 s" in str(answer.error)


def test_redirect_names_its_target_and_the_remedy() -> None:
    """A redirect is never followed; the message says where it leads and what to do."""
    error = strange(307, b"", Location="https://login.example/\r\n?next=/")
    assert (error.status, error.sent) == (307, True)
    assert "redirects to https://login.example/\\r\\n?next=/" in str(error)
    assert "Correct base_url" in str(error)


@pytest.mark.parametrize("status", [300, 302, 399])
def test_redirect_without_a_target(status: int) -> None:
    """A redirect may lack its Location."""
    assert f"HTTP {status} redirects to nowhere" in str(strange(status, b""))


def test_html_in_a_success_is_told() -> None:
    """A login page with status 200 is told by its title, with what to check."""
    error = strange(200, b"<!DOCTYPE html>\n<title>Sign in</title>" + b" " * 1000)
    assert error.status == 200
    assert "with an HTML page, 'Sign in'. Check base_url" in str(error)


def test_text_in_a_success_is_told_apart_by_its_beginning() -> None:
    """Any other body that is no JSON is quoted, and cut."""
    assert "no JSON: 'OK OK " in str(strange(200, b"OK " * 1000))
    assert len(str(strange(200, b"OK " * 1000))) < 250


@pytest.mark.parametrize(
    ("body", "kind"), [([], "list"), ("x", "str"), (None, "NoneType"), ({}, "dict"), (5, "int")]
)
def test_json_of_the_wrong_kind_is_named(body: Any, kind: str) -> None:
    """A JSON reply that is not the documented answer is told by its type."""
    assert f"HTTP 200 with a JSON {kind} that is not" in str(strange(200, body))


def test_unexpected_reply_is_a_transport_error() -> None:
    """Code that catches lost answers catches unusable ones."""
    assert isinstance(strange(200, b""), TransportError)
