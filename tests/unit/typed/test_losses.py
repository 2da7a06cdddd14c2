"""What would go out otherwise than it stands in a value: refused, with its place and the remedy."""

from __future__ import annotations

import dataclasses
from datetime import UTC, date, datetime, time, timedelta, timezone
from typing import Any, ClassVar

import attrs
import msgspec
import pydantic
import pytest

from refold_async import PayloadError
from refold_async._typed import plain_payload
from tests.unit.typed.test_types import Private, typed

ODD = timezone(timedelta(hours=5, minutes=30, seconds=15))
LOCAL = datetime(1880, 1, 1, tzinfo=timezone(-timedelta(hours=4, minutes=56, seconds=2)))
"""As in New York, before there were time zones."""
MOMENT = "an offset with seconds, .* would be sent; (send .astimezone|give it an offset of whole)"


@dataclasses.dataclass
class Tagged:
    """A field that stays with the class, where the object has none of its own."""

    a: int
    kind: str = dataclasses.field(init=False, default="order")


@dataclasses.dataclass(slots=True)
class Slotted:
    """The same, of the object."""

    a: int
    kind: str = dataclasses.field(init=False, default="order")


@dataclasses.dataclass
class Assigned:
    """The same, assigned."""

    a: int
    kind: str = dataclasses.field(init=False, default="")
    shared: ClassVar[int] = 7

    def __post_init__(self) -> None:
        self.kind = "order"


@dataclasses.dataclass
class Made:
    """The same, made for each."""

    a: int
    kind: str = dataclasses.field(init=False, default_factory=lambda: "order")


@attrs.define
class Attrs:
    """The same, with attrs, and one that may be left out."""

    a: int
    kind: str = attrs.field(init=False, default="order")
    more: int | msgspec.UnsetType = msgspec.UNSET


@dataclasses.dataclass
class Base:
    """Something that another one may stand for."""

    a: int


@dataclasses.dataclass
class Derived(Base):
    """That one."""

    kind: str = dataclasses.field(init=False, default="order")


@pytest.mark.parametrize(
    ("kind", "value", "place"),
    [
        (Tagged, Tagged(1), "$.kind"),
        (dict[str, Any], {"a": [Tagged(1)]}, "$.a[0].kind"),
        (dict[str, Base], {"b": Derived(1)}, "$.b.kind"),
        (dict[str, Any], {"a": Private("x")}, "$.a._secret"),
    ],
)
def test_a_field_that_would_not_be_sent_is_refused(kind: Any, value: Any, place: str) -> None:
    """Wherever the object stands, and whatever its place was said to hold."""
    with pytest.raises(PayloadError, match=r"would not be sent: .*; (give it|rename)") as raised:
        typed(kind).payload(value)
    assert raised.value.path == place


def test_a_payload_alone_is_held_to_it_as_well() -> None:
    """Of `execute(payload=...)` nothing is lost either."""
    with pytest.raises(PayloadError, match=r"default_factory, or assign .* \(at \$\.kind\)"):
        plain_payload(Tagged(1))


@pytest.mark.parametrize("kind", [Slotted, Assigned, Made, Attrs])
def test_fields_that_are_not_given_are_sent_where_the_object_has_them(kind: Any) -> None:
    """They need no argument; what is of the class alone is no field."""
    assert typed(kind).payload(kind(1)) == {"a": 1, "kind": "order"}


class Model(pydantic.BaseModel):
    """A model with times, which it writes itself."""

    at: Any = None
    times: dict[datetime, Any] = pydantic.Field(default_factory=dict)


@dataclasses.dataclass
class Within:
    """Something in a model."""

    at: datetime


class Serializing(pydantic.BaseModel):
    """A model that knows better."""

    at: datetime

    @pydantic.field_serializer("at")
    def _write(self, at: datetime) -> str:
        return at.astimezone(UTC).isoformat()


@pytest.mark.parametrize(
    ("kind", "value", "place"),
    [
        (dict[str, datetime], {"at": LOCAL}, "$.at"),
        (dict[str, Any], {"at": [{LOCAL}]}, "$.at[0][0]"),
        (dict[str, time], {"at": time(1, tzinfo=ODD)}, "$.at"),
        (dict[datetime, int], {LOCAL: 1}, "$.1880-01-01T00:00:00-04:56"),
        (Model, Model(at=LOCAL), "$.at"),
        (Model, Model(at=time(1, tzinfo=ODD)), "$.at"),
        (Model, Model(at=[Within(LOCAL)]), "$.at[0].at"),
        (Model, Model(times={LOCAL: 1}), "$.times.1880-01-01T00:00:00-04:56"),
        (dict[str, Model], {"m": Model(at=LOCAL)}, "$.m.at"),
    ],
)
def test_a_time_whose_offset_has_seconds_is_refused(kind: Any, value: Any, place: str) -> None:
    """Its text has no place for them: the reader would be up to a minute off."""
    with pytest.raises(PayloadError, match=MOMENT) as raised:
        typed(kind).payload(value)
    assert raised.value.path == place


def test_times_that_are_the_same_when_read_are_sent() -> None:
    """With whole minutes, with none, and as a serializer of the user's writes them."""
    whole = datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    fine = {"a": whole, "b": datetime(2026, 1, 1), "c": time(1), "d": date(2026, 1, 1)}  # noqa: DTZ001
    assert typed(dict[str, Any]).payload(fine)["a"] == "2026-01-01T00:00:00+05:30"
    assert typed(Serializing).payload(Serializing(at=LOCAL)) == {"at": "1880-01-01T04:56:02+00:00"}
