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
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

from refold_async._batch.journal_files import (
    APPLICATION_ID,
    CORRUPT,
    MAGIC,
    NOT_WHOLE,
    OPEN,
    check_kind,
    check_meta,
    identity,
    in_use,
    journal_error,
    journal_path,
)
from refold_async._batch.journal_rows import (
    CLAIM,
    CLAIMED,
    FIND,
    LACKING,
    LEFT,
    READ,
    RETRIABLE,
    SCHEMA,
    SCHEMA_VERSION,
    SETTLED,
    SUM,
    WRITE,
    WRITE_META,
    Row,
    is_uncertain,
    read_row,
    total,
    values,
    weigh,
)
from refold_async._clock import SystemClock, outside, to_the_end
from refold_async._errors import ConfigError, JournalError, clip
from refold_async._logs import Log

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    import aiosqlite

    from refold_async._clock import Clock

logger = Log("batch")

_GROUP = 500
"""Rows that are read at one time."""
_KNOWN = 10_000
"""Runs that are told to the reconciler, which remembers as many."""
_LOCK = 0.25
"""Seconds for a lock: `read_journal` takes one for a moment; a batch, for hours."""


class Journal:
    """An open journal: its rows, asked for one by one, and a writer.

    However many rows it has, those alone are in memory of which nobody knows whether they ran.

    Args:
        path: the file.
        clock: told when the disk is waited for.

    Attributes:
        path: the file.
        size: rows that earlier openings wrote.
        uncertain: those of them of which nobody knows whether they ran.
        known: runs of others, and their tags; the last ten thousand.
        left: rows that no item of this batch has claimed, and how many of them have no end; told
            as it is closed.
        broken: why nothing can be written any more, if so.
    """

    def __init__(self, path: str | os.PathLike[str], clock: Clock | None = None) -> None:
        self.path = journal_path(path)
        self._clock = clock or SystemClock()
        self._sum = 0  # of all rows, those that are pending included
        self.size = 0
        self.uncertain: list[Row] = []
        self.known: deque[tuple[str, str | None]] = deque(maxlen=_KNOWN)
        self.left = (0, 0)
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
            self._identity = identity(self.path)
            if self._identity is not None:
                OPEN.add(self._identity)
            self._connection = aiosqlite.connect(self.path, timeout=_LOCK)
            # Cancelled, it would go on in its thread, and close the file when others have it open.
            await to_the_end(self._connection)
            await self._read(self._connection, meta)
        except (sqlite3.Error, OSError) as error:
            await to_the_end(self.aclose())
            raise journal_error(self.path, error) from error
        except BaseException:
            await to_the_end(self.aclose())
            raise

    def _check_file(self) -> None:
        """Refuse what is no SQLite file, before SQLite touches it; make a private one if none."""
        if identity(self.path) in OPEN:
            raise in_use(self.path)
        try:
            with Path(self.path).open("rb") as file:
                head = file.read(len(MAGIC))
        except FileNotFoundError:
            # It holds the outputs of runs: for its owner alone.
            os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
            return
        if head and head != MAGIC:
            raise JournalError(
                self.path, "this file is no journal", "choose another path; it was left as it is"
            )

    async def _read(self, connection: aiosqlite.Connection, meta: dict[str, str | None]) -> None:
        await connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        await connection.execute("PRAGMA synchronous=FULL")
        await connection.execute("BEGIN EXCLUSIVE")  # and the lock stays
        kind, version = await self._pragma("application_id"), await self._pragma("user_version")
        tables = await connection.execute_fetchall("SELECT name FROM sqlite_master")
        if (kind, version) == (0, 0) and not tables:
            await self._make(connection, meta)
            await connection.execute(CLAIMED)
            return
        check_kind(self.path, kind, version)
        for (said,) in await connection.execute_fetchall("PRAGMA quick_check(1)"):
            if said != "ok":
                raise JournalError(self.path, f"it is corrupt ({clip(said, 200)})", CORRUPT)
        await self._load(connection, meta)
        await connection.execute(CLAIMED)
        # So it is known to be writable before anything is sent.
        await connection.execute(WRITE_META, (SUM, str(self._sum)))
        await connection.commit()

    async def _load(self, connection: aiosqlite.Connection, meta: dict[str, str | None]) -> None:
        """Read all of it, once it is proven whole and to be for this batch."""
        named = [*await connection.execute_fetchall("SELECT name, value FROM meta")]
        held = {name: value for name, value in named}  # noqa: C416 - sqlite rows are no pairs to mypy
        told = held.pop(SUM, None)
        self._sum = total(map(weigh, held.items()))
        async with connection.execute(READ) as cursor:
            while group := [*await cursor.fetchmany(_GROUP)]:
                for row in map(read_row, group):
                    self._note_found(row)
        if told != str(self._sum):
            raise JournalError(self.path, NOT_WHOLE, CORRUPT)
        check_meta(self.path, held, meta)

    def _note_found(self, row: Row) -> None:
        self.size += 1
        self._sum = total((self._sum, row.weight))
        if is_uncertain(row):
            self.uncertain.append(row)
        elif row.execution_id is not None:
            self.known.append((row.execution_id, row.tag))

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

    # -- reading ----------------------------------------------------------------------------

    async def claim(self, key: str) -> Row | None:
        """Give the row of an item, if an earlier opening wrote one; each key is claimed once.

        Raises:
            KeyError: it has been claimed.
            JournalError: the file can't be read.
        """
        if not await self._fetch_safely(CLAIM, key):
            raise KeyError(key)
        return await self.find(key)

    async def find(self, key: str) -> Row | None:
        """Give the row that an earlier opening wrote.

        Raises:
            JournalError: the file can't be read.
        """
        found = await self._fetch_safely(FIND, key) if self.size else ()
        return read_row(found[0]) if found else None

    async def _fetch_safely(self, statement: str, key: str) -> Sequence[Any]:
        try:
            return await self._fetch(statement, key)
        except sqlite3.Error as error:
            self.broken = journal_error(self.path, error)
            raise self.broken.fresh() from error

    async def settled(self) -> AsyncIterator[list[Row]]:
        """Give the rows of items that have ended, in the order of their places."""
        assert self._connection is not None  # noqa: S101 - it is open
        try:
            async with self._connection.execute(SETTLED) as cursor:
                while group := [*await cursor.fetchmany(_GROUP)]:
                    yield [read_row(stored) for stored in group]
        except sqlite3.Error as error:
            raise journal_error(self.path, error) from error

    async def lacks_requests(self) -> bool:
        """Tell whether it does not keep what some items asked for that may be tried again."""
        return bool(await self._fetch(LACKING))

    async def retriable(self, after: str, most: int) -> list[tuple[str, str]]:
        """Give keys and requests of items that may be tried again, in the order of their keys."""
        try:
            return [tuple(row) for row in await self._fetch(RETRIABLE, after, most)]
        except sqlite3.Error as error:
            raise journal_error(self.path, error) from error

    async def _fetch(self, statement: str, *values: Any) -> Sequence[Any]:
        assert self._connection is not None  # noqa: S101 - it is open
        with outside(self._clock):
            return [*await self._connection.execute_fetchall(statement, values)]

    async def _count_left(self) -> None:
        if self.size and self.broken is None:
            ((count, unended),) = await self._fetch(LEFT)
            self.left = count, unended or 0

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
        if self._writer is None or self._writer.done():
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
                self.broken = journal_error(self.path, error)
                group, self._pending = [*group, *self._pending], []
            for _, done in group:
                if done.done():  # who waited was cancelled
                    continue
                if self.broken is None:
                    done.set_result(None)
                else:
                    done.set_exception(self.broken.fresh())

    async def _commit(self, rows: list[tuple[Any, ...]], said: int) -> None:
        assert self._connection is not None  # noqa: S101 - `open` made it
        with outside(self._clock):
            await self._connection.executemany(WRITE, rows)
            await self._connection.execute(WRITE_META, (SUM, str(said)))
            await self._connection.commit()

    async def aclose(self) -> None:
        """Write what is pending, and let go of the file; safe to call again."""
        try:
            if self._connection is not None:
                await self._count_left()
        except sqlite3.Error as error:
            logger.info("what is left in %s can't be told: %s", self.path, error)
        # Last, so that nothing is noted between it and the end.
        while self._writer is not None and not self._writer.done():
            await self._writer
        connection, self._connection = self._connection, None
        try:
            if connection is not None:
                await connection.close()
        finally:
            if self._identity is not None:
                OPEN.discard(self._identity)
                self._identity = None
