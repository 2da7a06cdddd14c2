"""Checks on what a caller gives."""

from __future__ import annotations

import string
from datetime import timedelta
from typing import Any

import pytest

from refold_async._checks import check_count, check_header, check_id, positive_seconds, to_seconds
from refold_async._errors import ConfigError

UNRESERVED = string.ascii_letters + string.digits + "._~-"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        pytest.param(2, 2.0, id="int"),
        pytest.param(0.25, 0.25, id="float"),
        pytest.param(timedelta(minutes=1, milliseconds=500), 60.5, id="timedelta"),
        pytest.param(timedelta(seconds=-1), -1.0, id="negative"),
        pytest.param(10**400, float("inf"), id="beyond-floats"),
        pytest.param(-(10**400), float("-inf"), id="below-floats"),
    ],
)
def test_seconds_are_read(value: Any, seconds: float) -> None:
    """Durations are numbers of seconds or timedeltas."""
    assert to_seconds(value) == seconds


@pytest.mark.parametrize("value", ["5", True, None, b"5", [5], 5j])
def test_what_is_no_duration_is_refused(value: Any) -> None:
    """A duration of another type is refused, and the field named."""
    with pytest.raises(ConfigError, match="number or a timedelta") as caught:
        to_seconds(value, "settle")
    assert caught.value.field == "settle"


@pytest.mark.parametrize(
    ("value", "seconds"), [(None, None), (1, 1.0), (timedelta(milliseconds=1), 0.001)]
)
def test_optional_duration_may_be_missing(value: Any, seconds: float | None) -> None:
    """None stays None, anything else becomes seconds."""
    assert positive_seconds(value) == seconds


@pytest.mark.parametrize(
    "value",
    [
        0,
        -0.0,
        -1,
        timedelta(0),
        float("nan"),
        float("inf"),
        pytest.param(10**400, id="beyond-floats"),
        pytest.param(10**5000, id="beyond-printing"),
    ],
)
def test_duration_must_be_positive_and_finite(value: Any) -> None:
    """A timeout that would never or at once be over is refused."""
    with pytest.raises(ConfigError, match="finite number of seconds above 0") as caught:
        positive_seconds(value, "timeout")
    assert caught.value.field == "timeout"


@pytest.mark.parametrize("value", [1, 10**9])
def test_count_is_accepted(value: int) -> None:
    """Counts begin with 1."""
    assert check_count(value, "attempts") == value


@pytest.mark.parametrize("value", [0, -1, 1.0, "1", True, None, 10**400])
def test_count_must_be_whole_and_positive(value: object) -> None:
    """Anything but a whole number from 1 is refused, and the field named."""
    with pytest.raises(ConfigError, match="whole number from 1") as caught:
        check_count(value, "attempts")
    assert caught.value.field == "attempts"


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("x", id="one"),
        pytest.param("a b:c;d", id="inner-space"),
        pytest.param("".join(map(chr, range(33, 127))), id="all-visible"),
        pytest.param("x" * 1024, id="longest"),
    ],
)
def test_header_value_is_accepted(value: str) -> None:
    """Printable ASCII up to 1,024 characters may be a header's value."""
    assert check_header(value, "slug") == value


@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        " x",
        "x ",
        "a\tb",
        "a\rb",
        "x\n",
        "a\r\nx-api-key: b",
        "\x00",
        "\x7f",
        "é",
        "\ud800",
        pytest.param("x" * 1025, id="too-long"),
    ],
)
def test_header_value_is_refused(value: str) -> None:
    """What could end the header, or be dropped in silence, is refused before any I/O."""
    with pytest.raises(ConfigError, match="printable ASCII") as caught:
        check_header(value, "slug")
    assert caught.value.field == "slug"


@pytest.mark.parametrize("value", [UNRESERVED, "a", "...", ".a", "6a314c54d4616e99e7fa5a02"])
def test_id_is_accepted(value: str) -> None:
    """An id is one plain path segment."""
    assert check_id(value, "workflow_id") == value


@pytest.mark.parametrize(
    "value",
    [
        "",
        ".",
        "..",
        "a/b",
        "a?b",
        "a#b",
        "%2e%2e",
        "a b",
        "a\n",
        "é",
        "a\\b",
        "a:b",
        "{}",
        pytest.param("x" * 129, id="too-long"),
    ],
)
def test_id_that_would_leave_its_segment_is_refused(value: str) -> None:
    """An id can neither leave the path nor cut it off."""
    with pytest.raises(ConfigError, match="to stand in a URL") as caught:
        check_id(value, "workflow_id")
    assert caught.value.field == "workflow_id"


@pytest.mark.parametrize("check", [check_header, check_id])
@pytest.mark.parametrize("value", [None, 5, b"x", ["x"]])
def test_text_must_be_a_string(check: Any, value: object) -> None:
    """Only strings are text, and the wrong type is named."""
    with pytest.raises(ConfigError, match=f"must be a string, not {type(value).__name__}"):
        check(value, "field")
