"""Payloads: what is sent, and what is refused with its place and a remedy."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections import OrderedDict, UserDict, defaultdict, namedtuple
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any
from uuid import UUID

import pytest

from refold_async import PayloadError
from refold_async._protocol.payload import MAX_DEPTH, dump_payload

MIB = 1024 * 1024
LIMIT = 3 * MIB
Point = namedtuple("Point", ["x", "y"])  # noqa: PYI024 - an untyped one, as callers have them


class Colour(Enum):
    """No JSON."""

    RED = "red"


class Level(IntEnum):
    """A number."""

    HIGH = 3


class Mode(StrEnum):
    """A text."""

    FAST = "fast"


@dataclasses.dataclass
class Contact:
    """No JSON."""

    email: str = "jane@example.com"


def dump(payload: Any, limit: int = LIMIT) -> bytes:
    """Serialise a payload."""
    return dump_payload(payload, limit=limit)


def refused(payload: Any, limit: int = LIMIT) -> PayloadError:
    """Give the error of a payload that can't be sent."""
    with pytest.raises(PayloadError) as caught:
        dump(payload, limit)
    assert caught.value.field == "payload"
    return caught.value


def nested(depth: int, kind: type = list) -> Any:
    """Give an object of so many levels, itself the first."""
    value: Any = {} if kind is dict else []
    for _ in range(depth - 2):
        value = {"a": value} if kind is dict else [value]
    return {"a": value}


@pytest.mark.parametrize(
    ("payload", "sent"),
    [
        pytest.param(None, "{}", id="none"),
        pytest.param({}, "{}", id="empty"),
        pytest.param({"a": [1, -2.5, True, None, "x"]}, '{"a":[1,-2.5,true,null,"x"]}', id="all"),
        pytest.param({"é": "日本\u2028😀"}, '{"é":"日本\u2028😀"}', id="unicode"),
        pytest.param({"a": (1, 2), "p": Point(1, 2)}, '{"a":[1,2],"p":[1,2]}', id="tuples"),
        pytest.param(
            {"a": OrderedDict(b=1), "c": defaultdict(int)}, '{"a":{"b":1},"c":{}}', id="d"
        ),
        pytest.param({"a": Level.HIGH, "b": Mode.FAST}, '{"a":3,"b":"fast"}', id="enums"),
        pytest.param({Mode.FAST: 1}, '{"fast":1}', id="text-enum-key"),
        pytest.param({"a": 10**100}, '{"a":1' + "0" * 100 + "}", id="large-number"),
        pytest.param({"a": 1e308, "b": -0.0}, '{"a":1e+308,"b":-0.0}', id="floats"),
        pytest.param({"a": "\x00\n"}, '{"a":"\\u0000\\n"}', id="control"),
    ],
)
def test_plain_values_are_sent(payload: Any, sent: str) -> None:
    """JSON's own types, and what is one of them by inheritance, are written compactly as UTF-8."""
    assert dump(payload) == b'{"payload":' + sent.encode() + b"}"


def test_shared_values_are_sent_twice() -> None:
    """The same list in two places is no cycle."""
    shared = [1, {"b": 2}]
    assert json.loads(dump({"x": shared, "y": shared})) == {"payload": {"x": shared, "y": shared}}


@pytest.mark.parametrize("kind", [list, dict])
def test_depth_is_bounded(kind: type) -> None:
    """Two hundred levels are sent, one more is refused with its place."""
    assert dump(nested(MAX_DEPTH, kind)).count(b"[" if kind is list else b"{") >= MAX_DEPTH - 1
    error = refused(nested(MAX_DEPTH + 1, kind))
    assert "nested deeper than 200" in str(error)
    assert error.path.startswith("$.a")


@pytest.mark.parametrize("depth", [1000, 100_000])
def test_absurd_depth_is_refused_without_recursion(depth: int) -> None:
    """The interpreter's recursion limit is never met."""
    assert "nested deeper than 200" in str(refused(nested(depth)))


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        pytest.param(float("nan"), "is nan, which JSON can't say; send null", id="nan"),
        pytest.param(float("inf"), "is inf, which JSON can't say; send null", id="inf"),
        pytest.param(float("-inf"), "is -inf, which JSON can't say; send null", id="minus-inf"),
        pytest.param(datetime.now(UTC), "is a datetime.*send .isoformat", id="datetime"),
        pytest.param(date(2026, 6, 16), "is a date.*send .isoformat", id="date"),
        pytest.param(Decimal("1.10"), "is a Decimal.*send str", id="decimal"),
        pytest.param(UUID(int=1), "is a UUID.*send str", id="uuid"),
        pytest.param(b"x", "is a bytes.*send base64 text", id="bytes"),
        pytest.param(bytearray(b"x"), "is a bytearray.*send base64 text", id="bytearray"),
        pytest.param({1}, "is a set.*send a list", id="set"),
        pytest.param(frozenset({1}), "is a frozenset.*send a list", id="frozenset"),
        pytest.param(Contact(), "is a Contact.*send plain values", id="dataclass"),
        pytest.param(Colour.RED, "is a Colour.*send plain values", id="enum"),
        pytest.param(Path("x"), "is a PosixPath.*send plain values", id="path"),
        pytest.param(UserDict(), "is a UserDict.*send plain values", id="user-dict"),
        pytest.param(MappingProxyType({}), "is a mappingproxy.*send plain values", id="proxy"),
        pytest.param(iter([1]), "is a list_iterator.*send plain values", id="iterator"),
        pytest.param(1j, "is a complex.*send plain values", id="complex"),
        pytest.param(object, "is a type.*send plain values", id="class"),
        pytest.param("\ud800", "lone surrogate.*errors='replace'", id="surrogate"),
        pytest.param(10**5000, "more than 4,300 digits; send a string", id="huge-number"),
        pytest.param({1: 2}, "has the int key 1; JSON keys are strings.*str", id="int-key"),
        pytest.param({None: 2}, "has the NoneType key None", id="none-key"),
        pytest.param({True: 2}, "has the bool key True", id="bool-key"),
        pytest.param({(1, 2): 3}, "has a tuple key; JSON", id="tuple-key"),
        pytest.param({"\ud800": 1}, "key with a lone surrogate.*errors='replace'", id="sur-key"),
    ],
)
@pytest.mark.parametrize("deep", [True, False], ids=["deep", "flat"])
def test_what_json_can_not_say_is_refused(value: Any, complaint: str, deep: bool) -> None:
    """The message names the place, what stands there, and what to send instead."""
    payload = {"items": [0, {"price": value}]} if deep else {"price": value}
    error = refused(payload)
    assert error.path == ("$.items[1].price" if deep else "$.price")
    with pytest.raises(PayloadError, match=complaint):
        raise error


@pytest.mark.parametrize("payload", [{"k": "SECRET \ud800"}, {"a": "SECRET", "b": float("nan")}])
def test_error_leads_to_no_payload(payload: Any) -> None:
    """Not even unseen: what the encoder raised holds all of its text."""
    assert refused(payload).__context__ is None


def test_number_is_bounded_by_the_interpreter_alone() -> None:
    """Where the interpreter writes numbers of any length, they are sent."""
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        assert len(dump({"a": 10**5000})) == len('{"payload":{"a":}}') + 5001
    finally:
        sys.set_int_max_str_digits(before)


def test_first_fault_is_told() -> None:
    """Of several faults the first in reading order is told."""
    assert refused({"a": {"b": [1, b"x"]}, "c": float("nan")}).path == "$.a.b[1]"
    assert "key 1;" in str(refused({"a": {1: 0, 2: 0}}))


@pytest.mark.parametrize("payload", [[], "x", 5, (), b"{}", UserDict(), Contact()])
def test_payload_must_be_an_object(payload: Any) -> None:
    """Only a dict is a JSON object."""
    error = refused(payload)
    assert error.path == "$"
    assert f"must be a JSON object (a dict), not {type(payload).__name__}" in str(error)


def test_cycle_is_found() -> None:
    """A payload that contains itself is refused, with the place where it does."""
    whole: dict[str, Any] = {"a": 1}
    whole["again"] = [whole]
    part: list[Any] = []
    part.append(part)
    twins: list[Any] = []
    twins.extend([twins, twins])
    assert (refused(whole).path, refused({"p": part}).path) == ("$.again[0]", "$.p[0]")
    assert refused({"t": twins}, 300_000).path == "$.t[0]"
    assert "contains itself" in str(refused(whole))


def bomb(core: Any, levels: int, width: int) -> Any:
    """Give lists that each hold the next one so many times."""
    for _ in range(levels):
        core = [core] * width
    return {"bomb": core}


@pytest.mark.parametrize(("levels", "width"), [(60, 2), (4, 1000), (2, 100_000)])
def test_shared_containers_that_explode_are_refused_quickly(levels: int, width: int) -> None:
    """A few containers that stand for more values than could be sent cost little to refuse."""
    begun = time.process_time()
    error = refused(bomb([], levels, width), 300_000)
    assert time.process_time() - begun < 2
    assert "holds more than 150,000 values, which can't fit into 300,000 bytes" in str(error)
    assert error.path == "$"


def test_fault_within_shared_containers_is_found_quickly() -> None:
    """What is looked for is found, however often it is shared."""
    begun = time.process_time()
    assert refused(bomb([b"x"], 60, 2), 300_000).path.startswith("$.bomb[0][0]")
    assert time.process_time() - begun < 2


def test_too_large_a_payload_is_refused_quickly() -> None:
    """Many small objects are not searched for a fault one by one."""
    payload = {"a": [{"b": [1]} for _ in range(150_000)]}
    begun = time.process_time()
    assert "can't fit into 300,000 bytes" in str(refused(payload, 300_000))
    assert time.process_time() - begun < 2


def test_shared_container_may_be_too_deep_in_one_place_only() -> None:
    """A list that was fine where it stood first is looked at again where it stands deeper."""
    shared = nested(150)["a"]
    deep = [shared]
    for _ in range(60):
        deep = [deep]
    assert "nested deeper" in str(refused({"flat": shared, "deep": deep}))
    assert refused({"flat": shared, "deep": deep}).path.startswith("$.deep")


def test_size_is_bounded() -> None:
    """The limit is that of the payload's own bytes, and the message says what to do."""
    exact = {"a": "x" * (100 - len('{"a":""}'))}
    assert len(dump(exact, 100)) == 100 + len('{"payload":}')
    error = refused({"a": exact["a"] + "x"}, 100)
    assert "is 101 bytes as JSON, more than the 100 allowed" in str(error)
    assert "raise max_payload_bytes" in str(error)


def test_size_counts_bytes_not_characters() -> None:
    """Text outside of ASCII is measured as UTF-8."""
    assert "is 23 bytes" in str(refused({"a": "日" * 5}, 22))


def test_many_values_are_refused_before_they_are_written() -> None:
    """More than one value for each two bytes can't fit."""
    error = refused({"a": [[[]] for _ in range(100)]}, 50)
    assert "holds more than 25 values, which can't fit into 50 bytes" in str(error)


@pytest.mark.parametrize("payload", [{"a": [[[]]]}, {"": {"": 0}}, {"a": [0] * 50}, {}], ids=str)
def test_densest_payloads_fit_their_own_size(payload: Any) -> None:
    """The quick look never refuses what would have fitted."""
    size = len(json.dumps(payload, separators=(",", ":")))
    assert json.loads(dump(payload, size)) == {"payload": payload}


def test_long_path_keeps_both_ends() -> None:
    """A path that would fill a screen is shortened in its middle."""
    value: Any = float("nan")
    for _ in range(150):
        value = {"key": value}
    path = refused({"begin": {"x": value}}).path
    assert path.startswith("$.begin.x.key.key")
    assert path.endswith(".key.key")
    assert "..." in path
    assert len(path) < 200


def test_path_is_printable() -> None:
    """A key on the way that is no text shows as an escape."""
    error = refused({"a\ud800": {"b": 1}})
    assert str(error).isprintable()
    assert refused({"é": b""}).path == "$.\\xe9"


def test_encoder_out_of_depth_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the stack is all but used up, the encoder's own complaint is ours."""

    def exhausted(value: Any) -> str:
        raise RecursionError("maximum recursion depth exceeded")

    monkeypatch.setattr("refold_async._protocol.payload._encode", exhausted)
    assert "can't be sent as JSON: maximum recursion depth" in str(refused({"a": 1}))
