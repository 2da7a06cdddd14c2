"""A batch's memory on disk: one SQLite file, one row per item, durable before anything goes on.

Rows are written whole. All that is to be written at one time goes into one transaction, so that a
disk that takes milliseconds to be sure does not slow many items down. The file is locked for as
long as it is open, and nothing of a file that is no journal of ours is ever changed.

Each commit ends in the file itself, in SQLite's oldest way: a write-ahead log beside it could be
lost, and the file would look as if nothing had happened. Only what a kill interrupts stands in a
file beside it (`-journal`). Should that be lost, or a byte change anywhere, the sum of all rows
tells.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from refold_async._batch.journal_rows import (
    READ,
    SCHEMA,
    SCHEMA_VERSION,
    SUM,
    WRITE,
    WRITE_META,
    Row,
    read_row,
    total,
    values,
    weigh,
)
from refold_async._checks import plain
from refold_async._clock import to_the_end
from refold_async._errors import ConfigError, JournalError, clip
from refold_async._logs import Log

if TYPE_CHECKING:
    import aiosqlite

logger = Log("batch")

APPLICATION_ID = 0x52464C44  # "RFLD"
_MAGIC = b"SQLite format 3\x00"

_CORRUPT = (
    "keep it for a look by hand, and run the batch with the journal's backup, if there is one"
)

_OPEN: set[tuple[int, int]] = set()
"""Journals open in this process: to open such a file once more and close it, even to look at its
first bytes, would drop the locks of all (as POSIX has it)."""


class Journal:
    """An open journal: its rows as they were found, and a writer.

    Attributes:
        path: the file.
        rows: what earlier openings wrote, by key.
        broken: why nothing can be written any more, if so.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        try:
            self.path = str(Path(plain(os.fsdecode(path))).absolute())
        except TypeError:
            raise ConfigError(
                f"must be the path of a file, not {type(path).__name__}", field="journal"
            ) from None
        self._sum = 0  # of all rows, those that are pending included
        self.rows: dict[str, Row] = {}
        self.broken: JournalError | None = None
        self._connection: aiosqlite.Connection | None = None
        self._pending: list[tuple[tuple[Any, ...], asyncio.Future[None]]] = []
        self._writer: asyncio.Task[None] | None = None
        self._identity: tuple[int, int] | None = None

    # -- opening -----------------------------------------------------------------------------

    async def open(self, meta: dict[str, str | None]) -> None:
        """Open the file, or make it, and read what it holds.

        Args:
            meta: what batches of one journal have in common: a journal that was made for something
                else is refused.

        Raises:
            ConfigError: the extra is missing.
            JournalError: the file can't be used.
        """
        try:
            import aiosqlite  # noqa: PLC0415 - an extra
        except ImportError:
            raise ConfigError(
                "needs the extra: pip install 'refold-async[batch]'", field="journal"
            ) from None
        try:
            self._check_file()
            self._identity = _identity(self.path)
            if self._identity is not None:
                _OPEN.add(self._identity)
            # Errors at once instead of waiting for a lock that is held for hours.
            self._connection = aiosqlite.connect(self.path, timeout=0.0)
            # Cancelled, it would go on in its thread, and close the file when others have it open.
            await to_the_end(self._connection)
            await self._read(self._connection, meta)
        except (sqlite3.Error, OSError) as error:
            await to_the_end(self.aclose())
            raise self._error(error) from error
        except BaseException:
            await to_the_end(self.aclose())
            raise

    def _check_file(self) -> None:
        """Refuse what is no SQLite file, before SQLite touches it; make a private one if none."""
        if _identity(self.path) in _OPEN:
            raise self._in_use()
        try:
            with Path(self.path).open("rb") as file:
                head = file.read(len(_MAGIC))
        except FileNotFoundError:
            # It holds the outputs of runs: for its owner alone.
            os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
            return
        if head and head != _MAGIC:
            self._refuse("this file is no journal", "choose another path; it was left as it is")

    def _in_use(self) -> JournalError:
        return JournalError(
            self.path, "another batch uses it", "wait for that batch to end, or stop it"
        )

    async def _read(self, connection: aiosqlite.Connection, meta: dict[str, str | None]) -> None:
        await connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        await connection.execute("PRAGMA synchronous=FULL")
        await connection.execute("BEGIN EXCLUSIVE")  # and the lock stays
        kind, version = await self._pragma("application_id"), await self._pragma("user_version")
        tables = await connection.execute_fetchall("SELECT name FROM sqlite_master")
        if (kind, version) == (0, 0) and not tables:
            await self._make(connection, meta)
            return
        if kind != APPLICATION_ID:
            self._refuse(
                "this is another program's database", "choose another path; it was left as it is"
            )
        if version != SCHEMA_VERSION:
            self._refuse(
                f"it has schema version {version}, and this release writes {SCHEMA_VERSION}",
                "finish it with the release that began it, or choose another path",
            )
        for (said,) in await connection.execute_fetchall("PRAGMA quick_check(1)"):
            if said != "ok":
                self._refuse(f"it is corrupt ({clip(said, 200)})", _CORRUPT)
        await self._load(connection, meta)
        # So it is known to be writable before anything is sent.
        await connection.execute(WRITE_META, (SUM, str(self._sum)))
        await connection.commit()

    async def _load(self, connection: aiosqlite.Connection, meta: dict[str, str | None]) -> None:
        """Read all of it, once it is proven whole and to be for this batch."""
        named = [*await connection.execute_fetchall("SELECT name, value FROM meta")]
        held = {name: value for name, value in named}  # noqa: C416 - sqlite rows are no pairs to mypy
        stored = [*await connection.execute_fetchall(READ)]
        told = held.pop(SUM, None)
        self._sum = total(map(weigh, [*held.items(), *stored]))
        if told != str(self._sum):
            self._refuse("it is corrupt (something was changed or lost beside SQLite)", _CORRUPT)
        for name, wanted in meta.items():
            if held.get(name) != wanted:
                self._refuse(
                    f"it belongs to a batch with {name} {held.get(name)!r}, not {wanted!r}",
                    "use the settings of that batch, or choose another path",
                )
        self.rows = {row.key: row for row in map(read_row, stored)}

    async def _make(self, connection: aiosqlite.Connection, meta: dict[str, str | None]) -> None:
        """Make the tables, in the transaction that is open: a kill leaves all of them or none."""
        for statement in SCHEMA.split(";")[:-1]:
            await connection.execute(statement)
        held = {**meta, "created_at": str(time.time())}
        self._sum = total(map(weigh, held.items()))
        await connection.executemany(WRITE_META, [*held.items(), (SUM, str(self._sum))])
        await connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
        await connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        await connection.commit()

    async def _pragma(self, name: str) -> Any:
        assert self._connection is not None  # noqa: S101 - `open` made it
        (row,) = await self._connection.execute_fetchall(f"PRAGMA {name}")
        return row[0]

    @property
    def closed(self) -> bool:
        """Whether nothing can be written, because it is not open."""
        return self._connection is None

    # -- writing -----------------------------------------------------------------------------

    async def write(self, row: Row) -> None:
        """Write a row as it is now; it is on disk when this returns.

        Cancelling it does not take the row back.

        Raises:
            JournalError: it can't be written, and nothing can from now on.
        """
        await self._queue(row)

    def note(self, row: Row) -> None:
        """Have a row written before the journal is closed, without waiting for it."""
        self._queue(row).add_done_callback(lambda done: done.cancelled() or done.exception())

    def _queue(self, row: Row) -> asyncio.Future[None]:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        if self.broken is not None:
            done.set_exception(self.broken.fresh())
            return done
        stored = values(row)
        change, row.weight = -row.weight, weigh(stored)
        self._sum = total((self._sum, change, row.weight))
        self._pending.append((stored, done))
        if self._writer is None:
            self._writer = loop.create_task(self._write_all())
        return done

    async def _write_all(self) -> None:
        """Write what is pending until nothing is: what comes meanwhile shares the next commit."""
        while self._pending:
            group, self._pending = self._pending, []
            try:
                await self._commit([stored for stored, _ in group], self._sum)
            except Exception as error:
                if not isinstance(error, sqlite3.Error):
                    logger.exception("the journal %s broke", self.path)
                self.broken = self._error(error)
                group, self._pending = [*group, *self._pending], []
            for _, done in group:
                if done.done():  # who waited was cancelled
                    continue
                if self.broken is None:
                    done.set_result(None)
                else:
                    done.set_exception(self.broken.fresh())
        self._writer = None

    async def _commit(self, rows: list[tuple[Any, ...]], said: int) -> None:
        assert self._connection is not None  # noqa: S101 - `open` made it
        await self._connection.executemany(WRITE, rows)
        await self._connection.execute(WRITE_META, (SUM, str(said)))
        await self._connection.commit()

    async def aclose(self) -> None:
        """Write what is pending, and let go of the file; safe to call again."""
        if self._writer is not None:
            await self._writer
        connection, self._connection = self._connection, None
        try:
            if connection is not None:
                await connection.close()
        finally:
            if self._identity is not None:
                _OPEN.discard(self._identity)
                self._identity = None

    # -- errors ------------------------------------------------------------------------------

    def _refuse(self, problem: str, remedy: str) -> NoReturn:
        raise JournalError(self.path, problem, remedy)

    def _error(self, error: Exception) -> JournalError:
        """Say what an error of SQLite or of the file system means."""
        text = clip(error, 200)
        code = getattr(error, "sqlite_errorcode", None)
        if code is not None and code & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            return self._in_use()
        if code is not None and code & 0xFF in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
            return JournalError(self.path, f"it is corrupt ({text})", _CORRUPT)
        if code is not None and code & 0xFF == sqlite3.SQLITE_FULL:
            return JournalError(self.path, "the disk is full", "make room, then run it again")
        return JournalError(
            self.path,
            f"it can't be read or written ({text})",
            "see that the folder exists, is writable and has room, then run it again",
        )


def _identity(path: str) -> tuple[int, int] | None:
    """Tell files apart, whatever their names; None for one that is not there."""
    try:
        status = Path(path).stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
