"""Sets, and models in other types, as they are written."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Generic

import pydantic
import pytest

from refold_async import PayloadError
from tests.unit.typed.test_types import Address, Stage, T, typed


@dataclass(frozen=True, eq=False)
class Point:
    """Something that may stand in a set, and holds one."""

    x: int
    y: set[int]


class Number(pydantic.RootModel[int]):
    """A model that is no object."""

    model_config = pydantic.ConfigDict(frozen=True)


class Frozen(pydantic.BaseModel, frozen=True):
    """A model that may stand in a set."""

    a: int


class Holding(pydantic.BaseModel, Generic[T]):
    """A model of any type."""

    value: T


@pytest.mark.parametrize(
    ("kind", "value", "written"),
    [
        (set[str], {f"n{i}" for i in range(20)}, sorted(f"n{i}" for i in range(20))),
        (Any, {"b", "a", "c"}, ["a", "b", "c"]),
        (set[frozenset[str]], {frozenset("dc"), frozenset("ba")}, [["a", "b"], ["c", "d"]]),
        (set[Stage], {Stage.LEAD}, ["lead"]),
        (set[int | str | None], {None, "b", 1, "a"}, ["a", "b", 1, None]),
        (set[Point], {Point(2, {3}), Point(1, {1, 2})}, None),
        (list[Any], [{"deep": ({"b", "a"},)}], [{"deep": (["a", "b"],)}]),
    ],
)
def test_sets_are_sorted_by_their_json(kind: Any, value: Any, written: Any) -> None:
    """A journal knows a payload by its text, which must be the same in another process."""
    sent = typed(dict[str, kind]).payload({"b": value, "a": value})

    assert [*sent] == ["b", "a"]
    assert sent["a"] == (written or [{"x": 1, "y": [1, 2]}, {"x": 2, "y": [3]}])


@dataclass
class Sending:
    """A model within another type."""

    to: Address | None = None
    all: list[Address] = field(default_factory=list)


@pytest.mark.parametrize(
    ("kind", "value", "says"),
    [
        (Sending, Sending(5), "Input should be a valid dictionary or instance of Address"),  # type: ignore[arg-type]
        (Sending, Sending({"zip-code": "1"}), "Expected `Address`, got `dict`"),  # type: ignore[arg-type]
        (Sending, Sending(all=[Sending()]), "Expected `Address`, got `Sending`"),  # type: ignore[list-item]
        (dict[str, Address], {"k": [1]}, "Expected `Address`, got `list`"),
        (
            dict[str, Number],
            {"k": Address.model_validate({"zip-code": "1"})},
            "Input should be a valid integer",
        ),
    ],
)
def test_only_a_model_stands_where_one_is_declared(kind: Any, value: Any, says: str) -> None:
    """What would be sent unchecked is refused, wherever the model stands."""
    with pytest.raises(PayloadError, match=re.escape(says)):
        typed(kind).payload(value)


@pytest.mark.parametrize(
    ("kind", "value", "written"),
    [
        (
            Sending,
            Sending(Address.model_validate({"zip-code": "1"})),
            {"zip-code": "1", "since": None},
        ),
        (set[Number], {Number(1)}, [1]),
        (set[Frozen], {Frozen(a=2), Frozen(a=1)}, [{"a": 1}, {"a": 2}]),
        (Holding[int], Holding(value=1), {"value": 1}),
    ],
)
def test_models_stand_in_other_types(kind: Any, value: Any, written: Any) -> None:
    """In classes, lists and sets, and generic ones too, which pydantic takes for each other."""
    sent = typed(dict[str, kind]).payload({"a": value})["a"]

    assert (sent["to"] if kind is Sending else sent) == written


def test_keys_that_are_the_same_in_json_are_refused() -> None:
    """One of the two values would be lost."""
    with pytest.raises(PayloadError, match=r"two keys that are the same text.* \(at \$\.a\)"):
        typed(dict[str, Any]).payload({"a": {1: "x", "1": "y"}})


@pytest.mark.parametrize("wrap", [None, "a"])
def test_model_that_was_assigned_something_else_is_not_sent(wrap: str | None) -> None:
    """Pydantic looks at no assignment, and only warns, with the value, when it is written."""
    person = Address.model_validate({"zip-code": "1"})
    person.since = "SECRET"  # type: ignore[assignment]
    spec = typed(dict[str, Address] if wrap else Address)
    with pytest.raises(PayloadError) as raised:
        spec.payload({wrap: person} if wrap else person)

    assert raised.value.path == ("$.a.since" if wrap else "$.since")
    assert "Expected `date`, got `str`" in str(raised.value)
    assert "SECRET" not in str(raised.value)


def test_default_that_is_no_value_of_its_field_is_refused() -> None:
    """Pydantic checks defaults no more than assignments."""

    class Sloppy(pydantic.BaseModel):
        name: str = 3  # type: ignore[assignment]

    with pytest.raises(PayloadError, match=r"got `int`; .* also as a default \(at \$\.name\)"):
        typed(Sloppy).payload(Sloppy())


@dataclass
class Holder:
    """Something in a model that holds a secret."""

    secret: pydantic.SecretStr


class Signed(pydantic.BaseModel):
    """Secrets, hidden and not."""

    token: pydantic.SecretStr = pydantic.Field(alias="Token")
    stars: str = "**********"
    more: dict[int, list[pydantic.SecretStr | Holder]] = pydantic.Field(default_factory=dict)

    @pydantic.field_serializer("token", when_used="json")
    def _reveal(self, token: pydantic.SecretStr) -> str:
        return token.get_secret_value()


def test_secret_that_would_go_out_as_asterisks_is_refused() -> None:
    """The workflow would be given a password that is none; a serializer says that it may go."""
    spec = typed(dict[str, Signed])
    fine = Signed.model_validate({"Token": "t"})
    assert spec.payload({"a": fine})["a"]["Token"] == "t"
    for secret, place in (("s", r"\[0\]"), ({"secret": "s"}, r"\[0\]\.secret")):
        wrong = Signed.model_validate({"Token": "t", "more": {"7": [secret]}})
        with pytest.raises(PayloadError, match=rf"sent as \*+; .* \(at \$\.a\.more\.7{place}\)"):
            spec.payload({"a": wrong})
