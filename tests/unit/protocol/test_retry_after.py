"""Retry-After: seconds, dates, and nonsense."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from refold_async._protocol import read_http_date
from refold_async._protocol.evidence import MAX_RETRY_AFTER, read_retry_after
from tests.support.making import NOW, reply

if TYPE_CHECKING:
    from collections.abc import Iterator

HALF_A_MINUTE_LATER = "Tue, 16 Jun 2026 13:15:30 GMT"


@pytest.fixture
def _in_tokyo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Be far from Greenwich."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("7", 7),
        (" 7 ", 7),
        ("1.5", 1.5),
        ("604800", MAX_RETRY_AFTER),
        (HALF_A_MINUTE_LATER, 30),
        ("Tue, 16 Jun 2026 13:14:00 GMT", 0),
    ],
)
def test_advice_is_read_as_seconds(text: str, seconds: float) -> None:
    """Seconds are taken as they are, a date as the time until then, a past one as now."""
    assert read_retry_after(reply(429, Retry_After=text)) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "-1",
        "\u0663",  # an Arabic three
        "\uff13",  # a wide one
        "1_0",
        "1e3",
        "+7",
        ".5",
        "5.",
        "1.5.5",
        "Tue, 16 Jun 2026 13:15:\u0663\u0660 GMT",
        "Tue, 16 Jun 2026 13:1_5:30 GMT",
        "-0.5",
        "nan",
        "inf",
        "-inf",
        "1e400",
        "604801",
        "99999999999999999999",
        "",
        "soon",
        "10 seconds",
        "7, 8",
        "0x10",
        "Tue, 16 Jun 2099 13:15:00 GMT",
        "Tue, 99 Foo 2026 13:15:00 GMT",
        "Tue, 16 Jun 99999 13:15:00 GMT",
        "\x00",
    ],
)
def test_nonsense_is_ignored(text: str) -> None:
    """Negative, absurd and unreadable advice is none."""
    assert read_retry_after(reply(429, Retry_After=text)) is None


def test_missing_header_is_no_advice() -> None:
    """A reply without the header asks for nothing."""
    assert read_retry_after(reply(429)) is None


def test_date_is_compared_with_the_replys_own_date() -> None:
    """Where the service says what time it is, a clock that goes wrong here does no harm."""
    late = reply(429, Retry_After=HALF_A_MINUTE_LATER, Date="Tue, 16 Jun 2026 13:15:20 GMT")
    assert read_retry_after(late) == 10


def test_unreadable_date_of_the_reply_is_ignored() -> None:
    """Without a readable Date the local clock has to do."""
    assert read_retry_after(reply(429, Retry_After=HALF_A_MINUTE_LATER, Date="today")) == 30


@pytest.mark.usefixtures("_in_tokyo")
@pytest.mark.parametrize(
    "text",
    [
        pytest.param("Tue, 16 Jun 2026 13:15:00 GMT", id="imf-fixdate"),
        pytest.param("Tuesday, 16-Jun-26 13:15:00 GMT", id="rfc-850"),
        pytest.param("Tue Jun 16 13:15:00 2026", id="asctime"),
        pytest.param("Tue, 16 Jun 2026 13:15:00 -0000", id="no-zone"),
        pytest.param("Tue, 16 Jun 2026 15:15:00 +0200", id="other-zone"),
    ],
)
def test_all_three_forms_of_a_date_are_greenwich_time(text: str) -> None:
    """The form of asctime has no zone, and means GMT wherever this machine stands."""
    assert read_http_date(text) == NOW


@pytest.mark.parametrize("text", ["", " ", "x", "Tue", "13:15", "Tue, 16 Jun", "0 0 0 0 0 0"])
def test_what_is_no_date_is_none(text: str) -> None:
    """Anything else is no date."""
    assert read_http_date(text) is None
