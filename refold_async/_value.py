"""What frozen values have in common.

attrs would write these methods anew for each class, and compile them whenever the SDK is imported:
they are two thirds of what it compiles then.
"""

from __future__ import annotations

from typing import Any, cast

import attrs


class Value:
    """Shown, compared and hashed by its fields, as attrs does it, for `eq=False, repr=False`."""

    __slots__ = ()

    def __repr__(self) -> str:
        shown = (
            f"{field.name}={_shown(field, getattr(self, field.name))}"
            for field in _fields(self)
            if field.repr
        )
        return f"{type(self).__qualname__}({', '.join(shown)})"

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(
            getattr(self, field.name) == getattr(other, field.name)
            for field in _fields(self)
            if field.eq
        )

    def __hash__(self) -> int:
        compared = (getattr(self, field.name) for field in _fields(self) if field.eq)
        return hash((type(self), *compared))


def _fields(value: Value) -> tuple[attrs.Attribute[Any], ...]:
    fields: tuple[attrs.Attribute[Any], ...] = attrs.fields(
        cast("type[attrs.AttrsInstance]", type(value))
    )
    return fields


def _shown(field: attrs.Attribute[Any], value: object) -> str:
    return field.repr(value) if callable(field.repr) else repr(value)
