"""The public surface: what users can name, and that nothing private shows through it."""

from __future__ import annotations

import ast
import inspect
import pickle
import re
import sys
import typing
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest

import refold_async
from refold_async import (
    BatchOutcome,
    Execution,
    ExecutionFailedError,
    ExecutionRef,
    ExecutionResult,
    ExecutionStatus,
    NodeRun,
    RetryPolicy,
    dask,
    emulator,
    otel,
    probe,
    webhooks,
    workflow,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FACES = (refold_async, dask, emulator, otel, probe, webhooks)
"""The modules whose `__all__` is the public surface."""

NODE = NodeRun(node_id="n1", status="Errored")
RUN = Execution(execution_id="e1", status=ExecutionStatus.ERRORED, nodes=(NODE,))
RESULT = ExecutionResult(execution_id="e1", status=RUN.status, output=None, execution=RUN)
KEPT = [
    ExecutionRef(execution_id="e1", slug="hubspot"),
    ExecutionStatus("HOVERING"),
    RESULT,
    ExecutionFailedError("ended badly", result=RESULT, failed_node=NODE),
    RetryPolicy(mode="safe"),
    BatchOutcome.UNKNOWN,
    workflow("wf_1", slug="hubspot", output=dict[str, int]),
]
"""What people keep in queues and databases."""

OPERATORS = {"__aenter__", "__aiter__", "__await__", "__call__", "__iter__", "__next__"}
REFERENCE = Path(refold_async.__file__).parents[1] / "docs/reference.md"


def _public(kind: type = object) -> Iterator[Any]:
    for face in FACES:
        for name in face.__all__:
            value = getattr(face, name)
            if isinstance(value, kind):
                yield pytest.param(value, id=f"{face.__name__}.{name}".partition(".")[2])


CLASSES = [*_public(type)]
VALUES = [each for each in CLASSES if attrs.has(each.values[0])]


def _is_public(value: Any) -> bool:
    return any(value is getattr(face, name) for face in FACES for name in face.__all__)


@cache
def _shown() -> dict[tuple[str, str], str | None]:
    """What the reference shows of each public name: its members, or None for a bare name.

    `*` stands for all members, and `__init__` for the constructor: classes without it are given by
    the SDK and not made by users.
    """
    found: dict[tuple[str, str], str | None] = {}
    face = refold_async.__name__
    text = REFERENCE.read_text(encoding="utf-8")
    for module, kind, name, given, options in re.findall(DIRECTIVE, text, re.MULTILINE):
        face = module or face
        if kind:
            listed = re.search(r":members:(.*)", options)
            members = "" if listed is None else listed[1].strip() or "*"
            made = "" if given or kind != "class" else " __init__"
            found[face, name] = None if kind == "data" else members + made
    return found


DIRECTIVE = r"^\.\. (?:currentmodule:: (\S+)|auto(\w+):: (\w+)(\(\))?((?:\n +:.*)*))$"


def _callables(cls: type) -> Iterator[tuple[str, Callable[..., Any]]]:
    """All that users may call or read on an object of the class, inherited or its own."""
    shown = re.findall(r"[\w*]+", _shown()[cls.__module__, cls.__name__] or "")
    for owner in reversed(cls.__mro__):
        if owner.__module__.startswith(refold_async.__name__):
            for name, member in vars(owner).items():
                everyday = name in OPERATORS or ("*" in shown and not name.startswith("_"))
                if everyday or name in shown:
                    yield from ((f"{cls.__name__}.{name}", each) for each in _functions(member))


def _functions(member: Any) -> Iterator[Callable[..., Any]]:
    if isinstance(member, property):
        yield from filter(None, (member.fget, member.fset))
    elif isinstance(member, cached_property):
        yield member.func
    elif isinstance(member, classmethod | staticmethod):
        yield from _functions(member.__func__)
    elif inspect.isfunction(member):
        yield inspect.unwrap(member)


@cache
def _namespace(module: str) -> dict[str, Any]:
    """The names of a module, those it imports for types alone too."""
    loaded = sys.modules[module]
    names = dict(vars(loaded))
    for node in ast.walk(ast.parse(inspect.getsource(loaded))):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            code = compile(ast.Module(body=node.body, type_ignores=[]), f"<{module}>", "exec")
            exec(code, names)  # noqa: S102 - the module's own imports
    return names


def _mentioned(annotated: Any, module: str) -> Iterator[tuple[str, Any]]:
    """All types in the annotations, and the aliases that a reader of them sees by name."""
    names = _namespace(module)
    for hint in typing.get_type_hints(annotated, localns=names).values():
        yield from ((getattr(part, "__name__", ""), part) for part in _parts(hint))
    for hint in annotated.__annotations__.values():
        if isinstance(hint, str):
            yield from ((name, names[name]) for name in re.findall(r"\w+", hint) if name in names)


def _parts(hint: Any) -> Iterator[Any]:
    if isinstance(hint, list):  # the arguments of a Callable
        for each in hint:
            yield from _parts(each)
        return
    yield typing.get_origin(hint) or hint
    for each in typing.get_args(hint):
        yield from _parts(each)


def _is_private(value: Any) -> bool:
    """Tell a class of ours, or an alias, that users can't import."""
    is_ours = isinstance(value, type) and value.__module__.startswith("refold_async")
    is_alias = typing.get_origin(value) is not None
    return (is_ours or is_alias) and not _is_public(value)


@pytest.mark.parametrize("cls", CLASSES)
def test_signatures_name_public_types_only(cls: type) -> None:
    """Whatever a user reads in a signature can be imported, to annotate code of one's own."""
    found = {
        (member, name)
        for member, function in _callables(cls)
        for name, value in _mentioned(function, function.__module__)
        if _is_private(value)
    }
    assert found == set()


@pytest.mark.parametrize("cls", VALUES)
def test_fields_have_public_types_that_resolve(cls: type) -> None:
    """The annotations of a public value resolve as they stand, for tools that read them."""
    hints = typing.get_type_hints(cls)
    public = [hint for name, hint in hints.items() if not name.startswith("_")]
    assert [part for hint in public for part in _parts(hint) if _is_private(part)] == []


@pytest.mark.parametrize("cls", VALUES)
def test_attrs_resolves_the_types_of_fields(cls: type) -> None:
    """`attrs.fields` gives types where it is asked for them, as serialisers do."""
    resolved = attrs.resolve_types(cls)
    assert [field.name for field in attrs.fields(resolved) if isinstance(field.type, str)] == []


@pytest.mark.parametrize("cls", VALUES)
def test_every_field_is_described(cls: type) -> None:
    """The docstring of a value says what each of its public fields holds."""
    text = "".join(inspect.getdoc(each) or "" for each in cls.__mro__)
    fields = [field.name for field in attrs.fields(cls) if not field.name.startswith("_")]
    assert [name for name in fields if not re.search(rf"^ +{name}: ", text, re.MULTILINE)] == []


@pytest.mark.parametrize("cls", CLASSES)
def test_a_class_names_the_place_it_is_imported_from(cls: type) -> None:
    """Tracebacks, pickles and documentation show the public name, not the room behind it."""
    face = next(face for face in FACES if getattr(face, cls.__name__, None) is cls)
    assert cls.__module__ == face.__name__
    assert getattr(face, cls.__qualname__) is cls


@pytest.mark.parametrize("value", KEPT, ids=lambda value: type(value).__name__)
def test_pickles_hold_public_names(value: Any) -> None:
    """What was pickled yesterday is read by a version whose rooms were rebuilt since."""
    written = pickle.dumps(value)

    assert b"refold_async._" not in written
    assert type(pickle.loads(written)) is type(value)  # noqa: S301 - our own


def _members(cls: type) -> Iterator[tuple[str, Any]]:
    for name, member in vars(cls).items():
        is_ours = inspect.isfunction(member) or isinstance(member, (property, classmethod))
        if is_ours and not name.startswith("_"):
            yield f"{cls.__name__}.{name}", member


def test_public_names_are_sorted_and_complete() -> None:
    """`__all__` lists every name of the package that is no module of it."""
    names = {
        name
        for name in dir(refold_async)
        if not name.startswith("_") and not inspect.ismodule(getattr(refold_async, name))
    }
    own = names - {"TYPE_CHECKING", "late", "name_after"}
    assert refold_async.__all__ == sorted({*own, "__version__"})


@pytest.mark.parametrize("cls", CLASSES)
def test_public_class_has_a_docstring(cls: type) -> None:
    """Each public class says what it is, and each of its methods what it does."""
    silent = [each for each, member in [(cls.__name__, cls), *_members(cls)] if not member.__doc__]
    assert silent == []


def test_reference_lists_every_public_name() -> None:
    """What `__all__` promises is in the reference, and nothing else is."""
    promised = {(face.__name__, name) for face in FACES for name in face.__all__}

    assert {*_shown()} == promised - {(refold_async.__name__, "__version__")}
