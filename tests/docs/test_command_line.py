"""What the page about the command line shows is what the command does."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest
import typer.main

from refold_async.cli import _app, _endings
from tests.docs.conftest import DOCS

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = DOCS / "how-to" / "command-line.md"
OF_EVERY_COMMAND = {"--help"}


@pytest.mark.skipif(sys.platform == "win32", reason="needs pseudo-terminals")
@pytest.mark.parametrize(
    ("name", "page"),
    [("watch", "command-line"), ("batch", "command-line"), ("trace", "observing")],
)
async def test_capture_is_what_there_is_to_see(name: str, page: str) -> None:
    """Made anew, the capture has the same words in the same places, figures aside."""
    captures = pytest.importorskip("tests.captures")
    committed = (captures.FOLDER / f"{name}.txt").read_text(encoding="utf-8")
    made = await captures.CAPTURES[name]()

    assert captures.skeleton(made) == captures.skeleton(committed)
    shown = (DOCS / "how-to" / f"{page}.md").read_text(encoding="utf-8")
    assert f"../captures/{name}.txt" in shown


def test_page_names_every_command_and_option() -> None:
    """What is not on the page is not known to anybody."""
    page = PAGE.read_text(encoding="utf-8")
    commands = dict(_commands(typer.main.get_command(_app.app)))
    options = {
        option
        for name, command in commands.items()
        if name != "demo"
        for parameter in command.params
        for option in parameter.opts
        if option.startswith("--")
    }

    assert not [name for name in commands if f"refold {name}" not in page]
    assert not [option for option in options - OF_EVERY_COMMAND if option not in page]


def _commands(group: Any, within: str = "") -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        yield f"{within}{name}", command
        if hasattr(command, "commands"):
            yield from _commands(command, f"{within}{name} ")


def test_page_names_every_exit_code() -> None:
    """Scripts rely on them."""
    page = PAGE.read_text(encoding="utf-8")
    codes = [value for name, value in vars(_endings).items() if name.isupper() and name[0] != "_"]

    assert len(codes) == 8
    assert not [code for code in codes if f"\n| {code} | " not in page]
