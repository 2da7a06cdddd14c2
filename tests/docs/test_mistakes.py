"""The page of mistakes: each line of it is run, and says what the page says."""

from __future__ import annotations

import asyncio
import gc
import inspect
import re
import warnings
from datetime import datetime
from decimal import Decimal
from math import nan
from typing import TYPE_CHECKING, Any

import attrs
import pytest

import refold_async
from refold_async import BatchReport, ConfigError, RefoldClient
from tests.docs.conftest import DOCS

if TYPE_CHECKING:
    from pathlib import Path

PAGE = DOCS / "how-to/mistakes.md"
ROW = re.compile(
    r"^\| `(?P<code>[^`]+)` \| (?P<mark>`+) ?(?P<says>.+?) ?(?P=mark) \|$", re.MULTILINE
)
ROWS = [
    (row["code"].replace("\\|", "|"), row["says"].replace("\\|", "|"))
    for row in ROW.finditer(PAGE.read_text(encoding="utf-8"))
]


@attrs.frozen
class NewContact:
    """A payload of the page."""

    email: str


async def complaint(code: str) -> str:
    """Do what a line does, and give what is said about it; nothing is sent."""
    refold = RefoldClient(api_key="tk_1", linked_account_id="acct_1", base_url="http://127.0.0.1:9")
    names = {
        **{name: getattr(refold_async, name) for name in refold_async.__all__},
        "refold": refold,
        "report": BatchReport(all_items=()),
        "asyncio": asyncio,
        "datetime": datetime,
        "Decimal": Decimal,
        "nan": nan,
        "NewContact": NewContact,
    }
    try:
        with pytest.raises(ConfigError) as raised:
            await _done(code, names)
        assert refold.stats.requests == {}
    finally:
        await refold.aclose()
    return str(raised.value)


async def _done(code: str, names: dict[str, Any]) -> None:
    made: Any = eval(code, names)  # noqa: S307 - our own page
    if inspect.isawaitable(made):
        await made


def test_page_has_its_rows() -> None:
    """All rows are read, and there are many of them."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    assert len(ROWS) == len([line for line in lines if line.startswith("| `")]) >= 30


@pytest.mark.parametrize(("code", "says"), ROWS, ids=[code for code, _ in ROWS])
async def test_mistake_says_what_the_page_says(
    code: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message names the argument and what to do, before anything is sent or written."""
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of the await that is the mistake
        assert await complaint(code) == says
        gc.collect()
    assert re.match(r"[\w.]+: ", says)
    assert [*tmp_path.iterdir()] == []  # noqa: ASYNC240
