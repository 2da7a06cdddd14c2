"""Templates of subscribers, filled in: in one of the ways in which a service might do it."""

import html
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

_PLACE = re.compile(r"{{\s*([\w.]+)\s*}}")
_CUT_AT = 50
"""Characters of an output, where they are truncated."""
_LARGE = 2**1000
"""No double is much larger."""


def filled(template: str, event: Mapping[str, Any], output: Any, form: str = "json") -> str:
    """Fill in a template.

    Args:
        template: The text, with places as `{{event}}` and `{{workflow_response.id}}`.
        event: What happened.
        output: The Response node's data.
        form: How the output is written, as the switch of `Behaviour` has it.
    """
    values = {"event": event, "workflow_response": output}

    def fill(place: re.Match[str]) -> str:
        value: Any = values
        for name in place[1].split("."):
            value = value.get(name) if isinstance(value, Mapping) else None
        if place[1].startswith("workflow_response"):
            return _FORMS[form](value)
        return _plain(value)

    return _PLACE.sub(fill, template)


def _plain(value: Any) -> str:
    """JSON; a text alone is pasted as it is."""
    return value if isinstance(value, str) else json.dumps(value)


def _pasted(value: Any) -> str:
    """JSON in whose texts nothing is escaped."""
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, Mapping):
        return "{" + ", ".join(f'"{key}": {_pasted(each)}' for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_pasted, value)) + "]"
    return json.dumps(value)


def _mapped(value: Any, change: Callable[[Any], Any]) -> Any:
    """The same value, with each of its leaves changed."""
    if isinstance(value, Mapping):
        return {key: _mapped(each, change) for key, each in value.items()}
    if isinstance(value, list):
        return [_mapped(each, change) for each in value]
    return change(value)


def _doubled(value: Any) -> str:
    """JSON in which the first member of the whole is written twice."""
    text = json.dumps(value)
    if not isinstance(value, Mapping) or not value:
        return text
    name, first = next(iter(value.items()))
    return "{" + f"{json.dumps(name)}: {json.dumps(first)}, " + text[1:]


def _as_double(value: Any) -> Any:
    return int(float(value)) if type(value) is int and abs(value) < _LARGE else value


_FORMS: dict[str, Callable[[Any], str]] = {
    "json": _plain,
    "stringified": lambda value: json.dumps(json.dumps(value)),
    "unescaped": _pasted,
    "html": lambda value: html.escape(json.dumps(value)),
    "truncated": lambda value: json.dumps(value)[:_CUT_AT],
    "absent": lambda _: "",
    "null_as_empty": lambda value: json.dumps(_mapped(value, lambda v: "" if v is None else v)),
    "doubles": lambda value: json.dumps(_mapped(value, _as_double)),
    "twice": _doubled,
}
