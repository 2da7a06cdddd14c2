"""Texts of any content: ids, header values, base URLs, statuses, durations, Retry-After."""

from __future__ import annotations

import pickle
from datetime import timedelta
from urllib.parse import urlsplit

from hypothesis import given
from hypothesis import strategies as st

from refold_async import ConfigError, ExecutionStatus
from refold_async._checks import check_header, check_id, positive_seconds
from refold_async._config import check_base_url
from refold_async._models.documents import created_at
from refold_async._protocol import Reply, get_execution_request, read_http_date
from refold_async._protocol.evidence import MAX_RETRY_AFTER, read_retry_after

TEXT = st.text() | st.text(st.sampled_from("ab.-_~/%?#:@[]\\ \t\r\n0é"), max_size=12)
URL = st.tuples(st.sampled_from(["https://", "http://", "https:", ""]), TEXT, TEXT).map("".join)


@given(TEXT)
def test_accepted_id_stays_one_segment(text: str) -> None:
    """An id that passes changes nothing but its own segment of the path."""
    try:
        check_id(text, "execution_id")
    except ConfigError:
        return
    target = get_execution_request(text, account=None).target
    parts = urlsplit("https://app.refold.ai" + target)
    assert parts.path.split("/") == ["", "api", "v2", "public", "execution", text]
    assert (parts.query, parts.fragment, parts.netloc) == ("", "", "app.refold.ai")
    assert text not in {".", ".."}


@given(TEXT)
def test_accepted_header_value_is_sent_as_it_is(text: str) -> None:
    """A header value that passes is printable ASCII without a space at either end."""
    try:
        check_header(text, "slug")
    except ConfigError:
        return
    assert text.isascii()
    assert text.isprintable()
    assert text == text.strip()
    assert 0 < len(text) <= 1024


@given(URL, st.booleans())
def test_accepted_base_url_leads_where_it_says(url: str, insecure: bool) -> None:
    """A base URL that passes has a plain host and path, and is accepted again unchanged."""
    try:
        accepted = check_base_url(url, allow_insecure_http=insecure)
    except ConfigError:
        return
    assert accepted.isascii()
    assert accepted.isprintable()
    assert check_base_url(accepted, allow_insecure_http=insecure) == accepted
    parts = urlsplit(accepted + "/api/v2/public/execution")
    assert parts.path.endswith("/api/v2/public/execution")
    assert (parts.username, parts.password, parts.query, parts.fragment) == (None, None, "", "")
    assert not {".", ".."} & {*parts.path.split("/")}
    assert insecure or parts.scheme == "https" or parts.hostname in {"localhost", "127.0.0.1"}


@given(st.text() | st.sampled_from([*ExecutionStatus]).map(str.lower))
def test_any_text_is_a_status(text: str) -> None:
    """A status is a known one or the text itself, and survives pickling."""
    status = ExecutionStatus(text)
    assert status in [*ExecutionStatus] or status == text
    assert pickle.loads(pickle.dumps(status)) == status  # noqa: S301
    assert not status.is_terminal or status in [*ExecutionStatus]


@given(st.floats() | st.integers() | st.timedeltas())
def test_any_duration_is_finite_seconds_or_refused(value: float | timedelta) -> None:
    """What passes is finite and above zero."""
    try:
        seconds = positive_seconds(value)
    except ConfigError:
        return
    assert seconds is not None
    assert 0 < seconds < float("inf")


@given(st.text() | st.floats().map(str) | st.integers().map(str), st.text())
def test_any_retry_after_is_sound_or_ignored(advice: str, date: str) -> None:
    """Advice that passes is a bounded number of seconds."""
    headers = {"Retry-After": advice, "Date": date}
    seconds = read_retry_after(Reply(status=429, headers=headers, body=b"", received_at=1e9))
    assert seconds is None or 0 <= seconds <= MAX_RETRY_AFTER


PARTS = ["Tue,", "16", "Jun", "2026", "26", "99999", "13:15:00", "99:99:99", "13", "GMT", "EST"]
DATES = st.lists(st.sampled_from([*PARTS, "+9999", "-0000", "-"]), max_size=8).map(" ".join)


@given(st.text() | DATES)
def test_any_http_date_is_read_or_none(text: str) -> None:
    """No text makes the reader of dates fail."""
    read = read_http_date(text)
    assert read is None or isinstance(read, float)


@given(st.text() | st.text("0123456789abcdefABCDEF", min_size=24, max_size=24))
def test_any_id_may_be_asked_for_its_time(text: str) -> None:
    """Any id gives a time or None."""
    moment = created_at(text)
    assert moment is None or moment.utcoffset() == timedelta(0)
