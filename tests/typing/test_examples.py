"""What users copy passes the strict checks they may have: mypy's and pyright's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs/examples"
FOLDERS = sorted({file.parent for file in EXAMPLES.rglob("*.py")})

pytestmark = pytest.mark.long


def checked(*command: str | Path, folder: Path) -> str:
    """Run a checker in a folder; what it printed."""
    ended = subprocess.run(  # noqa: S603 - our own files
        [sys.executable, "-m", *command], cwd=folder, capture_output=True, text=True, check=False
    )
    return ended.stdout + ended.stderr


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_mypy_is_content_with_examples(folder: Path) -> None:
    """Each folder by itself, as it is run: its files find each other by name."""
    files = sorted(folder.glob("*.py"))
    options = ("--config-file", ROOT / "pyproject.toml", "--no-incremental")
    assert f"no issues found in {len(files)} source file" in checked(
        "mypy", *options, *files, folder=folder
    )


def test_pyright_is_content_with_examples_and_typed_calls() -> None:
    """Strictly, as [tool.pyright] says; `reveal_type` lines hold in its eyes too."""
    pytest.importorskip("pyright")
    project = ROOT / "pyproject.toml"  # or a configuration in a folder above would be taken
    said = checked("pyright", "-p", project, "--pythonpath", sys.executable, folder=ROOT)
    assert "0 errors, 0 warnings" in said, said
