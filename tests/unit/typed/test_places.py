"""Where something does not fit, also in a mapping."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import pytest

from refold_async import OutputError, PayloadError
from tests.unit.typed.test_types import Item, result, typed

FINE = {"name": "pen", "price": "1.50"}
MANY = {f"k{n}": n for n in range(1_000)}
BOUND = Annotated[dict[str, int], msgspec.Meta(min_length=3)]


@pytest.mark.parametrize(
    ("kind", "value", "place"),
    [
        (dict[str, int], {"a": 1, "b": "x"}, "$.b"),
        (dict[str, int], {"b": "x"}, "$.b"),
        (dict[str, int], MANY | {"k777": "x", "k900": "y"}, "$.k777"),
        (dict[str, dict[str, int]], {"a": {}, "b": {"x": 1, "y": None}, "c": {"z": None}}, "$.b.y"),
        (dict[str, list[dict[int, int]]], {"a": [{"1": 1}, {"1": 1, "2": "x"}]}, "$.a[1].2"),
        (dict[str, tuple[dict[str, int], int]], {"a": [{"b": "x"}, 1]}, "$.a[0].b"),
        (dict[str, Item], {"a": FINE, "b": FINE | {"price": None}}, "$.b.price"),
        (dict[str, dict[int, int]], {"a": {"1": 1}, "b": {"x": 1}}, "$.b[key]"),
        (dict[str, dict[str, int]], {"a.b": {"c[0]": "x"}, "a": {}}, "$.a.b.c[0]"),
        # What may not be shortened is not looked through: nothing wrong is told.
        (dict[str, BOUND], {"a": {"b": 1, "c": "x", "d": 1, "e": 2}}, "$.a[...]"),
        (BOUND, {"b": 1, "c": 2, "d": 3, "e": "x"}, "$.e"),
    ],
)
def test_a_place_has_the_keys_of_mappings(kind: Any, value: Any, place: str) -> None:
    """Of the first that is wrong; among a thousand nobody would find it otherwise."""
    spec = typed(kind)
    with pytest.raises(OutputError) as output:
        spec.read(result(value))
    with pytest.raises(PayloadError) as payload:
        spec.payload(value)
    assert (output.value.path, payload.value.path) == (place, place)
    assert f"(at {place})" in str(payload.value)
