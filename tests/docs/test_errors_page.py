"""The table of errors is the tree: every class, what it carries, and nothing that isn't there."""

from __future__ import annotations

import inspect
import re
from functools import cache

import pytest

import refold_async
from refold_async import ApiError, RefoldError
from refold_async._errors import api_error_class
from tests.docs.conftest import DOCS

PAGE = DOCS / "how-to/errors.md"
ERRORS = {
    name: cls
    for name, cls in vars(refold_async).items()
    if inspect.isclass(cls) and issubclass(cls, RefoldError)
}
STATUSES = [400, 401, 403, 404, 409, 422, 429, 500, 503]


@cache
def rows() -> dict[str, list[str]]:
    """Read the table: what it says in its other columns, by error."""
    found: dict[str, list[str]] = {}
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if len(cells) == 4 and re.fullmatch(r"`\w+`", cells[0]):
            assert cells[0] not in found
            found[cells[0].strip("`")] = cells[1:]
    return found


def test_every_error_has_its_row() -> None:
    """Nobody meets an error the page doesn't know, and the page knows no other."""
    assert {*rows()} == {*ERRORS}
    assert all(all(cells) for cells in rows().values())


@pytest.mark.parametrize("name", ERRORS)
def test_row_names_only_attributes_that_exist(name: str) -> None:
    """What the page says an error carries, it carries, as its docstring says."""
    cls = ERRORS[name]
    documented = "\n".join(
        each.__doc__ or "" for each in cls.__mro__ if issubclass(each, RefoldError)
    )
    for attribute in re.findall(r"`\.(\w+)", " ".join(rows()[name])):
        assert re.search(rf"\b{attribute}\b", documented), attribute


@pytest.mark.parametrize("name", ERRORS)
def test_row_names_builtin_kin(name: str) -> None:
    """An error that code which knows no Refold catches is told as one, and no other is."""
    words = " ".join(rows()[name])
    direct = [base for base in ERRORS[name].__bases__ if not issubclass(base, RefoldError)]
    kin = [base.__name__ for base in direct if base is not Exception]
    assert re.findall(r"It is a `(\w+)` too", words) == kin


@pytest.mark.parametrize("status", STATUSES)
def test_row_of_a_status_is_that_of_its_class(status: int) -> None:
    """The statuses of the table choose the classes of the code."""
    named = [name for name, cells in rows().items() if re.search(rf"\b{status}\b", cells[0])]
    assert named == [api_error_class(status).__name__]
    assert issubclass(ERRORS[named[0]], ApiError)
