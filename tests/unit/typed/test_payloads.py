"""What `execute(payload=...)` takes beside a dict."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec
import pytest

from refold_async import ConfigError, PayloadError
from refold_async._typed import plain_payload
from tests.unit.typed.test_types import Address, Item, Person, Private, Renamed


class Pair(NamedTuple):
    """Something that JSON knows as a list."""

    n: int


@pytest.mark.parametrize(
    ("payload", "written"),
    [
        (Item("a"), {"name": "a", "price": "0"}),
        (Person("a"), {"name": "a", "tags": []}),
        (Renamed("a"), {"firstName": "a"}),
        (Address.model_validate({"zip-code": "1"}), {"zip-code": "1", "since": None}),
        (MappingProxyType({"a": 1}), {"a": 1}),
    ],
)
def test_objects_are_written_as_json(payload: Any, written: Any) -> None:
    """An object of a class that has fields is the JSON object of them."""
    assert plain_payload(payload) == written


@pytest.mark.parametrize("payload", [None, {"a": Item("a")}, [1], "text", Pair(1), Item])
def test_anything_else_is_left_to_who_serialises_it(payload: Any) -> None:
    """A dict is sent as it stands, so that no rule is applied that nobody asked for."""
    assert plain_payload(payload) is payload


def test_object_that_breaks_its_annotations_is_refused() -> None:
    """The place is named, as in a typed workflow."""
    with pytest.raises(PayloadError, match=r"Expected `str`, got `int`; .* \(at \$\.name\)"):
        plain_payload(Item(3))  # type: ignore[arg-type]


def test_object_that_would_lose_a_field_is_refused() -> None:
    """Nothing is dropped in silence."""
    with pytest.raises(ConfigError, match=r"^payload: Private\._secret would not be sent"):
        plain_payload(Private("a"))


def test_struct_that_is_written_as_a_list_is_refused() -> None:
    """A payload is an object."""

    class Flat(msgspec.Struct, array_like=True):
        n: int

    with pytest.raises(ConfigError, match=r"^payload: .*Flat is no JSON object"):
        plain_payload(Flat(1))
