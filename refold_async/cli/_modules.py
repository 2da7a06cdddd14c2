"""A module of types from what a workflow expects: text from a JSON Schema, the same each time."""

from __future__ import annotations

import keyword
import re
from typing import TYPE_CHECKING, Any

from refold_async.cli._endings import BadUsageError
from refold_async.cli._schemas import check_style, without_conditions
from refold_async.cli._terminal import clean

if TYPE_CHECKING:
    from refold_async import RequestStructure

STYLES = {
    "typeddict": "typing.TypedDict",
    "msgspec": "msgspec.Struct",
    "pydantic": "pydantic_v2.BaseModel",
}

_SCHEMAS = {"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"}
"""Keywords whose value is a mapping of names to schemas."""
_SAYING = ("properties", "allOf", "anyOf", "oneOf", "$ref")
"""Keywords by which a schema says what keys there are."""
_VALUES = {"default", "const", "enum", "example", "examples"}
"""Keywords whose value is no schema."""

_HEADER = '''\
"""What the workflow {workflow_id} takes{how}.

Written by `refold types`, style {style}: write it anew rather than edit it.
"""
'''

_FOOTER = """

# The structure does not say what a run returns: `output=` takes its type.
{name} = workflow({workflow_id!r}, slug={slug!r}, input={payload})
"""

# A key that was not given is not null: the service would be told to empty a field.
_SENT = '''

class _Sent(pydantic.BaseModel):
    """A model of which only what was given is sent."""

    @pydantic.model_serializer(mode="wrap")
    def _sent(self, write: pydantic.SerializerFunctionWrapHandler) -> dict[str, object]:
        missing = {
            field.serialization_alias or name
            for name, field in type(self).model_fields.items()
            if name not in self.model_fields_set and field.default is None
        }
        return {key: value for key, value in write(self).items() if key not in missing}
'''


def module_of(
    structure: RequestStructure, *, workflow_id: str, slug: str, style: str, name: str | None
) -> str:
    """Write the module.

    Args:
        structure: what the workflow expects.
        workflow_id: its id or alias.
        slug: the application it belongs to.
        style: one of `STYLES`.
        name: what the workflow is called in it; without one a name is made of the id.

    Raises:
        BadUsageError: the extra is missing, the name can't be one, or the style can't say it.
    """
    name = _name(workflow_id) if name is None else name
    if not name.isidentifier() or keyword.iskeyword(name) or name == "workflow":
        raise BadUsageError(f"--name is a name in Python, and not `workflow`; got {name!r}")
    schema = structure.schema
    how = "" if schema else ": guessed from its example, so what may be left out is not known"
    if schema is None and structure.payload is not None:
        schema = schema_of(structure.payload)
    if schema is None:
        how = ": its request structure does not say"
    header = _HEADER.format(workflow_id=workflow_id, style=style, how=how)
    types, payload = _types(schema, style) if _is_object(schema) else (_ANYTHING, "dict[str, Any]")
    footer = _FOOTER.format(name=name, workflow_id=workflow_id, slug=slug, payload=payload)
    # What a terminal would obey stands in a literal, and reads there as its escape.
    return clean(f"{header}\n{_importing(types)}{footer}", lines=True)


_ANYTHING = "from __future__ import annotations\n\nfrom typing import Any\n"


def _is_object(schema: Any) -> bool:
    """Tell a schema that names keys; of any other no class can be made."""
    return isinstance(schema, dict) and any(schema.get(key) for key in _SAYING)


def _name(workflow_id: str) -> str:
    words = re.sub(r"\W+", "_", workflow_id, flags=re.ASCII).strip("_").lower()
    usable = words[:1].isalpha() and words != "workflow" and not keyword.iskeyword(words)
    return words if usable else f"workflow_{words}"


def _types(schema: Any, style: str) -> tuple[str, str]:
    """Write the classes, and say what the payload's is called."""
    try:
        import datamodel_code_generator as generator  # noqa: PLC0415 - it takes a second
        from datamodel_code_generator.enums import DataModelType  # noqa: PLC0415
    except ModuleNotFoundError:
        raise BadUsageError("this command needs: pip install 'refold-async[cli,types]'") from None
    plain = _without_formats(schema)
    if style != "pydantic":
        plain = without_conditions(plain)
    check_style(plain, style)
    written = generator.generate(
        {**plain, "title": "Payload"},
        input_file_type=generator.InputFileType.JsonSchema,
        output_model_type=DataModelType(STYLES[style]),
        target_python_version=generator.PythonVersion.PY_311,
        class_name="Payload",
        aliases=_renamed(schema) if style == "pydantic" else None,
        formatters=[generator.Formatter.BUILTIN],
        disable_timestamp=True,
        custom_file_header="#",
        enum_field_as_literal=generator.LiteralType.All,
        use_annotated=True,
        use_serialization_alias=True,
        use_standard_collections=True,
        use_union_operator=True,
    )
    text = str(written).removeprefix("#").strip() + "\n"
    if style == "pydantic":
        text = _sending_what_is_set(text)
    return text, "Payload"


def _renamed(schema: Any) -> dict[str, str]:
    """Find other names for keys that are names of a model's own."""
    from pydantic import BaseModel  # noqa: PLC0415 - the generator stands on it

    return {
        key: f"field_{key}"
        for key in _keys(schema)
        if hasattr(BaseModel, key) or key.startswith(("model_dump", "model_validate"))
    }


def _keys(schema: Any) -> set[str]:
    """Give the keys of all objects in a schema, and some words more."""
    if isinstance(schema, dict):
        return {*schema}.union(*(_keys(each) for each in schema.values()))
    return set().union(*(_keys(each) for each in schema)) if isinstance(schema, list) else set()


def _sending_what_is_set(text: str) -> str:
    """Put a base class before the first class, and under all of them."""
    head, first, rest = text.partition("\n\nclass ")
    head = head.replace("from pydantic import", "import pydantic\nfrom pydantic import", 1)
    return head + _SENT + first + rest.replace("(BaseModel):", "(_Sent):")


def _importing(text: str) -> str:
    """Add the import of what makes the workflow."""
    lines = text.splitlines()
    last = max(at for at, line in enumerate(lines) if line.startswith(("from ", "import ")))
    lines.insert(last + 1, "\nfrom refold_async import workflow")
    return "\n".join(lines).rstrip() + "\n"


def _without_formats(schema: Any) -> Any:
    """Leave text as text: what a format means is the service's to say."""
    if isinstance(schema, list):
        return [_without_formats(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {}
    for key, value in schema.items():
        if key == "$ref" and not str(value).startswith("#"):
            return {}  # elsewhere: nothing is fetched from there
        if key in _SCHEMAS and isinstance(value, dict):
            kept[key] = {name: _without_formats(each) for name, each in value.items()}
        elif key in _VALUES:
            kept[key] = value
        elif key != "format":
            kept[key] = _without_formats(value)
    return kept


def schema_of(example: Any) -> dict[str, Any]:
    """Guess the schema of an example; null may stand for anything."""
    if isinstance(example, dict):
        properties = {str(key): schema_of(value) for key, value in example.items()}
        return {"type": "object", "properties": properties, "required": sorted(properties)}
    if isinstance(example, list):
        items = [schema_of(each) for each in example]
        return {"type": "array", "items": _merged(items)}
    for kind, name in ((bool, "boolean"), (int, "integer"), (float, "number"), (str, "string")):
        if isinstance(example, kind):
            return {"type": name}
    return {}


def _merged(schemas: list[dict[str, Any]]) -> dict[str, Any]:
    """Give one schema for all; objects are merged by their keys."""
    objects = [each for each in schemas if each.get("type") == "object"]
    others = [each for each in schemas if each.get("type") != "object"]
    kinds: list[dict[str, Any]] = []
    if objects:
        names = sorted({name for each in objects for name in each["properties"]})
        found = {n: [o["properties"][n] for o in objects if n in o["properties"]] for n in names}
        kinds.append(
            {
                "type": "object",
                "properties": {name: _merged(each) for name, each in found.items()},
                "required": [n for n in names if all(n in o["required"] for o in objects)],
            }
        )
    kinds += [each for at, each in enumerate(others) if each not in others[:at]]
    if len(kinds) == 1:
        return kinds[0]
    return {"anyOf": kinds} if kinds and {} not in kinds else {}
