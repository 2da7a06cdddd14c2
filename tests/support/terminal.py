"""The command on a pseudo-terminal, and what a person would see there."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from typing import TYPE_CHECKING, Any, Self

import pyte

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

_PATIENCE = 120.0


class Terminal:
    """A child on a terminal of its own; `screen` is what it shows, `raw` all it has written.

    Args:
        command: what is run.
        environ: its environment.
        columns: how wide the terminal is.
        lines: how high it is.
        pipes: which of stdout and stderr are pipes instead, by name.
    """

    def __init__(
        self,
        command: Sequence[str],
        environ: Mapping[str, str],
        *,
        columns: int = 80,
        lines: int = 24,
        pipes: Sequence[str] = (),
    ) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        ends: dict[str, Any] = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
        ends |= dict.fromkeys(pipes, subprocess.PIPE)
        self.child = subprocess.Popen(  # noqa: S603 - our own command
            [*command],
            env={**environ, "TERM": "xterm-256color"},
            start_new_session=True,
            **ends,
        )
        os.close(theirs)
        self.raw = b""
        self._screen = pyte.HistoryScreen(columns, lines, history=1000)
        self._stream = pyte.ByteStream(self._screen)
        self._ended = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.child.poll() is None:
            self.child.kill()
        self.child.wait()
        for pipe in (self.child.stdout, self.child.stderr):
            if pipe is not None:
                pipe.close()
        os.close(self._ours)

    @property
    def text(self) -> str:
        """All that was written, without the terminal's own commands."""
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", self.raw.decode(errors="replace"))

    @property
    def screen(self) -> list[str]:
        """The lines a person sees, those that have scrolled away first, without empty ends."""
        width = self._screen.columns
        above = [
            "".join(line[column].data for column in range(width)).rstrip()
            for line in self._screen.history.top
        ]
        lines = [*above, *(line.rstrip() for line in self._screen.display)]
        while lines and not lines[-1]:
            lines.pop()
        return lines

    def wait_for(self, pattern: str) -> str:
        """Read until a text that matches is on the screen or was written; give the screen."""
        until = time.monotonic() + _PATIENCE
        while not re.search(pattern, "\n".join(self.screen)):
            if not self._read(until):
                raise AssertionError(f"{pattern!r} never came; seen:\n" + "\n".join(self.screen))
        return "\n".join(self.screen)

    def end(self) -> int:
        """Read to the end; give the exit code."""
        until = time.monotonic() + _PATIENCE
        while self._read(until):
            pass
        return self.child.wait(_PATIENCE)

    def type(self, text: str) -> None:
        """Type something."""
        os.write(self._ours, text.encode())

    def interrupt(self, number: int = signal.SIGINT) -> None:
        """Send what Ctrl-C sends, or another signal."""
        self.child.send_signal(number)

    def _read(self, until: float) -> bool:
        left = until - time.monotonic()
        ready, _, _ = select.select([self._ours], [], [], max(left, 0))
        if not ready:
            raise AssertionError("nothing more came in time; seen:\n" + "\n".join(self.screen))
        try:
            piece = os.read(
                self._ours, 256
            )  # a frame at most: none is missed, however late we look
        except OSError:  # how Linux says that the other end is closed
            piece = b""
        self.raw += piece
        self._stream.feed(piece)
        return bool(piece)
