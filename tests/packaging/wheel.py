"""A built wheel works where nothing else is: `python -m tests.packaging.wheel dist/*.whl`.

It goes into an empty environment, without extras, and the quickstart of the documentation runs
there against the emulator of that same environment. `make build` runs it, and needs the network
for the dependencies.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import venv
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from urllib.request import urlopen

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
QUICKSTART = ROOT / "docs/examples/quickstart.py"
PRINTS = r"started [0-9a-f]{24}\nCOMPLETED \{'id': 1, 'email': 'jane@example.com'\}\n"
NOT_SHIPPED = ".ci/"
"""What of the repository is of no use to who has the sdist."""
SECONDS = 60.0


def main() -> int:
    """Check the archives named on the command line; gives the exit code."""
    (wheel,) = [Path(name) for name in sys.argv[1:] if name.endswith(".whl")]
    for sdist in (Path(name) for name in sys.argv[1:] if name.endswith(".tar.gz")):
        check_sdist(sdist)
    with TemporaryDirectory(prefix="refold-wheel-") as folder:
        check_wheel(wheel.resolve(), Path(folder))
    return 0


def check_sdist(sdist: Path) -> None:
    """Hold a source archive to what git has; an unpacked archive has no git to be held to."""
    if not (ROOT / ".git").exists():
        return
    listed = subprocess.run(
        ["git", "ls-files"],  # noqa: S607
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    with tarfile.open(sdist) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    missing = {name for name in listed if not name.startswith(NOT_SHIPPED)} - inside
    strange = inside - {*listed, "PKG-INFO"}
    if missing or strange:
        sys.exit(f"{sdist.name} lacks {sorted(missing)}, and has beyond git {sorted(strange)}")
    print(f"{sdist.name} holds the files of the repository: {len(inside):,}, all but {NOT_SHIPPED}")


def check_wheel(wheel: Path, folder: Path) -> None:
    """Install a wheel into an empty environment in `folder`, and run the quickstart there."""
    venv.create(folder / "env", with_pip=False)
    python = folder / "env" / ("Scripts" if os.name == "nt" else "bin") / "python"
    subprocess.run(  # noqa: S603 - the pip of this environment fills the other
        [sys.executable, "-m", "pip", "--python", python, "install", "-q", wheel], check=True
    )
    where = run(folder, python, "-c", "import refold_async; print(refold_async.__file__)")
    if not Path(where.strip()).is_relative_to(folder):
        sys.exit(f"not the wheel was imported, but {where}")
    with running_emulator(folder, python) as base_url:
        printed = run(folder, python, QUICKSTART, base_url=base_url)
        with urlopen(f"{base_url}/_emulator/", timeout=SECONDS) as answer:  # noqa: S310 - our own
            page = answer.read()
    if b"<title>Refold emulator</title>" not in page:
        sys.exit(f"the emulator's page is {page[:200]!r}")
    if not re.fullmatch(PRINTS, printed):
        sys.exit(f"the quickstart printed {printed!r}")
    print(f"{wheel.name}, alone in an empty environment, runs the quickstart:\n{printed}", end="")


def environment(base_url: str = "") -> dict[str, str]:
    """Only what the quickstart reads, and what a process needs to start."""
    kept = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT") if name in os.environ}
    told = {"REFOLD_API_KEY": "tk_emulator", "REFOLD_LINKED_ACCOUNT_ID": "acct_1"}
    return {**kept, **told, "REFOLD_BASE_URL": base_url}


def run(folder: Path, python: Path, *arguments: str | Path, base_url: str = "") -> str:
    """Run something in the environment, isolated from this checkout, and give what it printed."""
    ended = subprocess.run(  # noqa: S603 - our own files
        [python, "-I", *arguments],
        cwd=folder,
        env=environment(base_url),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=SECONDS,
    )
    return ended.stdout


@contextmanager
def running_emulator(folder: Path, python: Path) -> Iterator[str]:
    """Run the emulator of the environment; gives its base URL."""
    with subprocess.Popen(  # noqa: S603 - our own command
        [python, "-I", "-u", "-m", "refold_async.emulator", "--port", "0"],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None
        try:
            base_url = next((line.split()[-1] for line in child.stdout if "base URL" in line), None)
            if base_url is None:
                sys.exit("the emulator of the wheel did not start; its own words are above")
            yield base_url
        finally:
            child.terminate()


if __name__ == "__main__":
    sys.exit(main())
