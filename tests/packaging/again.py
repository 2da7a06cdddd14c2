"""Whoever builds again gets the same bytes: `python -m tests.packaging.again dist/*`.

Builds what is committed anew, from a copy in another place, with a umask of its own. `make build`
runs it; both builds take their dates from SOURCE_DATE_EPOCH.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[2]


def main() -> int:
    """Compare the archives named on the command line with another build; gives the exit code."""
    if not (ROOT / ".git").exists():
        return 0  # an unpacked archive: there is nothing to copy
    built = [Path(name) for name in sys.argv[1:]]
    with TemporaryDirectory(prefix="refold-again-") as folder:
        os.umask(0o077)
        copy = Path(folder) / "elsewhere"
        subprocess.run(["git", "clone", "-q", ROOT, copy], check=True)  # noqa: S603, S607
        subprocess.run(  # noqa: S603
            [sys.executable, "-m", "build", "--outdir", Path(folder) / "dist", copy],
            stdout=subprocess.DEVNULL,
            check=True,
        )
        for archive in built:
            again = Path(folder) / "dist" / archive.name
            if not again.exists() or again.read_bytes() != archive.read_bytes():
                sys.exit(f"{archive.name} differs when what is committed is built again")
            print(f"{hashlib.sha256(again.read_bytes()).hexdigest()}  {archive.name}, twice")
    return 0


if __name__ == "__main__":
    sys.exit(main())
