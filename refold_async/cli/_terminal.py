"""What reaches a terminal: consoles, lines for people, documents for machines. Nothing raw."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterator

PIPED_WIDTH = 100
"""Columns where there is no terminal to ask."""
_SAID_BY_US = ("refold.orphans", "asked to stop")
"""In log lines about what an interrupt did: the command says it, with what to do about it."""
_MINUTE, _HOUR = 60, 3600
_drawing: list[Console] = []
"""Consoles on standard error that something is drawn on just now."""


def clean(text: object, *, lines: bool = False) -> str:
    """Escape what a terminal would obey: control characters, and marks that reorder text.

    Args:
        text: what came from elsewhere.
        lines: keep line breaks.
    """
    return "".join(
        c if c.isprintable() or (lines and c == "\n") else c.encode("unicode_escape").decode()
        for c in str(text)
    )


def clipped(text: object, limit: int) -> str:
    """Give the beginning of a text, cleaned, in one line."""
    whole = str(text)
    return clean(whole) if len(whole) <= limit else f"{clean(whole[: limit - 3])}..."


def pretty(value: Any) -> str:
    """Give a JSON value in lines for people."""
    return clean(json.dumps(value, indent=2, ensure_ascii=False), lines=True)


def duration(seconds: float) -> str:
    """Give a time in the unit that suits it: `2.3 s`, `2 min 05 s`, `3 h 10 min`."""
    if seconds < _MINUTE - 0.05:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < _HOUR:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def make_console(*, stderr: bool = False) -> Console:
    """Give the console on standard output, or on standard error."""
    # rich's own NO_COLOR leaves dim and bold letters, which are hard to read on some terminals.
    plain = bool(os.environ.get("NO_COLOR"))
    console = Console(
        highlight=False, stderr=stderr, color_system=None if plain else "auto", no_color=plain
    )
    if not console.file.isatty():
        console.width = PIPED_WIDTH
    return console


def moves(console: Console) -> bool:
    """Tell whether something can be redrawn there; FORCE_COLOR makes no terminal of a pipe."""
    return console.is_interactive and console.file.isatty()


def say(message: str) -> None:
    """Tell people something, on standard error; a live display is not disturbed.

    A line is never broken, since commands in it are there to be copied. If it can't be written,
    nobody is told, and what was going on goes on.
    """
    try:
        if _drawing:
            _drawing[-1].print(Text(message), soft_wrap=True)
        else:
            print(message, file=sys.stderr, flush=True)
    except OSError:
        _abandon(sys.stderr)


@contextmanager
def drawing_on(console: Console) -> Iterator[None]:
    """Have what people are told stand above what is drawn on a console."""
    _drawing.append(console)
    try:
        yield
    finally:
        _drawing.remove(console)


def complain(message: str) -> None:
    """Tell people what is wrong."""
    say(f"refold: {message}")


def emit(document: Any) -> None:
    """Give machines one document in one line, in ASCII, so that nothing in it acts."""
    print(json.dumps(document), flush=True)


def prepare_streams() -> None:
    """Have streams that write whatever there is, and the SDK's warnings told as ours."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
    logger = logging.getLogger("refold_async")
    if not _handlers():
        logger.addHandler(_Told())


def read_stdin() -> bytes:
    """Read all of standard input; it is empty if it is closed."""
    return b"" if sys.stdin is None else sys.stdin.buffer.read()


def abandon_stdout() -> None:
    """Write no more to a pipe that nobody reads, nor when the process ends."""
    _abandon(sys.stdout)


def _abandon(stream: TextIO) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


class _Told(logging.Handler):
    """Tells what the SDK logs: each complaint once, and in the end how many were like it."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._likes: Counter[str] = Counter()
        self._first: dict[str, str] = {}

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if any(known in message for known in _SAID_BY_US):
            return
        kind = str(record.msg)
        if kind in self._first:
            self._likes[kind] += 1
            return
        self._first[kind] = message
        complain(clean(message))

    def tell_likes(self) -> None:
        """Tell how many complaints were like one that was told, and begin anew."""
        for kind, count in self._likes.items():
            times = "once more" if count == 1 else f"{count:,} times more"
            complain(f"{times}, about others: {clipped(self._first[kind], 120)}")
        self._likes.clear()
        self._first.clear()

    def has_told(self, message: str) -> bool:
        """Whether a complaint had these words in it."""
        return any(message in told for told in self._first.values())


def tell_likes() -> None:
    """Tell how many of the SDK's complaints were like those that were told."""
    for handler in _handlers():
        handler.tell_likes()


def was_told(message: str) -> bool:
    """Whether the SDK has complained in these words, and people were told."""
    return any(handler.has_told(message) for handler in _handlers())


def _handlers() -> list[_Told]:
    found = logging.getLogger("refold_async").handlers
    return [handler for handler in found if isinstance(handler, _Told)]
