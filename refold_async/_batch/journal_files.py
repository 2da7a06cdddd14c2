"""Files that may be journals: what they are by their first bytes, whose they are, what is wrong."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from refold_async._batch.journal_rows import SCHEMA_VERSION
from refold_async._checks import plain
from refold_async._errors import ConfigError, JournalError, clip

if TYPE_CHECKING:
    from collections.abc import Mapping

APPLICATION_ID = 0x52464C44  # "RFLD"
MAGIC = b"SQLite format 3\x00"
_HEAD = 100
"""Bytes of SQLite's header: the version a program gives it at 60, its own number at 68."""
CORRUPT = "keep it for a look by hand, and run the batch with the journal's backup, if there is one"
NOT_WHOLE = "it is corrupt (something was changed or lost beside SQLite)"

OPEN: set[tuple[int, int]] = set()
"""Journals open in this process: to open such a file once more and close it, even to look at its
first bytes, would drop the locks of all (as POSIX has it)."""


def journal_path(path: str | os.PathLike[str]) -> str:
    """Give the full path of a journal as plain text.

    Raises:
        ConfigError: it is no path.
    """
    return full_path(path, "journal")


def full_path(path: str | os.PathLike[str], field: str) -> str:
    """Give the full path of a file as plain text.

    Raises:
        ConfigError: it is no path.
    """
    try:
        name = plain(os.fsdecode(path))
    except TypeError:
        raise ConfigError(
            f"must be the path of a file, not {type(path).__name__}", field=field
        ) from None
    if "\0" in name:
        raise ConfigError(f"is no path of a file: {name!r:.80}", field=field)
    return str(Path(name).absolute())


def identity(path: str) -> tuple[int, int] | None:
    """Tell files apart, whatever their names; None for one that is not there."""
    try:
        status = Path(path).stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def is_open_here(path: str) -> bool:
    """Tell whether a batch of this process has the journal open."""
    return identity(path) in OPEN


def check_there(path: str) -> None:
    """Refuse what is no journal of an earlier batch, before it is opened.

    Raises:
        JournalError: it is none, or can't be read.
    """
    try:
        if not is_open_here(path):
            check_head(path)
    except OSError as error:
        raise journal_error(path, error) from error


def check_head(path: str) -> None:
    """Refuse what is no journal by its first bytes, before SQLite touches it.

    Raises:
        JournalError: it is none, or another release's, or not there.
        OSError: it can't be read.
    """
    try:
        with Path(path).open("rb") as file:
            head = file.read(_HEAD)
    except FileNotFoundError:
        raise JournalError(
            path, "there is none", "name the journal of a batch that has begun"
        ) from None
    if not head:
        raise JournalError(path, "nothing is in it yet", "look again once its batch has begun")
    if head[: len(MAGIC)] != MAGIC:
        raise JournalError(path, "this file is no journal", "name another; it was left as it is")
    check_kind(path, int.from_bytes(head[68:72]), int.from_bytes(head[60:64]))


def check_kind(path: str, kind: int, version: int) -> None:
    """Refuse a database of another program, or of another release.

    Raises:
        JournalError: it is one.
    """
    if kind != APPLICATION_ID:
        raise JournalError(
            path,
            "this is another program's database",
            "choose another path; it was left as it is",
        )
    if version != SCHEMA_VERSION:
        raise JournalError(
            path,
            f"it has schema version {version}, and this release writes {SCHEMA_VERSION}",
            "finish it with the release that began it, or choose another path",
        )


def check_meta(path: str, held: Mapping[str, str | None], wanted: Mapping[str, str | None]) -> None:
    """Refuse the journal of a batch at another service, or for another account.

    Raises:
        JournalError: it is one.
    """
    for name, value in wanted.items():
        if held.get(name) != value:
            raise JournalError(
                path,
                f"it belongs to a batch with {name} {held.get(name)!r}, not {value!r}",
                "use the settings of that batch, or choose another path",
            )


def in_use(path: str) -> JournalError:
    """Say that another batch has it open."""
    return JournalError(path, "another batch uses it", "wait for that batch to end, or stop it")


def journal_error(path: str, error: Exception) -> JournalError:
    """Say what an error of SQLite or of the file system means."""
    text = clip(error, 200)
    code = getattr(error, "sqlite_errorcode", None)
    if code is not None and code & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return in_use(path)
    if code is not None and code & 0xFF in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
        return JournalError(path, f"it is corrupt ({text})", CORRUPT)
    if code is not None and code & 0xFF == sqlite3.SQLITE_FULL:
        return JournalError(path, "the disk is full", "make room, then run it again")
    return JournalError(
        path,
        f"it can't be read or written ({text})",
        "see that the folder exists, is writable and has room, then run it again",
    )
