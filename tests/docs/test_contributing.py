"""What the pages for developers say of the checkout is so."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

import pytest

from tests.docs.conftest import DOCS, ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

CONTRIBUTING = (DOCS / "contributing.md").read_text(encoding="utf-8")
ARCHITECTURE = (DOCS / "explanation/architecture.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE)


def test_commands_named_exist() -> None:
    """Each `make ...` of the page is a target of the Makefile."""
    named = {*re.findall(r"`make ([a-z-]+)", CONTRIBUTING)}
    assert len(named) > 8
    assert named - {*TARGETS} == set()


def test_targets_are_phony() -> None:
    """A file that is named like a target doesn't keep it from being made."""
    declared = re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)
    assert declared is not None
    assert {*declared[1].split()} == {*TARGETS}


@pytest.mark.parametrize("page", ["contributing", "architecture"])
def test_places_named_exist(page: str) -> None:
    """Each file and folder of the checkout that a page names is there."""
    text = {"contributing": CONTRIBUTING, "architecture": ARCHITECTURE}[page]
    named = {*re.findall(r"`([\w/.-]+(?:/|\.py|\.md))`", text)}
    named |= {*re.findall(r"\b(tests/[\w/.]*\w)", text)}

    assert len(named) > 10
    assert {name for name in named if not _exists(name)} == set()


def _exists(name: str) -> bool:
    within = (ROOT, ROOT / "refold_async", ROOT / "refold_async/cli")
    return name == "dist/" or any((folder / name).exists() for folder in within)


def _whereabouts() -> Iterator[tuple[str, str]]:
    """Each name of the map with the module it is said to stand in."""
    for row in re.findall(r"^\| .*\? \| (.*) \|$", ARCHITECTURE, re.MULTILINE):
        for names, module in re.findall(r"((?:`\w+`(?:, | and )?)+) in `([\w/]+\.py)`", row):
            yield from ((name, module) for name in re.findall(r"\w+", names) if name != "and")


@pytest.mark.parametrize(("name", "module"), [*_whereabouts()])
def test_what_is_asked_for_is_where_the_map_says(name: str, module: str) -> None:
    """Who follows the map finds the function or class it names."""
    tree = ast.parse((ROOT / "refold_async" / module).read_text(encoding="utf-8"))
    kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    assert name in {node.name for node in tree.body if isinstance(node, kinds)}


def test_every_room_has_a_paragraph() -> None:
    """What the table promises in a line is told in a few more, with the room's nouns."""
    rooms = re.findall(r"^\| `([\w./]+)` \|", ARCHITECTURE, re.MULTILINE)
    _, _, told = ARCHITECTURE.partition("## What stands in each room")
    told = told.partition("\n## ")[0]

    assert len(rooms) > 15
    assert [room for room in rooms if f"`{room}`" not in told and room != "_version.py"] == []


def test_hooks_are_the_checks_of_make() -> None:
    """A commit that passes the hooks passes `make check`."""
    recipe = re.search(r"^check:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
    assert recipe is not None
    checks = [line.strip().replace("$(BIN)", ".venv/bin") for line in recipe[1].splitlines()]
    hooks = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    assert re.findall(r"entry: (.*)", hooks) == checks
