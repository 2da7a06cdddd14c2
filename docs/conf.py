"""Sphinx settings. `make docs` builds with warnings as errors."""

from refold_async import __version__

project = "refold-async"
author = "The refold-async maintainers"
project_copyright = author
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"refold-async {release}"

myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_class_signature = "mixed"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
# "Attributes:" of a value are its fields, which autodoc lists by itself where they are documented.
napoleon_use_ivar = True
