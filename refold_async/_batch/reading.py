"""A journal as it lies on the disk, while a batch has it open or afterwards.

A batch locks its journal for hours, and nobody else may open it. So it is read here without locks;
the sum of all rows says whether what was read is one moment's.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

import attrs

from refold_async._batch.journal_files import (
    CORRUPT,
    NOT_WHOLE,
    check_head,
    is_open_here,
    journal_error,
    journal_path,
)
from refold_async._batch.journal_rows import READ, SUM, Row, read_row, total, weigh
from refold_async._errors import JournalError

if TYPE_CHECKING:
    import os

_TRIES = 5
"""Readings, until one of them met no commit."""
_PAUSE = 0.05


class Taker(Protocol):
    """Takes the rows of a journal, one by one."""

    def take(self, row: Row) -> None:
        """Take one."""


T = TypeVar("T", bound=Taker)


@attrs.frozen(kw_only=True)
class Facts:
    """What is known of a journal besides its rows.

    Attributes:
        path: the file.
        in_use: whether a batch has it open.
        is_exact: whether no commit came between.
        meta: what its rows have in common.
    """

    path: str
    in_use: bool
    is_exact: bool
    meta: Mapping[str, str | None]


def read(path: str | os.PathLike[str], make: Callable[[], T]) -> tuple[Facts, T]:
    """Read a journal, and hand its rows to a taker that is made for it.

    Raises:
        ConfigError: the path is none.
        JournalError: it can't be read.
    """
    name = journal_path(path)
    if is_open_here(name):
        raise JournalError(
            name,
            "a batch of this very process has it open",
            "its progress= tells how it stands, and stop= stops it",
        )
    try:
        check_head(name)
        return _read(name, make)
    except (sqlite3.Error, OSError) as error:
        raise journal_error(name, error) from error


def _read(path: str, make: Callable[[], T]) -> tuple[Facts, T]:
    for attempt in range(1, _TRIES + 1):
        in_use, taker = is_in_use(path), make()
        try:
            meta, is_exact = _read_once(path, taker)
        except sqlite3.DatabaseError:  # it met a commit half way
            if attempt == _TRIES:
                raise
        else:
            if is_exact or (in_use and attempt == _TRIES):
                return Facts(path=path, in_use=in_use, is_exact=is_exact, meta=meta), taker
        time.sleep(_PAUSE)
    raise JournalError(path, NOT_WHOLE, CORRUPT)


def is_in_use(path: str) -> bool:
    """Tell whether a batch has the journal open, in another process.

    Where none has, SQLite mends what a kill has cut short.
    """
    uri = f"{Path(path).as_uri()}?mode=rw"
    try:
        with closing(sqlite3.connect(uri, uri=True, timeout=0.0)) as connection:
            connection.execute("SELECT count(*) FROM sqlite_master")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            return True
        raise
    return False


def _read_once(path: str, taker: Taker) -> tuple[Mapping[str, str | None], bool]:
    uri = f"{Path(path).as_uri()}?mode=ro&immutable=1"
    with closing(sqlite3.connect(uri, uri=True)) as connection:
        named = connection.execute("SELECT name, value FROM meta")
        meta: dict[str, str | None] = dict(named.fetchall())
        told = meta.pop(SUM, None)
        weight = total(map(weigh, meta.items()))
        for stored in connection.execute(READ):
            row = read_row(stored)
            weight += row.weight
            taker.take(row)
    return meta, told == str(total([weight]))
