"""The built reference shows what it should: `python -m tests.packaging.reference docs/_build`.

`make docs` runs it on what Sphinx has made of the docstrings, where things get lost in silence.
"""

from __future__ import annotations

import re
import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

import refold_async
from refold_async import emulator, probe

if TYPE_CHECKING:
    from collections.abc import Iterator

PRIVATE = re.compile(r"refold_async(?:\.\w+)*\._[\w.]*", re.ASCII)
"""A path behind a front door."""

MISREAD = re.compile(r'<dt class="field-\w+">((?:Return t|T)ype)<')
"""What becomes of a sentence with a colon where Google's style expects `type: text`."""


def complaints(built: Path) -> Iterator[str]:
    """Say what is wrong with a built documentation."""
    for file in sorted([*built.rglob("*.html"), *built.rglob("*.js")]):
        text = file.read_text(encoding="utf-8")
        for path in sorted(set(PRIVATE.findall(text))):
            yield f"{file.name} shows the private path {path}"
    page = (built / "reference.html").read_text(encoding="utf-8")
    for field in MISREAD.finditer(page):
        entry = re.findall(r'id="(refold_async[\w.]+)"', page[: field.start()])[-1]
        yield f"{entry} has a field {field[1]!r}: write its first sentence without a colon"
    for face in (refold_async, emulator, probe):
        for name in face.__all__:
            if name != "__version__":
                yield from _missing(page, f"{face.__name__}.{name}", getattr(face, name))


def _missing(page: str, path: str, value: Any) -> Iterator[str]:
    """Say what the entry of one public name lacks."""
    _, found, rest = page.partition(f'id="{path}"')
    if not found:
        yield f"{path} is missing"
        return
    entry = re.split(r'<dl class="py (?:class|exception|data)">', rest, maxsplit=1)[0]
    if isinstance(value, type) and issubclass(value, Enum):
        shown = {member.name: f'id="{path}.{member.name}"' for member in value}
    elif isinstance(value, type) and attrs.has(value):
        own = [f.name for f in attrs.fields(value) if not (f.inherited or f.name.startswith("_"))]
        shown = {name: f"<strong>{name}</strong>" for name in own}
    else:
        shown = {}
    yield from (f"{path} does not list {name}" for name, mark in shown.items() if mark not in entry)


def main() -> int:
    """Print every complaint; gives the exit code."""
    found = [*complaints(Path(sys.argv[1]))]
    for complaint in found:
        print(f"reference: {complaint}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
