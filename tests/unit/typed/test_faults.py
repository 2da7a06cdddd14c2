"""What did not fit, in words that hold no value."""

from __future__ import annotations

import re
import traceback
from typing import Annotated, Any, Literal
from uuid import UUID  # noqa: TC003 - pydantic looks it up

import attrs
import msgspec
import pydantic
import pydantic_core
import pytest

from refold_async import OutputError, PayloadError
from tests.unit.typed.test_types import Address, Stage, result, typed

LEAKING: Any = attrs.make_class(
    "Leaking", {"a": attrs.field(type=str, validator=attrs.validators.in_(["x"]))}
)


@attrs.frozen
class Checked:
    """A validator that quotes what it refuses."""

    a: str = attrs.field()

    @a.validator
    def _one(self, _: Any, value: str) -> None:
        raise ValueError(f"{value} - at `$.{value}`")


class Tagged(msgspec.Struct, tag="t"):
    """One of several."""

    n: int = 0


class Other(msgspec.Struct, tag="o"):
    """The other."""


class Cat(pydantic.BaseModel):
    """A model of several."""

    kind: Literal["cat"]


class Dog(pydantic.BaseModel):
    """The other."""

    kind: Literal["dog"]


class Quoting(pydantic.BaseModel):
    """Fields whose refusals quote what was refused."""

    pet: Annotated[Cat | Dog, pydantic.Field(discriminator="kind")] | None = None
    checked: str = ""
    custom: str = ""
    token: UUID | None = None

    @pydantic.field_validator("checked", "custom")
    @classmethod
    def _refuse(cls, value: str, field: pydantic.ValidationInfo) -> str:
        if field.field_name == "custom":
            raise pydantic_core.PydanticCustomError("value_error", "it is {v}", {"v": value})
        raise ValueError(f"it is {value}")


@pytest.mark.parametrize(
    ("kind", "value", "says"),
    [
        (dict[str, Stage], {"a": "SECRET"}, r"Invalid enum value \(a `str`\).* \(at \$\[...\]\)"),
        (dict[str, Literal[1]], {"a": 5309}, r"Invalid enum value \(a `int`\).* \(at \$\[...\]\)"),
        (dict[Stage, int], {"SECRET": 1}, r"Invalid enum value \(a `str`\).* \(at \$\[key\]\)"),
        (Tagged | Other, {"type": "SECRET"}, r"Invalid value \(a `str`\).* \(at \$\.type\)"),
        (
            dict[str, LEAKING],
            {"a": {"a": "SECRET"}},
            r"its validator raised ValueError.*\[...\]\.a",
        ),
        (Checked, {"a": "SECRET"}, r"Checked\._one raised ValueError.* \(at \$\)"),
        (Address, {"zip-code": {"iban": "SECRET"}}, r"valid string \(at \$\.zip-code\)"),
        (Quoting, {"pet": {"kind": "SECRET"}}, r"refused \(union_tag_invalid\) \(at \$\.pet\)"),
        (Quoting, {"checked": "SECRET"}, r"validator raised ValueError \(at \$\.checked\)"),
        (Quoting, {"custom": "SECRET"}, r"refused \(value_error\) \(at \$\.custom\)"),
        (Quoting, {"token": "SECRET"}, r"refused \(uuid_parsing\) \(at \$\.token\)"),
        (dict[str, Quoting], {"a": {"checked": "SECRET"}}, None),
    ],
)
def test_errors_hold_no_values(kind: Any, value: Any, says: str | None) -> None:
    """What stands in a payload or an output is its owner's; kind and place are told."""
    spec = typed(kind)
    with pytest.raises(OutputError) as output:
        spec.read(result(value))
    with pytest.raises(PayloadError) as payload:
        spec.payload(value)

    for raised in (output.value, payload.value):
        told = "".join(traceback.format_exception(raised)) + repr(raised)
        assert "SECRET" not in told.replace('"SECRET"', "")
        assert "5309" not in told
        behind: BaseException | None = raised
        while behind is not None:  # also what is not printed: a logger may look there
            assert "SECRET" not in repr(behind)
            behind = behind.__context__
    if says is not None:
        assert re.search(says, str(output.value))
        assert re.search(says, str(payload.value))
