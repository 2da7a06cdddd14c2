"""`python -m tests.captures` writes `docs/captures` anew."""

from __future__ import annotations

import asyncio

from tests.captures import CAPTURES, FOLDER


def main() -> None:
    """Capture all of them."""
    for name, capture in CAPTURES.items():
        (FOLDER / f"{name}.txt").write_text(asyncio.run(capture()), encoding="utf-8")


if __name__ == "__main__":
    main()
