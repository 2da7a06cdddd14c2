"""Tables on the pages say what the tests' own tables say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.docs.tables import TABLES, shown

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(("page", "name"), TABLES, ids=lambda each: getattr(each, "stem", each))
def test_page_shows_the_table_of_the_tests(page: Path, name: str) -> None:
    """What is held by tests is what is shown: `python -m tests.docs.tables` writes it anew."""
    assert shown(page, name)[0] == TABLES[page, name]()
