"""What importing `refold_async` adds to importing aiohttp.

    python tests/bench/import_time.py [--rounds 11]

Fresh interpreters, alternating; CPU milliseconds of the import statement, medians.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys

TIMED = "import time; t = time.process_time(); {}; print((time.process_time() - t) * 1e3)"


def milliseconds(statement: str) -> float:
    """Time an import in a fresh interpreter."""
    command = [sys.executable, "-c", TIMED.format(statement)]
    # As in production: bytecode is cached by the first, uncounted run.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(  # noqa: S603 - our own interpreter
        command, check=True, capture_output=True, text=True, env=environment
    )
    return float(done.stdout)


def main(rounds: int) -> None:
    """Print the figures."""
    statements: dict[str, list[float]] = {
        "import aiohttp": [],
        "import aiohttp, refold_async": [],
    }
    for statement in statements:
        milliseconds(statement)
    for _ in range(rounds):
        for statement, figures in statements.items():
            figures.append(milliseconds(statement))
    alone, both = (statistics.median(figures) for figures in statements.values())
    print(f"import aiohttp                 {alone:6.1f} ms")
    print(f"import aiohttp, refold_async   {both:6.1f} ms")
    print(f"refold_async adds              {both - alone:6.1f} ms")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=11)
    main(parser.parse_args().rounds)
