"""What tests of batches share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def journal(tmp_path: Path) -> str:
    """The path of a journal that is not there yet."""
    return str(tmp_path / "batch.sqlite")
