"""One type: checked when it is named, written as JSON values and read from them.

msgspec does it for attrs classes, dataclasses, TypedDict, `msgspec.Struct` and plain types, and is
imported when the first of them is named; pydantic models do it themselves, and are known by two
methods of theirs. What msgspec would do wrong in silence is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs

from refold_async._checks import plain
from refold_async._errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

_AT = re.compile(
    r"(?P<words>.*?)(?: - in `(?P<below>[^`]*)`)?(?: - at `\$?(?P<above>[^`]*)`)?", re.DOTALL
)
_NAMED = 80


class MisfitError(Exception):
    """A value that does not fit its type.

    Attributes:
        words: what is wrong.
        path: where, as `$.items[0].price`.
    """

    def __init__(self, words: str, path: str = "$") -> None:
        super().__init__(words, path)
        self.words = words
        self.path = path


def name_of(kind: Any) -> str:
    """Name a type as its user writes it."""
    if isinstance(kind, type) and not hasattr(kind, "__args__"):
        return kind.__name__
    return re.sub(r"\b[A-Za-z_][\w.]*\.", "", str(kind))[:_NAMED]


def is_model(kind: Any) -> bool:
    """Tell a pydantic model (v2)."""
    methods = ("model_validate", "model_dump")
    return isinstance(kind, type) and all(callable(getattr(kind, name, None)) for name in methods)


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
        msgspec.json.Decoder(kind, dec_hook=_read_model)
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
                raise ConfigError(
                    f"{name_of(kind)}.{each.name} would not be sent: an attrs field that begins"
                    " with _ is private; rename keys with msgspec.Struct or pydantic",
                    field=field,
                )
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
        return _guarded(lambda: _write_model(kind.model_validate(value)))
    msgspec = _msgspec("payload")
    odd: list[Any] = []  # what JSON can't say; a text stands in its place until it is found again

    def other(part: Any) -> Any:
        if is_model(type(part)):
            return _write_model(part)
        if isinstance(part, str):
            return plain(part)
        if isinstance(part, Mapping):
            return dict(part)
        if isinstance(part, list):
            return [*part]
        odd.append(part)
        return f"\0{id(odd)}"

    written = _guarded(lambda: msgspec.to_builtins(value, str_keys=True, enc_hook=other))
    if odd:
        words = f"is a {type(odd[0]).__name__}, which JSON can't say; send plain values"
        raise MisfitError(words, _guarded(lambda: _place(written, f"\0{id(odd)}")))
    try:
        from_json(written, kind)
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
        return _guarded(lambda: _read_model(kind, value))
    return _guarded(
        lambda: _msgspec("output").convert(value, kind, str_keys=True, dec_hook=_read_model)
    )


def _write_model(value: Any) -> Any:
    return value.model_dump(mode="json", by_alias=True)


def _read_model(kind: Any, value: Any) -> Any:
    """Read a pydantic model; msgspec adds to what is raised where in the whole it stands."""
    return _pydantic(lambda: kind.model_validate(value))


def _pydantic(work: Any) -> Any:
    try:
        return work()
    except ValueError as error:
        told = getattr(error, "errors", None)
        if told is None:
            raise
        # Without the values, which may be nobody else's business.
        first = told(include_url=False, include_context=False, include_input=False)[0]
        raise ValueError(f"{first['msg']} - in `{_steps(first['loc'])}`") from None


def _guarded(work: Any) -> Any:
    """Do what calls the user's own code, whatever that raises."""
    try:
        return _pydantic(work)
    except RecursionError:
        raise MisfitError("is nested too deep, or contains itself; send it flatter") from None
    except Exception as error:  # noqa: BLE001 - validators of the user's may raise anything
        found = _AT.fullmatch(str(error) or type(error).__name__)
        assert found is not None  # noqa: S101 - it matches every text
        path = f"${found['above'] or ''}{found['below'] or ''}"
        raise MisfitError(found["words"], path) from None


def _steps(where: tuple[Any, ...]) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in where)


def _place(value: Any, mark: str, path: str = "$") -> str:
    """Find where a text stands; "" if it does not."""
    if value == mark:
        return path
    if isinstance(value, dict):
        steps = ((f".{key}", each) for key, each in value.items())
    elif isinstance(value, list | tuple):
        steps = ((f"[{at}]", each) for at, each in enumerate(value))
    else:
        return ""
    return next(filter(None, (_place(each, mark, path + step) for step, each in steps)), "")
