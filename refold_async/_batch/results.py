"""The results of a batch, written to a file as they come instead of being kept.

With a journal, a line is in the file before its item is settled in the journal, which remembers how
long the file was then. After a crash the file is cut to that length, and goes on from there.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import IO, TYPE_CHECKING

from refold_async._batch.journal_files import identity
from refold_async._checks import plain
from refold_async._errors import ConfigError
from refold_async._logs import Log

if TYPE_CHECKING:
    from refold_async._batch.models import BatchItem

logger = Log("batch")

INCOMPLETE = -1
"""The length of a file that does not have all that the journal knows as settled."""


class Results:
    """A file of results that is open.

    Attributes:
        path: where it is.
        goes_on: whether it has what earlier processes have settled; else they are written again.
        broken: why it can't be written any more, if so.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        try:
            self.path = str(Path(plain(os.fsdecode(path))).absolute())
        except TypeError:
            raise ConfigError(
                f"must be the path of a file, not {type(path).__name__}", field="out"
            ) from None
        self.goes_on = True
        self.broken: OSError | None = None
        self._file: IO[bytes] | None = None
        self._end = 0
        self._written: set[int] = set()  # items that are in the file and have not come yet

    def check_apart(self, journal: str, stop_file: str) -> None:
        """Refuse to write over a journal and what belongs to it, by whatever name.

        Raises:
            ConfigError: it is one of them.
        """
        taken = (journal, f"{journal}-journal", stop_file)
        here, own = os.path.realpath(self.path), identity(self.path)
        by_name = here in map(os.path.realpath, taken)
        if by_name or (own is not None and own in map(identity, taken)):
            raise ConfigError(
                "is the journal, or a file that belongs to it; give another path", field="out"
            )

    def open(self, end: int | None = None) -> None:
        """Open it, and cut it to the length it had when a journal last heard of it; None: anew.

        Raises:
            ConfigError: it can't be written.
        """
        try:
            there = Path(self.path).stat().st_size if Path(self.path).exists() else 0
            self.goes_on = end is not None and 0 <= end <= there
            self._end = end if self.goes_on and end is not None else 0
            if there and self._end == 0:
                logger.info("%s is replaced", self.path)
            self._file = Path(self.path).open("r+b" if there else "wb")  # noqa: SIM115 - see `close`
            self._file.truncate(self._end)
            self._file.seek(self._end)
        except OSError as error:
            raise ConfigError(f"can't be written: {error}", field="out") from None

    def write(self, item: BatchItem) -> None:
        """Write an item, unless it is there."""
        if item.index in self._written:
            self._written.discard(item.index)
        elif self._file is not None and self.broken is None:
            line = json.dumps(item.document()).encode() + b"\n"
            try:
                self._file.write(line)
            except OSError as error:
                self._break(error)
            self._end += len(line)

    def write_early(self, item: BatchItem) -> None:
        """Write an item before it comes."""
        self.write(item)
        self._written.add(item.index)

    def skip(self, index: int) -> None:
        """Note that an earlier process wrote an item that is about to come."""
        if self.goes_on:
            self._written.add(index)

    def flush(self) -> int:
        """Hand all that was written to the system, and give the length a journal may rely on."""
        try:
            if self._file is not None and self.broken is None:
                self._file.flush()
        except OSError as error:
            self._break(error)
        return self._end if self.goes_on and self.broken is None else INCOMPLETE

    def close(self, *, complete: bool) -> None:
        """Let go of it; safe to call again.

        Args:
            complete: whether all that the journal knows has come, and so is in the file.
        """
        file, self._file = self._file, None
        if file is None:
            return
        self.goes_on = self.goes_on or complete
        try:
            file.close()
        except OSError as error:
            self._break(error)

    def _break(self, error: OSError) -> None:
        if self.broken is None:
            self.broken = error
            logger.error("%s can't be written any more: %s", self.path, error)
