"""How long hypothesis looks: briefly and always alike; `--hypothesis-profile=default` explores."""

from __future__ import annotations

import sys

from hypothesis import settings

settings.register_profile("gate", max_examples=40, deadline=None, derandomize=True)
if not any(argument.startswith("--hypothesis-profile") for argument in sys.argv):
    settings.load_profile("gate")
