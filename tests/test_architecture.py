"""Who may import whom: held to the table of `docs/explanation/architecture.md`."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import refold_async

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(refold_async.__file__).parent
PACKAGE = "refold_async"

MAP = ROOT.parent / "docs/explanation/architecture.md"
ON_TOP = {"cli", "dask", "emulator", "otel", "probe", "webhooks"}
"""The packages that are no part of the client."""
INNER = {"cli.batch", "cli.demo"}
"""Rooms inside a room: they know their house, which enters them by their front doors."""

FOREIGN = {
    "aiohttp": {"_transport.connections", "_transport.failures", "_transport.wire"},
    "tenacity": {"_transport.retry"},
    "redis": {"_shared.link"},
}
"""Which modules of the client touch these at run time."""


@cache
def _may_import() -> dict[str, set[str]]:
    """Read the table of the page: each room, from the ground up, and the rooms it may import."""
    table = {}
    for line in MAP.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if len(cells) == len(COLUMNS) and cells[0].startswith("`"):
            table[_plain(cells[0])] = {_plain(name) for name in cells[2].split()}
    return table


COLUMNS = ("room", "promise", "imports")


def _plain(cell: str) -> str:
    """Give the room a cell names: `_models/` is the package, `_clock.py` a module."""
    return cell.strip("`").removesuffix(".py").strip("/").replace("/", ".")


@cache
def _modules() -> dict[str, Path]:
    """All modules of the package, by their name within it."""
    found = {}
    for path in ROOT.rglob("*.py"):
        *above, name = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(above if above and name == "__init__" else [*above, name])] = path
    return found


def _room(module: str) -> str:
    """Give the room a module stands in; a module beside the rooms is a room of its own."""
    rooms = [room for room in _may_import() if module == room or module.startswith(f"{room}.")]
    return max(rooms, key=len, default=module)


MODULES = sorted(_modules())
PRIVATE = [module for module in MODULES if _room(module) not in ON_TOP]


@cache
def _tree(module: str) -> ast.Module:
    return ast.parse(_modules()[module].read_text(encoding="utf-8"))


def _imports(module: str, *, only_run_time: bool = False) -> Iterator[tuple[str, str | None]]:
    """All imports of a module, those within functions too, as (absolute module, name)."""
    skipped: set[ast.AST] = set()
    for node in ast.walk(_tree(module)):
        if only_run_time and isinstance(node, ast.If) and _is_for_types(node):
            skipped.update(node.body)
        elif isinstance(node, ast.Import) and node not in skipped:
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node not in skipped:
            yield from ((_origin(module, node), alias.name) for alias in node.names)


def _is_for_types(node: ast.If) -> bool:
    return isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _origin(module: str, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    is_package = _modules()[module].name == "__init__.py"
    here = [PACKAGE, *module.split(".")]
    above = here[: len(here) - node.level + is_package]
    return ".".join([*above, *filter(None, [node.module])])


def _ours(module: str) -> set[str]:
    """The modules of the package that a module imports, by their name within it."""
    found = set()
    for origin, name in _imports(module):
        if origin.split(".")[0] == PACKAGE:
            within = origin.removeprefix(PACKAGE).removeprefix(".")
            deeper = ".".join(filter(None, [within, name]))
            found.add(deeper if deeper in _modules() else within or "__init__")
    return found


def test_every_module_stands_in_a_room_of_the_table() -> None:
    """A new room has to say what it promises and whom it may import."""
    assert {_room(module) for module in MODULES} == {*_may_import()}


def test_no_import_leads_upward() -> None:
    """A room imports only rooms above its line of the page, so there are no circles of rooms."""
    order = list(_may_import())
    for room, allowed in _may_import().items():
        assert allowed <= {*order[: order.index(room)]}, room


@pytest.mark.parametrize("module", MODULES)
def test_module_imports_what_its_room_may(module: str) -> None:
    """Each module keeps to the line of its room, at run time, for types and in functions."""
    room = _room(module)
    assert {_room(each) for each in _ours(module)} - {room} <= _may_import()[room]


def test_table_allows_no_more_than_is_used() -> None:
    """What the page says of a room is what it does."""
    used: dict[str, set[str]] = {room: set() for room in _may_import()}
    for module in MODULES:
        used[_room(module)] |= {_room(each) for each in _ours(module)} - {_room(module)}
    assert used == _may_import()


@pytest.mark.parametrize("module", MODULES)
def test_walls_are_crossed_by_front_doors_only(module: str) -> None:
    """What another room uses is handed out by its `__init__.py`."""
    here = _innermost(module)
    doors = {*_may_import(), *INNER, "emulator.__main__"}  # the last is the command
    behind = {each for each in _ours(module) - doors if _innermost(each) != here}
    assert {each for each in behind if here not in INNER or _innermost(each) != "cli"} == set()


def _innermost(module: str) -> str:
    """Give the inner room a module stands in, or its room."""
    return next((room for room in INNER if f"{module}.".startswith(f"{room}.")), _room(module))


def test_front_doors_hand_out_no_more_than_is_used() -> None:
    """A name that no other room needs stays inside."""
    crossing = {(origin, name) for module in MODULES for origin, name in _crossing(module)}
    idle = {
        (room, name)
        for room in _may_import()
        if room in PRIVATE and room != "__init__"
        for name in _handed_out(room)
        if (room, name) not in crossing
    }
    assert idle == set()


def _handed_out(room: str) -> list[str]:
    for node in _tree(room).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return [*ast.literal_eval(node.value)]
    return []


def _crossing(module: str) -> Iterator[tuple[str, str]]:
    """All names a module takes from other rooms, and attributes of a room taken whole."""
    for origin, name in _imports(module):
        within = origin.removeprefix(PACKAGE).removeprefix(".")
        if name is not None and _room(module) != within:
            yield within, name
        if name is not None and f"{within}.{name}".strip(".") in _may_import():
            whole = f"{within}.{name}".strip(".")
            text = _modules()[module].read_text(encoding="utf-8")
            yield from ((whole, each) for each in _handed_out(whole) if f".{each}" in text)


def test_modules_make_no_circle() -> None:
    """No import, however late or for types only, leads back to where it came from."""
    TopologicalSorter({module: _ours(module) for module in MODULES}).prepare()


@pytest.mark.parametrize("module", [m for m in MODULES if m.startswith("cli")])
def test_command_line_uses_public_names_only(module: str) -> None:
    """What the command line needs is there for everybody."""
    used = {name for origin, name in _imports(module) if origin == PACKAGE}
    assert used <= {*refold_async.__all__}


@pytest.mark.parametrize("foreign", sorted(FOREIGN))
def test_library_is_touched_where_it_belongs(foreign: str) -> None:
    """The network has one door, and tenacity one user; elsewhere they may serve as types."""
    users = {
        module
        for module in PRIVATE
        for origin, _ in _imports(module, only_run_time=True)
        if origin.split(".")[0] == foreign
    }
    assert users == FOREIGN[foreign]


def test_importing_the_package_loads_no_more_than_it_needs() -> None:
    """Tenacity comes with the first failure, batches with the first one; servers not at all."""
    loaded = subprocess.run(
        [sys.executable, "-c", "import refold_async, sys; print(*sys.modules)"],
        cwd=ROOT.parent,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert "refold_async._client" in loaded
    unwanted = (
        "tenacity",
        "msgspec",
        "pydantic",
        "aiohttp.web",
        "jsonschema",
        "aiosqlite",
        "redis",
        "distributed",
        "refold_async.dask",
        "opentelemetry",
        "refold_async.otel",
        "typer",
        "rich",
        "refold_async.emulator",
        "refold_async._batch",
        "sqlite3",
    )
    assert [name for name in loaded if name.startswith((*unwanted, "refold_async.cli"))] == []
