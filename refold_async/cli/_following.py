"""Waiting for a run where people look on: live on a terminal, line by line in a pipe."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing, asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import attrs
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from refold_async import (
    Execution,
    ExecutionEvent,
    ExecutionHandle,
    ExecutionResult,
    NodeErrored,
    NodeFinished,
    NodeRetried,
    Progress,
    RefoldError,
    StatusChanged,
)
from refold_async.cli import _documents as documents
from refold_async.cli._terminal import (
    clipped,
    drawing_on,
    duration,
    emit,
    make_console,
    moves,
)
from refold_async.cli._views import reason, run_view

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from rich.console import RenderableType

_FRAMES = 10
"""A live display is drawn anew so many times per second."""
_LAST_LOOK = 5.0
"""Seconds a follower may take to see the end that the wait has seen."""


@asynccontextmanager
async def drawn(live: Live, view: Callable[[], RenderableType]) -> AsyncIterator[None]:
    """Draw a view again and again by the event loop, and a last time at the end."""

    async def draw() -> None:
        while True:
            live.update(view(), refresh=True)
            await asyncio.sleep(1 / _FRAMES)

    with live, drawing_on(live.console):
        drawing = asyncio.create_task(draw())
        try:
            yield
        finally:
            drawing.cancel()
            with suppress(asyncio.CancelledError):
                await drawing
            live.update(view(), refresh=True)


async def wait_with_progress(
    handle: ExecutionHandle[Any], *, timeout: float | None
) -> ExecutionResult[Any]:
    """Wait for a run, with one moving line on standard error if that is a terminal."""
    console = make_console(stderr=True)
    if handle.done() or not moves(console):
        return await handle.wait(timeout=timeout)
    last: list[Execution] = []

    async def follow() -> None:
        async with aclosing(handle.snapshots()) as snapshots:
            async for run in snapshots:
                last[:] = [run]

    began = time.monotonic()
    spinner = Spinner("dots" if not console.options.ascii_only else "line")

    def view() -> Spinner:
        words = last[0].describe() if last else "started"
        eta = handle.eta()
        left = f", about {duration(eta)} left" if eta else ""
        line = f"{words}, {duration(time.monotonic() - began)}{left}"
        spinner.update(text=Text(line, no_wrap=True, overflow="ellipsis"))
        return spinner

    async with drawn(Live(console=console, auto_refresh=False, transient=True), view):
        return await _wait(handle, follow(), timeout)


@attrs.define(eq=False)
class Watcher:
    """Follows one run to its end and shows what happens."""

    handle: ExecutionHandle[Any]
    interval: float
    as_json: bool = False
    _run: Execution | None = None

    async def watch(self, *, timeout: float | None) -> ExecutionResult[Any]:
        """Show the run until it ends; give how it ended.

        Args:
            timeout: seconds to wait at most.

        Raises:
            RefoldError: as `ExecutionHandle.wait`.
        """
        console = make_console()
        if self.as_json:
            return await _wait(self.handle, self._tell(self._emit), timeout)
        if not moves(console):
            return await _wait(self.handle, self._tell(self._print), timeout)

        def view() -> RenderableType:
            if self._run is None:
                return Text(f"{self.handle.execution_id}: asking where it stands")
            return run_view(self._run, console, seconds=_age(self._run), eta=self.handle.eta())

        async with drawn(Live(console=console, auto_refresh=False), view):
            return await _wait(self.handle, self._tell(lambda _: None), timeout)

    async def _tell(self, show: Callable[[ExecutionEvent], None]) -> None:
        async with aclosing(self.handle.events(interval=self.interval)) as events:
            async for event in events:
                self._run = event.execution
                show(event)

    def _emit(self, event: ExecutionEvent) -> None:
        emit(documents.of_event(event))

    def _print(self, event: ExecutionEvent) -> None:
        now = datetime.now().astimezone().strftime("%H:%M:%S")
        print(f"{now}  {in_words(event)}", flush=True)


async def _wait(
    handle: ExecutionHandle[Any], following: Awaitable[None], timeout: float | None
) -> ExecutionResult[Any]:
    """Wait for a run while another coroutine follows it; that one sees the end, too."""
    follower = asyncio.ensure_future(following)
    waiter = asyncio.ensure_future(handle.wait(timeout=timeout))
    try:
        await asyncio.wait({follower, waiter}, return_when=asyncio.FIRST_COMPLETED)
        failed = follower.done() and not follower.cancelled() and follower.exception()
        if failed and not isinstance(failed, RefoldError):
            raise failed  # a pipe that nobody reads
        result = await waiter
        await asyncio.wait({follower}, timeout=_LAST_LOOK)
        if follower.done():
            with suppress(RefoldError):
                follower.result()
        return result
    finally:
        for task in (follower, waiter):
            task.cancel()
        await asyncio.gather(follower, waiter, return_exceptions=True)


def _age(run: Execution) -> float | None:
    """Give the seconds a run takes or took, by this machine's clock while it goes on."""
    if run.created_at is None or (run.status.is_terminal and run.completed_at is None):
        return None
    until = run.completed_at or datetime.now(UTC)
    return max((until - run.created_at).total_seconds(), 0.0)


def in_words(event: ExecutionEvent) -> str:
    """Say in one line what happened."""
    if isinstance(event, StatusChanged):
        return clipped(event.status, 80)
    if isinstance(event, Progress):
        return f"{event.percentage:g} %"
    node = event.node  # type: ignore[attr-defined]
    name = clipped(node.name or node.node_id or "a node without a name", 80)
    if isinstance(event, NodeErrored):
        why = "" if node.output is None else f": {clipped(reason(node.output), 300)}"
        return f"{name} failed{why}"
    if isinstance(event, NodeRetried):
        of = "" if node.max_attempts is None else f" of {node.max_attempts}"
        return f"{name} was tried again ({node.attempts}{of} tries)"
    if isinstance(event, NodeFinished):
        took = f" in {duration(node.duration)}" if node.duration else ""
        return f"{name} finished{took}"
    return f"{name} started"
