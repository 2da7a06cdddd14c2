"""Sphinx settings. `make docs` builds with warnings as errors."""

import re
import sys
from typing import Any

from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer

from refold_async import __version__, emulator

project = "refold-async"
author = "The refold-async maintainers"
project_copyright = author
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"refold-async {release}"

myst_heading_anchors = 3
default_role = "code"  # of docstrings: `name` is code

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_class_signature = "mixed"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
# "Attributes:" of a value are its fields, which autodoc lists by itself where they are documented.
napoleon_use_ivar = True


def _read_rooms(package: str) -> None:
    """Let autodoc find what is written beside attributes, and their order.

    Public classes name their package as their module, and autodoc reads that module's source: the
    classes stand in its private modules.
    """
    face = ModuleAnalyzer.for_module(package)
    face.analyze()
    for name in [each for each in sys.modules if each.startswith(f"{package}._")]:
        room = ModuleAnalyzer.for_module(name)
        room.analyze()
        for known in ("annotations", "attr_docs", "overloads", "tagorder"):
            getattr(face, known).update(getattr(room, known))


_read_rooms("refold_async")
_read_rooms(emulator.__name__)


def setup(app: Sphinx) -> None:
    """Name types as users import them, in what napoleon has made of the docstrings."""
    app.connect("autodoc-process-docstring", _without_rooms, priority=900)


def _without_rooms(*arguments: Any) -> None:
    # `ExecutionHandle[Any]` and type variables keep the module they were made in.
    lines: list[str] = arguments[-1]
    for at, line in enumerate(lines):
        lines[at] = re.sub(r"refold_async\._[\w.]+\.(?=T\b)", "", line)
        lines[at] = re.sub(r"(refold_async(?:\.emulator)?)\._[\w.]+\.(?=[A-Z])", r"\1.", lines[at])
