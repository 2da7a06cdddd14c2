"""`refold types`: a module of types from what a workflow expects."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from refold_async import ExecutionRequest, RequestStructure, TypedWorkflow
from refold_async.cli._endings import BadUsageError
from refold_async.cli._modules import STYLES, module_of, schema_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path
    from types import ModuleType

    from refold_async import RefoldClient
    from refold_async.emulator import Emulator
    from tests.cli.conftest import Ended

    Refold = Callable[..., Awaitable[Ended]]

TEXT = {"type": "string"}
NASTY = [
    "first-name",
    "class",
    "_id",
    "__v",
    "1st",
    "a.b",
    "zip code",
    "model_config",
    "model_dump",
    "model_dump_all",
    "copy",
    "self",
    "None",
    "str",
    "list",
    "Any",
    "field",
    "schema",
    "json",
    "format",
    "naïve",
    "workflow",
]
"""Keys that are no names in Python, or names of something else."""
SCHEMA = {
    "type": "object",
    "required": ["email", "first-name", "address"],
    "properties": {
        **dict.fromkeys(NASTY, TEXT),
        "email": {"type": "string", "format": "email"},
        "when": {"type": "string", "format": "date-time"},
        "stage": {"enum": ["lead", "customer"]},
        "amount": {"type": "number"},
        "tags": {"type": "array", "items": TEXT},
        "maybe": {"type": ["string", "null"]},
        "address": {"type": "object", "required": ["zip code"], "properties": {"zip code": TEXT}},
        "other": {"$ref": "http://localhost:1/schema.json"},
    },
}
STRUCTURE = RequestStructure(schema=SCHEMA)
EACH = pytest.mark.parametrize("style", [*STYLES])


def written(style: str, structure: RequestStructure = STRUCTURE, **options: Any) -> str:
    """Write the module of a structure."""
    arguments: dict[str, Any] = {"workflow_id": "create-contact", "slug": "crm", "name": None}
    return module_of(structure, style=style, **(arguments | options))


def loaded(text: str, path: Path, name: str = "written") -> ModuleType:
    """Import a module from its text."""
    file = path / f"{name}.py"
    file.write_text(text, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


LEAST = {
    "typeddict": "Payload({'email': 'e', 'first-name': 'f', 'address': {'zip code': 'z'}})",
    "msgspec": "Payload(email='e', first_name='f', address=Address(zip_code='z'))",
    "pydantic": "Payload(email='e', first_name='f', address=Address(zip_code='z'))",
}


@EACH
def test_keys_that_go_out_are_exactly_the_service_s(style: str, tmp_path: Path) -> None:
    """Whatever a key is called in Python; one that was not given is not sent, and not null."""
    module = loaded(written(style), tmp_path)
    spec: Any = module.create_contact
    least = eval(LEAST[style], vars(module))  # noqa: S307 - our own
    whole = dict.fromkeys(NASTY, "x") | {
        "email": "e",
        "when": "2026-01-01T00:00:00Z",
        "stage": "lead",
        "amount": 1.5,
        "tags": ["t"],
        "maybe": None,
        "address": {"zip code": "z"},
    }

    assert isinstance(spec, TypedWorkflow)
    assert (spec.workflow_id, spec.slug) == ("create-contact", "crm")
    assert spec.payload(least) == {"email": "e", "first-name": "f", "address": {"zip code": "z"}}
    if style != "pydantic":  # which is read by the names in Python
        assert spec.payload(whole) == whole


def test_null_is_sent_where_it_was_given(tmp_path: Path) -> None:
    """To say nothing of a field and to empty it are two things."""
    module = loaded(written("pydantic"), tmp_path)
    address = module.Address(zip_code="z")
    payload = module.Payload(email="e", first_name="f", address=address, maybe=None)

    assert module.create_contact.payload(payload)["maybe"] is None


@EACH
def test_same_structure_gives_the_same_module(style: str) -> None:
    """A module that is written anew shows in a diff what changed at the service, and no more."""
    assert written(style) == written(style)
    assert "timestamp" not in written(style)


@pytest.mark.long
def test_modules_pass_mypy_strict(tmp_path: Path) -> None:
    """Each style, with every awkward key, as it is used: the payload it builds is accepted."""
    for style in STYLES:
        text = written(style)
        (tmp_path / f"of_{style}.py").write_text(
            f"{text}\n\nprint(create_contact.payload({LEAST[style]}))\n", encoding="utf-8"
        )
    ended = subprocess.run(  # noqa: S603 - our own files
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", tmp_path / "cache", tmp_path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.stdout, ended.returncode) == ("Success: no issues found in 3 source files\n", 0)


def test_key_that_would_act_is_written_as_its_escape(tmp_path: Path) -> None:
    """Neither a terminal nor the module's code obeys what a service calls its fields."""
    odd = ["\x1b[2J", "\u202eabc", "'); raise SystemExit #", "a\nb", '"""']
    text = written("typeddict", RequestStructure(schema={"properties": dict.fromkeys(odd, TEXT)}))
    payload = dict.fromkeys(odd, "x")

    assert all(line.isprintable() for line in text.splitlines())
    assert loaded(text, tmp_path).create_contact.payload(payload) == payload


def test_example_stands_in_for_a_schema(tmp_path: Path) -> None:
    """Its keys are all there is; what was null may be anything, and the module says it guessed."""
    example = {"email": "a", "n": 1, "items": [{"a": 1}, {"a": 2.5, "b": None}], "none": None}
    text = written("typeddict", RequestStructure(payload=example))
    module = loaded(text, tmp_path)

    assert "guessed from its example" in text
    assert module.create_contact.payload(example) == example
    assert "b: NotRequired[Any]" in text


def test_guess_of_a_mixed_list() -> None:
    """What differs is a choice, what is empty is open."""
    assert schema_of([1, "a", 1])["items"] == {"anyOf": [{"type": "integer"}, {"type": "string"}]}
    assert schema_of([])["items"] == {}
    assert schema_of([None, 1])["items"] == {}


@EACH
@pytest.mark.parametrize(
    "structure",
    [
        RequestStructure(),
        RequestStructure(schema={"type": "object"}),
        RequestStructure(payload={}),
        RequestStructure(payload=[1]),
    ],
    ids=["nothing", "any object", "empty example", "no object"],
)
def test_structure_that_says_nothing_gives_any_object(
    style: str, structure: RequestStructure, tmp_path: Path
) -> None:
    """The module is there all the same, and takes what it must take."""
    module = loaded(written(style, structure), tmp_path)

    assert module.create_contact.input == dict[str, Any]


@pytest.mark.parametrize(
    ("workflow_id", "name"),
    [
        ("create-contact", "create_contact"),
        ("6a106ba44480b80424a65289", "workflow_6a106ba44480b80424a65289"),
        ("workflow", "workflow_workflow"),
        ("class", "workflow_class"),
    ],
)
def test_workflow_is_named_after_its_id(workflow_id: str, name: str, tmp_path: Path) -> None:
    """Whatever the id, the name is one in Python, and hides nothing."""
    module = loaded(written("typeddict", workflow_id=workflow_id, slug="it's"), tmp_path)

    assert isinstance(getattr(module, name), TypedWorkflow)
    assert getattr(module, name).slug == "it's"


async def test_command_writes_what_runs(
    refold: Refold, emulator: Emulator, connect: Callable[..., RefoldClient], tmp_path: Path
) -> None:
    """From the service to a run: the command's output is imported and used."""
    emulator.workflow("wf_1", slug="crm", schema=SCHEMA)(dict)
    service = {"REFOLD_BASE_URL": emulator.base_url, "REFOLD_API_KEY": emulator.api_key}
    shown = await refold("types", "wf_1", "--slug", "crm", **service)
    file = tmp_path / "types.py"
    kept = await refold("types", "wf_1", "--slug", "crm", "-o", str(file), **service)

    assert (shown.code, shown.err) == (0, "")
    assert (kept.code, kept.out, kept.err) == (0, "", f"{file} written\n")
    assert file.read_text(encoding="utf-8") == shown.out
    spec: Any = loaded(shown.out, tmp_path).wf_1
    payload = {"email": "e", "first-name": "f", "address": {"zip code": "z"}}
    assert await connect(emulator).workflow(spec)(payload) == payload
    assert ExecutionRequest("wf_1", slug="crm", payload=payload).payload == payload


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--style", "dataclass"], "--style is one of typeddict, msgspec, pydantic"),
        (["--name", "a b"], "--name is a name in Python"),
        (["--name", "workflow"], "--name is a name in Python"),
        (["-o", "/nowhere/types.py"], "No such file"),
    ],
)
async def test_command_says_what_is_wrong(
    here: Refold, emulator: Emulator, options: list[str], says: str
) -> None:
    """One line with the remedy, and no module."""
    emulator.workflow("wf_1", slug="crm", schema=SCHEMA)(dict)
    service = {"REFOLD_BASE_URL": emulator.base_url, "REFOLD_API_KEY": emulator.api_key}
    ended = await here("types", "wf_1", "--slug", "crm", *options, **service)

    assert ended.code in {2, 3}
    assert says in ended.err
    assert ended.out == ""


def test_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The line to copy."""
    monkeypatch.setitem(sys.modules, "datamodel_code_generator", None)

    with pytest.raises(Exception, match=r"pip install 'refold-async\[cli,types\]'"):
        written("typeddict")


ONE: dict[str, Any] = {"type": "object", "properties": {"a": TEXT}, "required": ["a"]}
OTHER: dict[str, Any] = {"type": "object", "properties": {"b": TEXT}, "required": ["b"]}
LISTS = [{"type": "array", "items": {"type": kind}} for kind in ("null", "boolean")]
KINDS = [
    {"type": "object", "properties": {key: TEXT, "kind": {"const": key}}, "required": ["kind"]}
    for key in ("a", "b")
]


@pytest.mark.parametrize("key", ['say "hi"', "back\\slash", "line\nbreak"])
def test_a_key_that_msgspec_can_not_take_is_refused(key: str) -> None:
    """The module would fail where it is imported; the other styles take it."""
    structure = RequestStructure(schema={"type": "object", "properties": {key: TEXT}})
    with pytest.raises(BadUsageError, match="--style typeddict or pydantic"):
        module_of(structure, workflow_id="wf_1", slug="crm", style="msgspec", name=None)


@pytest.mark.parametrize("style", ["typeddict", "msgspec"])
@pytest.mark.parametrize(
    ("schema", "where"),
    [
        pytest.param({"anyOf": [ONE, OTHER]}, r"\(\$\)", id="the payload"),
        pytest.param(
            {"type": "object", "properties": {"x": {"oneOf": [{"type": "null"}, ONE, OTHER]}}},
            r"\(\$\.properties\.x\)",
            id="a field",
        ),
        pytest.param(
            {
                "type": "object",
                "properties": {"x": {"anyOf": [{"$ref": "#/$defs/A"}, {"anyOf": [OTHER]}]}},
                "$defs": {"A": ONE},
            },
            r"\(\$\.properties\.x\)",
            id="by reference",
        ),
        pytest.param(
            {"type": "object", "properties": {"x": {"anyOf": LISTS}}},
            "several arrays",
            id="arrays",
        ),
    ],
)
def test_what_a_style_can_not_tell_apart_is_refused(
    schema: dict[str, Any], where: str, style: str
) -> None:
    """The workflow of such a module could not be made; where it is, and the remedy, are named."""
    structure = RequestStructure(schema=schema)
    with pytest.raises(BadUsageError, match=where) as caught:
        module_of(structure, workflow_id="wf_1", slug="crm", style=style, name=None)

    assert str(caught.value).endswith("take --style pydantic")


@pytest.mark.parametrize(
    ("style", "schema"),
    [
        pytest.param("pydantic", {"anyOf": [ONE, OTHER]}, id="pydantic"),
        pytest.param(
            "msgspec", {"type": "object", "properties": {"x": {"oneOf": KINDS}}}, id="kinds"
        ),
        pytest.param(
            "typeddict",
            {**ONE, "anyOf": [{"required": ["a"]}, {"required": ["b"]}]},
            id="conditions",
        ),
    ],
)
def test_what_a_style_can_tell_apart_is_written(
    style: str, schema: dict[str, Any], tmp_path: Path
) -> None:
    """And its workflow can be made."""
    structure = RequestStructure(schema=schema)
    text = module_of(structure, workflow_id="wf_1", slug="crm", style=style, name="made")

    assert isinstance(loaded(text, tmp_path).made, TypedWorkflow)
