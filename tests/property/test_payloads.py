"""Payloads of any shape: what is accepted comes back, what is refused is refused by us."""

from __future__ import annotations

import json
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refold_async import PayloadError
from refold_async._protocol.payload import dump_payload

pytestmark = pytest.mark.long

LIMIT = 3 * 1024 * 1024
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
PLAIN = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda below: st.lists(below) | st.dictionaries(TEXT, below),
    max_leaves=20,
)
ODD = (
    st.just(float("nan"))
    | st.just("\ud800")
    | st.binary()
    | st.builds(datetime.now)
    | st.builds(Decimal)
    | st.uuids()
    | st.sets(st.integers())
    | st.complex_numbers()
    | st.builds(pow, st.just(10), st.just(5000))
)
ANYTHING = st.recursive(
    st.none() | NUMBERS | st.text() | ODD,
    lambda below: (
        st.lists(below)
        | st.tuples(below, below)
        | st.dictionaries(st.text() | st.integers() | st.none() | st.booleans(), below)
    ),
    max_leaves=20,
)


@given(st.dictionaries(TEXT, PLAIN))
def test_accepted_values_round_trip(payload: dict[str, Any]) -> None:
    """JSON's own types arrive as they were given."""
    sent = dump_payload(payload, limit=LIMIT)
    assert json.loads(sent) == {"payload": payload}
    assert sent.startswith(b'{"payload":{')


@given(st.dictionaries(TEXT, PLAIN))
def test_size_is_exact(payload: dict[str, Any]) -> None:
    """A payload fits its own size, and not one byte less."""
    size = len(dump_payload(payload, limit=LIMIT)) - len('{"payload":}')
    dump_payload(payload, limit=size)
    with pytest.raises(PayloadError):
        dump_payload(payload, limit=size - 1)


@given(ANYTHING)
def test_anything_else_is_refused_by_our_own_error(payload: Any) -> None:
    """Whatever is given, it is sent as strict JSON, or refused with its place in printable text."""
    told = "$"
    try:
        sent = dump_payload(payload, limit=LIMIT)
        json.loads(sent.decode("utf-8"), parse_constant=pytest.fail)
    except PayloadError as error:
        told = f"{error.path} {error}"
    assert told.startswith("$")
    assert told.isprintable()


@given(st.dictionaries(TEXT, PLAIN), ODD, st.integers(0, 5))
def test_fault_is_found_where_it_was_put(payload: dict[str, Any], odd: Any, depth: int) -> None:
    """The path leads to the value at fault."""
    place = payload
    for _ in range(depth):
        place["down"] = place = {}
    place["odd"] = odd
    with pytest.raises(PayloadError) as caught:
        dump_payload(payload, limit=LIMIT)
    assert caught.value.path == "$" + ".down" * depth + ".odd"
