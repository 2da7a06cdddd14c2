"""What a journal's file holds: its tables, a row per item, and the sum that proves it whole."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import attrs

from refold_async._checks import plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

SCHEMA_VERSION = 2

SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
CREATE TABLE items (
    key TEXT PRIMARY KEY,
    position INTEGER NOT NULL,       -- index in the input
    fingerprint TEXT NOT NULL,       -- hash of all that is sent
    tag TEXT,                        -- the instance_tag it is sent with
    findable INTEGER NOT NULL,       -- whether that tag is this item's alone, and may be looked up
    workflow_id TEXT NOT NULL,
    account TEXT,
    state TEXT NOT NULL,             -- intended, started, settled
    intended_at REAL NOT NULL,       -- local epoch seconds before it was first sent
    since REAL,                      -- the service's own time then, or earlier (NULL: unknown)
    settled_at REAL,                 -- local epoch seconds
    execution_id TEXT,
    attempts INTEGER NOT NULL,
    possible_duplicate INTEGER NOT NULL,
    outcome TEXT,
    result TEXT,                     -- JSON
    error TEXT,                      -- JSON
    request TEXT                     -- JSON, where payloads are kept
) WITHOUT ROWID;
"""


@attrs.define(eq=False, kw_only=True)
class Row:
    """One item as the journal knows it; the fields are those of the table, but for the last two."""

    key: str
    position: int
    fingerprint: str
    tag: str | None
    findable: bool = attrs.field(converter=bool)
    workflow_id: str
    account: str | None
    state: str
    intended_at: float
    since: float | None = None
    settled_at: float | None = None
    execution_id: str | None = None
    attempts: int = 0
    possible_duplicate: bool = attrs.field(default=False, converter=bool)
    outcome: str | None = None
    result: str | None = None
    error: str | None = None
    request: str | None = None
    weight: int = 0
    """What it adds to the sum as it stands in the file; 0 for one that is not there yet."""
    failed: Row | None = None
    """The row of its run that failed, of an item that is to be started anew."""


COLUMNS = [field.name for field in attrs.fields(Row)][:-2]
WRITE = (
    f"INSERT OR REPLACE INTO items ({', '.join(COLUMNS)})"  # noqa: S608 - our own names
    f" VALUES ({', '.join('?' * len(COLUMNS))})"
)
READ = f"SELECT {', '.join(COLUMNS)} FROM items"  # noqa: S608
SETTLED = f"{READ} WHERE state = 'settled' ORDER BY position"
FIND = f"{READ} WHERE key = ?"
CLAIMED = "CREATE TEMP TABLE claimed (key TEXT PRIMARY KEY) WITHOUT ROWID"
"""Keys of this batch's items; SQLite keeps them, in a file of its own where they are many."""
CLAIM = "INSERT INTO claimed VALUES (?) ON CONFLICT DO NOTHING RETURNING 1"
_UNENDED = "execution_id IS NULL AND (state != 'settled' OR outcome = 'unknown')"
_RETRIABLE = (
    f"({_UNENDED} OR (state = 'settled'"
    " AND outcome IN ('failed', 'rejected', 'unknown', 'unsent')))"
)
RETRIABLE = (
    "SELECT key, request FROM items"  # noqa: S608
    f" WHERE key > ? AND {_RETRIABLE} ORDER BY key LIMIT ?"
)
LACKING = f"SELECT 1 FROM items WHERE request IS NULL AND {_RETRIABLE} LIMIT 1"  # noqa: S608
LEFT = (
    f"SELECT count(*), sum(state = 'started' OR ({_UNENDED})) FROM items"  # noqa: S608
    " WHERE key NOT IN (SELECT key FROM claimed)"
)
WRITE_META = "INSERT OR REPLACE INTO meta VALUES (?, ?)"
_REAL = {"intended_at", "since", "settled_at"}
SUM = "sum"
"""The name under which `meta` holds the sum of all rows, its own aside."""


def values(row: Row) -> tuple[Any, ...]:
    """Give a row as SQLite gives it back: plain text, numbers of the column's kind."""
    return tuple(
        _as_stored(value, real=name in _REAL)
        for name, value in zip(COLUMNS, attrs.astuple(row, recurse=False), strict=False)
    )


def _as_stored(value: Any, *, real: bool) -> Any:
    if value is None:
        return None
    if isinstance(value, str):
        return plain(value)
    return float(value) if real else int(value)


def read_row(stored: Sequence[Any]) -> Row:
    """Make a row of what the file holds."""
    return Row(**dict(zip(COLUMNS, stored, strict=True)), weight=weigh(stored))


def weigh(stored: Sequence[Any]) -> int:
    """Give what a row adds to the sum."""
    text = repr(tuple(stored)).encode("utf-8", "backslashreplace")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest())


def total(weights: Iterable[int]) -> int:
    """Add weights up: in any order, and one at a time as rows change."""
    return sum(weights) % 2**64


def is_uncertain(row: Row) -> bool:
    """Whether a run of this row may exist whose id is not known."""
    return row.execution_id is None and (row.state != "settled" or row.outcome == "unknown")
