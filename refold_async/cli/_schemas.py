"""What a schema says that a style of types can't: found before a module is written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from refold_async.cli._endings import BadUsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

_CHOICES = ("anyOf", "oneOf")
_OBJECT = ("properties", "additionalProperties", "patternProperties", "required")
_DEEPEST = 20
"""Choices within choices that are followed."""


def check_style(schema: dict[str, Any], style: str) -> None:
    """Refuse what would be a module that fails when it is imported.

    Raises:
        BadUsageError: naming where it is, and the style that can say it.
    """
    if style == "pydantic":
        return
    for where, each in _schemas(schema, "$"):
        odd = [key for key in _keys(each) if style == "msgspec" and _is_odd(key)]
        if odd:
            raise BadUsageError(
                f"the key {odd[0]!r} at {where} can't be a field of the style msgspec (it has a"
                " quote, a backslash or a control character): take --style typeddict or pydantic"
            )
        objects, arrays = _kinds(each, schema)
        tagged = style == "msgspec" and _are_tagged(objects)
        if len(arrays) > 1 or (len(objects) > 1 and not tagged):
            what = "objects" if len(objects) > 1 else "arrays"
            raise BadUsageError(
                f"what may be one of several {what} ({where}) can't be told apart by the style"
                f" {style}: take --style pydantic"
            )


def without_conditions(schema: Any) -> Any:
    """Leave out choices that say nothing but which keys are required: types can't say that."""
    if isinstance(schema, list):
        return [without_conditions(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: without_conditions(value)
        for key, value in schema.items()
        if not (key in _CHOICES and isinstance(value, list) and all(map(_is_condition, value)))
    }


def _is_condition(choice: Any) -> bool:
    return isinstance(choice, dict) and {*choice} <= {"required", "title", "description"}


def _is_odd(key: str) -> bool:
    return any(letter in '"\\' or letter < " " for letter in key)


def _keys(schema: dict[str, Any]) -> list[str]:
    properties = schema.get("properties")
    return [*properties] if isinstance(properties, dict) else []


def _schemas(schema: Any, where: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Give all mappings in a schema, each with its place."""
    if isinstance(schema, dict):
        yield where, schema
        for key, value in schema.items():
            yield from _schemas(value, f"{where}.{key}")
    elif isinstance(schema, list):
        for index, value in enumerate(schema):
            yield from _schemas(value, f"{where}[{index}]")


def _kinds(schema: dict[str, Any], root: Any) -> tuple[list[Any], list[Any]]:
    """Give the different objects and arrays that a choice offers."""
    objects: list[Any] = []
    arrays: list[Any] = []
    for name in _CHOICES:
        for choice in _offered(schema.get(name), root, _DEEPEST):
            kind = choice.get("type")
            kinds = kind if isinstance(kind, list) else [kind]
            is_object = "object" in kinds or any(key in choice for key in _OBJECT)
            if (is_object or "allOf" in choice) and choice not in objects:
                objects.append(choice)
            if ("array" in kinds or "items" in choice) and choice not in arrays:
                arrays.append(choice)
    return objects, arrays


def _offered(choices: Any, root: Any, depth: int) -> Iterator[dict[str, Any]]:
    """Give what choices come to: references followed, choices within them laid flat."""
    for choice in choices if isinstance(choices, list) else []:
        found = _resolved(choice, root)
        inner = [found[name] for name in _CHOICES if isinstance(found.get(name), list)]
        if inner and depth:
            for each in inner:
                yield from _offered(each, root, depth - 1)
        elif found:
            yield found


def _resolved(schema: Any, root: Any) -> dict[str, Any]:
    """Follow references within the document; what leads nowhere is nothing."""
    for _ in range(_DEEPEST):
        if not isinstance(schema, dict):
            return {}
        reference = schema.get("$ref")
        if not isinstance(reference, str):
            return schema
        schema = root
        for part in reference.removeprefix("#").strip("/").split("/"):
            name = part.replace("~1", "/").replace("~0", "~")
            schema = schema.get(name) if isinstance(schema, dict) else None
    return {}


def _are_tagged(objects: list[Any]) -> bool:
    """Whether each has a key of its own value, the same key in all."""
    values = [_fixed(each) for each in objects]
    shared = set.intersection(*(set(each) for each in values)) if values else set()
    return any(len({repr(each[key]) for each in values}) == len(values) for key in shared)


def _fixed(schema: dict[str, Any]) -> dict[str, Any]:
    """Give the keys that can have one value only, and have to be there."""
    required, properties = schema.get("required"), schema.get("properties")
    if not isinstance(required, list) or not isinstance(properties, dict):
        return {}
    return {
        key: value["const"]
        for key, value in properties.items()
        if key in required and isinstance(value, dict) and "const" in value
    }
