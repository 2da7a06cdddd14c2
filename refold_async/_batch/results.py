"""The results of a batch, written to a file as they come instead of being kept.

With a journal the file is its image: it is written anew when the journal is opened, all that is
settled first, and then goes on with what ends.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from refold_async._batch.journal_files import full_path, identity
from refold_async._errors import ConfigError
from refold_async._logs import Log

if TYPE_CHECKING:
    from collections.abc import Iterable

    from refold_async._batch.models import BatchItem

logger = Log("batch")


class Results:
    """A file of results.

    Attributes:
        path: where it is.
        broken: why it can't be written any more, if so.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = full_path(path, "out")
        self.broken: OSError | None = None
        self._file: IO[bytes] | None = None
        self._told: set[int] = set()  # items that are in the file already, and have not come yet

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

    def open(self) -> None:
        """Open it, empty.

        Raises:
            ConfigError: it can't be written.
        """
        try:
            self._file = Path(self.path).open("wb")  # noqa: SIM115 - see `close`
        except OSError as error:
            raise ConfigError(f"can't be written: {error}", field="out") from None

    def write(self, item: BatchItem) -> None:
        """Write an item that has come, unless it is there."""
        if item.index in self._told:
            self._told.discard(item.index)
        else:
            self.write_lines([item.document()])

    def write_lines(self, documents: Iterable[dict[str, Any]]) -> None:
        """Write lines, and hand them to the system."""
        if self._file is None or self.broken is not None:
            return
        lines = b"".join(json.dumps(each).encode() + b"\n" for each in documents)
        try:
            self._put(lines)
        except OSError as error:
            self._break(error)

    def _put(self, lines: bytes) -> None:
        assert self._file is not None  # noqa: S101 - it is open
        self._file.write(lines)
        self._file.flush()

    def skip(self, index: int) -> None:
        """Note that what is about to be told of an item is in the file, or is none of its ends."""
        self._told.add(index)

    def close(self) -> None:
        """Let go of it; safe to call again."""
        file, self._file = self._file, None
        try:
            if file is not None:
                file.close()
        except OSError as error:
            self._break(error)

    def _break(self, error: OSError) -> None:
        if self.broken is None:
            self.broken = error
            logger.error("%s can't be written any more: %s", self.path, error)
