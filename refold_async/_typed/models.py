"""Pydantic models (v2), known by two methods of theirs: written and read by themselves."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from refold_async._typed.faults import MisfitError, guarded, told

if TYPE_CHECKING:
    from collections.abc import Iterator

_UNEXPECTED = re.compile(
    r"[^\n]*\n\s*PydanticSerializationUnexpectedValue[(:]\s?Expected `(?P<kind>[^`\n]+)`"
)

_HIDDEN = "**********"
"""What pydantic writes for a `SecretStr`."""


def is_model(kind: Any) -> bool:
    """Tell a pydantic model."""
    methods = ("model_validate", "model_dump")
    return isinstance(kind, type) and all(callable(getattr(kind, name, None)) for name in methods)


def read_model(kind: Any, value: Any) -> Any:
    """Read a model.

    Raises:
        MisfitError: the value does not fit.
    """
    return guarded(lambda: kind.model_validate(value))


def write_model(value: Any) -> Any:
    """Write a model as JSON values.

    Raises:
        MisfitError: a field was assigned what its annotation doesn't say, or would go out hidden.
    """
    try:
        written = _dump(value)
    except Exception as error:  # noqa: BLE001 - serializers of the user's may raise anything
        misfit = _misfit(value, error)
    else:
        place = _hidden(value, written, "$")
        if place is None:
            return written
        words = f"would be sent as {_HIDDEN}; declare it a str, or give it a field_serializer"
        misfit = MisfitError(words, place)
    raise misfit


def _dump(value: Any, *names: str) -> Any:
    """Write a model, or some of its fields; what pydantic would warn of is an error."""
    only = {"include": {*names}} if names else {}
    return value.model_dump(mode="json", by_alias=True, warnings="error", **only)


def _hidden(part: Any, said: Any, path: str) -> str | None:
    """Find a secret that was written as asterisks."""
    if said == _HIDDEN and hasattr(part, "get_secret_value"):
        return path
    below: Iterator[tuple[str, Any, Any]] = iter(())
    if is_model(type(part)) and "root" in vars(part):
        return _hidden(part.root, said, path)
    if isinstance(said, dict) and is_model(type(part)):
        keys = ((_key(part, name), each) for name, each in vars(part).items())
        below = ((f".{key}", each, said.get(key)) for key, each in keys)
    elif isinstance(said, dict) and isinstance(part, Mapping):
        below = ((f".{key}", part[key], each) for key, each in said.items() if key in part)
    elif isinstance(said, list) and isinstance(part, list | tuple | set | frozenset):
        below = ((f"[{at}]", *pair) for at, pair in enumerate(zip(part, said, strict=False)))
    places = (_hidden(each, written, path + step) for step, each, written in below)
    return next(filter(None, places), None)


def _misfit(model: Any, error: Exception, path: str = "$") -> MisfitError:
    """Say which field can't be written; pydantic's own words hold its value."""
    for name, part in vars(model).items():
        try:
            _dump(model, name)
        except Exception as own:  # noqa: BLE001 - as above
            below = f"{path}.{_key(model, name)}"
            for where, inner in _models(part, below):
                try:
                    _dump(inner)
                except Exception as deeper:  # noqa: BLE001 - as above
                    return _misfit(inner, deeper, where)
            return _told(own, below, part)
    return _told(error, path)


def _told(error: Exception, path: str, part: Any = ()) -> MisfitError:
    expected = _UNEXPECTED.match(str(error))
    if expected is None:
        return told(error).below(path)
    # Of a value that holds others, the fault may be in one of them.
    got = f", got `{type(part).__name__}`" if isinstance(part, str | int | float | bytes) else ""
    words = f"Expected `{expected['kind']}`{got}; give what its annotation says, also as a default"
    return MisfitError(words, path)


def _key(model: Any, name: str) -> str:
    field = getattr(type(model), "model_fields", {}).get(name)
    return str(getattr(field, "serialization_alias", None) or getattr(field, "alias", None) or name)


def _models(part: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Give the models next below a value of a field, and where they stand."""
    if is_model(type(part)):
        yield path, part
    elif isinstance(part, Mapping):
        for key, each in part.items():
            yield from _models(each, f"{path}.{key}")
    elif isinstance(part, list | tuple):
        for at, each in enumerate(part):
            yield from _models(each, f"{path}[{at}]")
