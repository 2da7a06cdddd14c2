"""One type: checked when it is named, written as JSON values and read from them.

msgspec does it for attrs classes, dataclasses, TypedDict, `msgspec.Struct` and plain types, and is
imported when the first of them is named; pydantic models do it themselves. What msgspec would do
wrong in silence is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs

from refold_async._checks import plain
from refold_async._errors import ConfigError
from refold_async._typed.faults import MisfitError, guarded
from refold_async._typed.losses import PRIVATE, missing, moved
from refold_async._typed.models import is_model, read_model, write_model

if TYPE_CHECKING:
    from collections.abc import Iterator

_NAMED = 80
_SCALARS = frozenset({str, int, float, bool})


def name_of(kind: Any) -> str:
    """Name a type as its user writes it."""
    if isinstance(kind, type) and not hasattr(kind, "__args__"):
        return kind.__name__
    return re.sub(r"\b[A-Za-z_][\w.]*\.", "", str(kind))[:_NAMED]


# -- when it is named ----------------------------------------------------------------------------


def check_type(kind: Any, field: str) -> None:
    """Refuse a type that could not be read, or not be sent as it is.

    Args:
        kind: the type.
        field: the argument it was given as: `input` must be a JSON object.

    Raises:
        ConfigError: it can't be used; says why, and what can.
    """
    if is_model(kind):
        return
    msgspec = _msgspec(field)
    try:
        msgspec.json.Decoder(kind, dec_hook=read_model)
        whole = msgspec.inspect.type_info(kind)
    except Exception as error:  # noqa: BLE001 - a type may fail in whatever way
        raise ConfigError(
            f"{name_of(kind)} can't be read from JSON: {error}. Names in its annotations must be"
            " importable where it is defined, and not under TYPE_CHECKING alone",
            field=field,
        ) from None
    for part in _parts(msgspec, whole):
        _check_part(msgspec, part, field)
    if field != "output" and not _is_object(msgspec, whole):
        raise ConfigError(
            f"{name_of(kind)} is no JSON object, as a workflow takes it: give a class, a TypedDict"
            ' or dict[str, ...], as in {"items": [...]}',
            field=field,
        )


def _msgspec(field: str) -> Any:
    try:
        import msgspec  # noqa: PLC0415 - only who names types pays for it
        import msgspec.inspect  # noqa: PLC0415
    except ModuleNotFoundError:
        raise ConfigError(
            "types need msgspec: pip install 'refold-async[typed]'",
            field=field,
        ) from None
    return msgspec


def _parts(msgspec: Any, whole: Any) -> Iterator[Any]:
    """Give a type and all types in it, each once."""
    seen: set[int] = set()
    found = [whole]
    while found:
        part = found.pop()
        if isinstance(part, msgspec.inspect.Field):
            part = part.type
        if not isinstance(part, msgspec.inspect.Type) or id(part) in seen:
            continue
        seen.add(id(part))
        yield part
        for value in (getattr(part, name) for name in part.__struct_fields__):
            found.extend(value if isinstance(value, tuple) else (value,))


def _check_part(msgspec: Any, part: Any, field: str) -> None:
    """Refuse what msgspec takes in silence and gets wrong."""
    kind = getattr(part, "cls", None)
    if isinstance(part, msgspec.inspect.CustomType):
        if not is_model(kind):
            raise ConfigError(
                f"{name_of(kind)} is no type that can be told as JSON; use an attrs class, a"
                " dataclass, a TypedDict, a msgspec.Struct, a pydantic model, or Any",
                field=field,
            )
    elif isinstance(kind, type) and attrs.has(kind):
        for each in attrs.fields(kind):
            if each.name.startswith("_"):
                raise ConfigError(f"{name_of(kind)}.{each.name} {PRIVATE}", field=field)
            if each.alias != each.name:
                raise ConfigError(
                    f"{name_of(kind)}.{each.name} has the alias {each.alias!r}, which is not sent:"
                    " in attrs it names an argument; rename keys with msgspec.Struct or pydantic",
                    field=field,
                )


def _is_object(msgspec: Any, whole: Any) -> bool:
    of = msgspec.inspect
    if isinstance(whole, of.Metadata):
        return _is_object(msgspec, whole.type)
    if isinstance(whole, of.UnionType):
        return all(_is_object(msgspec, each) for each in whole.types)
    if isinstance(whole, of.StructType):
        return not whole.array_like
    objects = of.DataclassType | of.TypedDictType | of.DictType | of.NoneType | of.AnyType
    return isinstance(whole, objects | of.CustomType)


# -- out and in ----------------------------------------------------------------------------------


def to_json(value: Any, kind: Any) -> Any:
    """Write a value as JSON values, and hold it to its type.

    Raises:
        MisfitError: it does not fit, or holds what JSON can't say.
    """
    if is_model(kind):
        return guarded(lambda: write_model(kind.model_validate(value)))
    msgspec = _msgspec("payload")
    wrong: list[tuple[Any, MisfitError]] = []  # told when it is known where it stands

    def other(part: Any) -> Any:
        if isinstance(part, str):
            return plain(part)
        if isinstance(part, Mapping):
            return dict(part)
        if isinstance(part, list):
            return [*part]
        if not is_model(type(part)):
            words = f"is a {type(part).__name__}, which JSON can't say; send plain values"
            wrong.append((part, MisfitError(words)))
            return None
        try:
            return write_model(part)
        except MisfitError as misfit:
            wrong.append((part, misfit))
            return None

    written = guarded(lambda: msgspec.to_builtins(value, str_keys=True, enc_hook=other))
    was = guarded(lambda: _tidied(value, written, wrong))

    def model(kind: Any, said: Any) -> Any:
        part = was.get(id(said), said)
        if isinstance(said, dict | list | tuple) and not is_model(type(part)):
            raise MisfitError(f"Expected `{name_of(kind)}`, got `{type(part).__name__}`")
        # Not read again from what was written: a model may be written otherwise than it is read.
        return read_model(kind, part)

    try:
        guarded(lambda: msgspec.convert(written, kind, str_keys=True, dec_hook=model))
    except MisfitError as misfit:
        words = f"{misfit.words}; give what its annotation says, or mend the annotation"
        raise MisfitError(words, misfit.path) from None
    return written


def from_json(value: Any, kind: Any) -> Any:
    """Read JSON values as a type.

    Raises:
        MisfitError: they do not fit.
    """
    if is_model(kind):
        return read_model(kind, value)
    return guarded(
        lambda: _msgspec("output").convert(value, kind, str_keys=True, dec_hook=read_model)
    )


def _tidied(value: Any, written: Any, wrong: list[tuple[Any, MisfitError]]) -> dict[int, Any]:
    """Sort what was a set: a journal knows a payload by its text, and a set has no order.

    Returns:
        What each object and list was before it was written, by its id.

    Raises:
        MisfitError: the first thing that is wrong, with its place.
    """
    was = {}
    for path, part, said in _pairs(value, written, "$"):
        if wrong and part is wrong[0][0]:
            raise wrong[0][1].below(path)
        if loss := moved(part, said) or missing(part, said):
            raise loss.below(path)
        if isinstance(said, dict | list | tuple):
            was[id(said)] = part
        if isinstance(said, list) and isinstance(part, set | frozenset):
            said.sort(key=_text)
    if wrong:
        raise wrong[0][1]
    return was


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def _pairs(part: Any, said: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    """Give what stands in a value, how it was written, and where; the innermost first."""
    if not is_model(type(part)):  # they write themselves, whole
        for where, below, written in _below(part, said, path):
            if type(below) not in _SCALARS:
                yield from _pairs(below, written, where)
    yield path, part, said


def _below(part: Any, said: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    names = getattr(type(part), "__struct_fields__", ())
    if isinstance(said, list | tuple):
        struct = [getattr(part, name) for name in names]
        given = part if isinstance(part, list | tuple | set | frozenset) else struct
        first = len(said) - len(given)  # a tag of the struct comes before its fields
        for at, below in enumerate(given):
            yield f"{path}[{at}]", below, said[first + at]
    elif isinstance(said, dict) and isinstance(part, Mapping):
        if len(said) < len(part):
            words = "has two keys that are the same text in JSON; one would be lost"
            raise MisfitError(words, path)
        for (name, below), (key, written) in zip(part.items(), said.items(), strict=True):
            yield f"{path}.{key}", name, key
            yield f"{path}.{key}", below, written
    elif isinstance(said, dict):
        fields = dict(zip(getattr(part, "__struct_encode_fields__", ()), names, strict=True))
        for key, written in said.items():
            yield f"{path}.{key}", getattr(part, str(fields.get(key, key)), None), written
