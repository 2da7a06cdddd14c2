"""Pydantic models (v2), known by two methods of theirs: written and read by themselves."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from refold_async._typed.faults import MisfitError, guarded, told
from refold_async._typed.losses import moved, names_of

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
        MisfitError: a field was assigned what its annotation doesn't say, or would go out hidden,
            or as another moment.
    """
    try:
        written = _dump(value)
    except Exception as error:  # noqa: BLE001 - serializers of the user's may raise anything
        misfit = _misfit(value, error)
    else:
        loss = _loss(value, written, "$")
        if loss is None:
            return written
        misfit = loss
    raise misfit


def _dump(value: Any, *names: str) -> Any:
    """Write a model, or some of its fields; what pydantic would warn of is an error."""
    only = {"include": {*names}} if names else {}
    return value.model_dump(mode="json", by_alias=True, warnings="error", **only)


def _loss(part: Any, said: Any, path: str) -> MisfitError | None:
    """Find a secret that was written as asterisks, or a time as another."""
    if said == _HIDDEN and hasattr(part, "get_secret_value"):
        words = f"would be sent as {_HIDDEN}; declare it a str, or give it a field_serializer"
        return MisfitError(words, path)
    if another := moved(part, said):
        return another.below(path)
    if is_model(type(part)) and "root" in vars(part):
        return _loss(part.root, said, path)
    losses = (_loss(each, text, path + step) for step, each, text in _written_below(part, said))
    return next(filter(None, losses), None)


def _written_below(part: Any, said: Any) -> Iterator[tuple[str, Any, Any]]:
    """Give what stands next below a value, and how it was written."""
    if isinstance(said, list) and isinstance(part, list | tuple | set | frozenset):
        for at, pair in enumerate(zip(part, said, strict=False)):
            yield f"[{at}]", *pair
    if not isinstance(said, dict):
        return
    if is_model(type(part)):
        for name, each in vars(part).items():
            key = _key(part, name)
            yield f".{key}", each, said.get(key)
    elif isinstance(part, Mapping):
        # If a serializer of the user's has left some out, keys that are text find the others.
        for name, key in zip(part if len(part) == len(said) else said, said, strict=True):
            yield f".{key}", name, key
            yield f".{key}", part.get(name), said[key]
    else:
        for name in names_of(part):
            yield f".{name}", getattr(part, name, None), said.get(name)


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
