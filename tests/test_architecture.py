"""Who may import whom. See "The map" in `docs/explanation/architecture.md`."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import refold_async

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(refold_async.__file__).parent
PACKAGE = "refold_async"

# From the bottom to the top: a module stands below all that may import it.
MAY_IMPORT: dict[str, str] = {
    "_version": "",
    "_errors": "",
    "_clock": "",
    "_stats": "",
    "_checks": "_errors",
    "_config": "_errors _checks",
    "_execution": "_errors",
    "_models": "_errors _execution",
    "_events": "_execution",
    "_protocol._payload": "_errors",
    "_protocol._requests": "_errors _checks _protocol._payload",
    "_protocol._evidence": "_errors _protocol._requests",
    "_protocol._replies": "_errors _models _protocol._requests _protocol._evidence",
    "_protocol": "_protocol._requests _protocol._evidence _protocol._replies",
    "_credentials": "_errors _checks _config",
    "_chance": "",
    "_throttle": "_chance",
    "_pacing": "_errors _clock _config _stats _throttle",
    "_paging": "_errors _models",
    "_server_clock": "_models _protocol",
    "_retry": "_errors _clock _config _stats _protocol",
    "_failures": "_errors _protocol",
    "_relay": "",
    "_wire": "_version _errors _clock _config _protocol _credentials _failures _relay",
    "_transport": "_errors _clock _config _stats _protocol _credentials _pacing _retry _failures"
    " _server_clock _relay _wire",
    "_api": "_config _models _pacing _protocol _retry _transport",
    "_progress": "_errors _models",
    "_looking": "_errors _clock _config _models _protocol _stats _pacing _api _progress",
    "_cadence": "",
    "_agenda": "_clock",
    "_watching": "_errors _models _progress",
    "_cohorts": "_models _watching",
    "_planning": "_clock _config _models _stats _server_clock _cadence _watching _cohorts",
    "_report": "_errors _progress",
    "_tracker": "_errors _clock _config _models _stats _api _looking _planning _agenda _watching"
    " _cohorts _report",
    "_handle": "_errors _events _checks _clock _config _models _protocol _api _watching _tracker",
    "_reconcile": "_errors _clock _config _models _pacing _protocol _retry _api",
    "_starting": "_errors _config _models _stats _pacing _protocol _retry _handle _reconcile",
    "_batch_models": "_errors _checks _config _models _handle",
    "_batch_report": "_errors _batch_models",
    "_batch_input": "_errors _batch_models",
    "_batch": "_errors _checks _clock _config _protocol _handle _batch_models _batch_input",
    "_preflight": "_errors _models _batch_models",
    "_carrying": "_errors _checks _models _batch_models _batch _preflight",
    "_journal": "_errors",
    "_journal_values": "_errors _models",
    "_recovery": "_errors _clock _models _retry _reconcile _journal",
    "_journaled": "_errors _models _retry _handle _batch_models _batch _carrying _journal"
    " _journal_values _recovery",
    "_running": "_errors _clock _batch_models _batch_report _batch _preflight _carrying",
    "_batches": "_errors _checks _clock _models _handle _reconcile _batch_models _batch_report"
    " _batch_input _batch _preflight _carrying _journal _recovery _journaled _running",
    "_resources": "_errors _checks _models _paging _handle",
    "_client": "_errors _checks _clock _config _models _stats _protocol _credentials _pacing"
    " _wire _transport _api _tracker _handle _reconcile _starting _resources _batch_input"
    " _batch_models _batch_report _batches",
    "__init__": "_version _errors _clock _config _models _events _stats _paging _handle"
    " _batch_models _batch_report _client",
}
ROOMS = {"emulator": {"emulator"}, "cli": {"cli", "emulator", "__init__"}}
"""The packages on top, and what they may import: the command line only what a user may."""

FOREIGN = {"aiohttp": {"_wire", "_failures"}, "tenacity": {"_retry"}}
"""Which modules of the client touch these at run time."""


@cache
def _modules() -> dict[str, Path]:
    """All modules of the package, by their name within it."""
    found = {}
    for path in ROOT.rglob("*.py"):
        *above, name = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(above if above and name == "__init__" else [*above, name])] = path
    return found


def _room(module: str) -> str | None:
    room = module.split(".", maxsplit=1)[0]
    return room if room in ROOMS else None


CLIENT = sorted(module for module in _modules() if _room(module) is None)
TOP = sorted(module for module in _modules() if _room(module) is not None)


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


def test_table_names_every_module_of_the_client() -> None:
    """A new module has to say where it stands."""
    assert sorted(MAY_IMPORT) == CLIENT


def test_table_is_layered() -> None:
    """A module imports only what stands below it, so there are no cycles."""
    order = list(MAY_IMPORT)
    for module, allowed in MAY_IMPORT.items():
        assert {*allowed.split()} <= {*order[: order.index(module)]}, module


@pytest.mark.parametrize("module", CLIENT)
def test_module_imports_what_it_may(module: str) -> None:
    """Each module keeps to its row of the table, at run time, for types and in functions."""
    assert _ours(module) <= {*MAY_IMPORT[module].split()}


@pytest.mark.parametrize("module", TOP)
def test_room_imports_what_it_may(module: str) -> None:
    """The emulator shares no code with the client; the command line uses what users may use."""
    allowed = ROOMS[_room(module) or ""]
    assert {imported.split(".")[0] for imported in _ours(module)} <= allowed


@pytest.mark.parametrize("module", [module for module in TOP if _room(module) == "cli"])
def test_command_line_uses_public_names_only(module: str) -> None:
    """What the command line needs is there for everybody."""
    used = {name for origin, name in _imports(module) if origin == PACKAGE}
    assert used <= {*refold_async.__all__}


@pytest.mark.parametrize("foreign", sorted(FOREIGN))
def test_library_is_touched_where_it_belongs(foreign: str) -> None:
    """The network has one door, and tenacity one user; elsewhere they may serve as types."""
    users = {
        module
        for module in CLIENT
        for origin, _ in _imports(module, only_run_time=True)
        if origin.split(".")[0] == foreign
    }
    assert users == FOREIGN[foreign]


def test_importing_the_package_loads_no_more_than_it_needs() -> None:
    """Tenacity comes with the first failure; servers and the command line not at all."""
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
        "aiohttp.web",
        "jsonschema",
        "aiosqlite",
        "typer",
        "rich",
        "refold_async.emulator",
    )
    assert [name for name in loaded if name.startswith((*unwanted, "refold_async.cli"))] == []


def _public_members(cls: type) -> Iterator[tuple[str, Any]]:
    for name, member in vars(cls).items():
        is_ours = inspect.isfunction(member) or isinstance(member, (property, classmethod))
        if is_ours and not name.startswith("_"):
            yield f"{cls.__name__}.{name}", member


def test_public_names_are_sorted_and_complete() -> None:
    """`__all__` lists every name of the package that is no module of it."""
    names = {
        name
        for name, value in vars(refold_async).items()
        if not name.startswith("_") and not inspect.ismodule(value)
    }
    assert refold_async.__all__ == sorted({*names, "__version__"})


@pytest.mark.parametrize("name", [n for n in refold_async.__all__ if n != "__version__"])
def test_public_name_has_a_docstring(name: str) -> None:
    """Each public class says what it is, and each of its methods what it does."""
    cls = getattr(refold_async, name)
    silent = [each for each, member in [(name, cls), *_public_members(cls)] if not member.__doc__]
    assert silent == []
