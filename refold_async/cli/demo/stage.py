"""Where the demo's scenes are played: their clients, their figures, and how they are shown."""

from __future__ import annotations

import functools
import operator
import time
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import attrs
from rich.console import Console, Group
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from refold_async import RefoldClient, RefoldError, Stats
from refold_async.cli._terminal import moves

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


@attrs.frozen(kw_only=True)
class Row:
    """One scene that was played."""

    title: str
    happened: str
    requests: int
    seconds: float
    failed: bool = False


@attrs.define(eq=False, kw_only=True)
class Stage:
    """Plays scenes one after the other and shows them.

    Attributes:
        console: where they are shown.
        settings: the settings of every client the scenes make.
        caption: what is said below the table.
    """

    console: Console
    settings: dict[str, Any]
    caption: str = ""
    rows: list[Row] = attrs.field(factory=list)
    clients: list[RefoldClient] = attrs.field(factory=list)
    _running: Spinner | None = None
    _title: str = ""
    _began: float = attrs.field(factory=time.monotonic)

    def client(self, **settings: Any) -> RefoldClient:
        """Make a client whose requests count."""
        client = RefoldClient(**(self.settings | settings))
        self.clients.append(client)
        return client

    def stats(self) -> Stats:
        """Add up the counters of all clients."""
        return functools.reduce(operator.add, (client.stats for client in self.clients), Stats())

    @property
    def seconds(self) -> float:
        """Seconds since the stage was made."""
        return time.monotonic() - self._began

    @property
    def moves(self) -> bool:
        """Whether a spinner can be shown."""
        return moves(self.console)

    def shown(self) -> AbstractContextManager[object]:
        """Show how far the scenes are; without a terminal, nothing moves."""
        if not self.moves:
            return nullcontext()
        return Live(
            get_renderable=self._progress,
            console=self.console,
            refresh_per_second=12,
            transient=True,
        )

    async def play(self, title: str, scene: Callable[[], Awaitable[str]]) -> RefoldError | None:
        """Play one scene; an error it ends with becomes its row, and is given back."""
        self._announce(title)
        requests, seconds = _total(self.stats()), self.seconds
        error = None
        try:
            happened = await scene()
        except RefoldError as failure:
            notes = getattr(failure, "__notes__", ())
            happened = "\n".join([f"{type(failure).__name__}: {failure}", *notes])
            error = failure
        row = Row(
            title=title,
            happened=happened,
            requests=_total(self.stats()) - requests,
            seconds=self.seconds - seconds,
            failed=error is not None,
        )
        self._running = None
        self.rows.append(row)
        return error

    def note(self, progress: str) -> None:
        """Say how far the scene is, where something moves."""
        if self._running is not None:
            self._running.update(text=Text(f"{self._title}: {progress}"))

    def table(self) -> Table:
        """Draw the scenes that were played."""
        table = Table(caption=self.caption, caption_justify="left", show_lines=True)
        table.add_column("Scene", style="bold", max_width=22)
        table.add_column("What happened", ratio=1)
        table.add_column("Requests", justify="right")
        table.add_column("Seconds", justify="right")
        for row in self.rows:
            table.add_row(
                Text(row.title),
                Text(row.happened, style="red" if row.failed else ""),
                str(row.requests),
                f"{row.seconds:.1f}",
            )
        return table

    def _progress(self) -> Group:
        done = [Text(f"  {row.title}, {row.seconds:.1f} s", "dim") for row in tuple(self.rows)]
        running = self._running
        return Group(*done) if running is None else Group(*done, running)

    def _announce(self, title: str) -> None:
        if self.moves:
            self._title = title
            self._running = Spinner("dots", Text(title))
        else:
            self.console.print(Text(f"... {title}"))


def _total(stats: Stats) -> int:
    return sum(stats.requests.values())


def summary(stats: Stats) -> str:
    """Put the counters in one line."""
    by_operation = ", ".join(f"{number} {name}" for name, number in stats.requests.items())
    return (
        f"stats: {_total(stats)} requests ({by_operation}), {stats.retries} retries,"
        f" {stats.possible_duplicates} possible duplicates"
    )
