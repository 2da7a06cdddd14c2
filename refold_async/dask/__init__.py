"""Batches whose runs are started by the workers of a Dask cluster (needs the extra `dask`).

First see whether you need it: "Fan out over a Dask cluster" in the documentation says when you
don't, which is nearly always.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from refold_async._checks import check_count, positive_seconds
from refold_async._clock import to_the_end
from refold_async._errors import ConfigError
from refold_async._fanout import FanOut
from refold_async.dask.connecting import connected, name_of

if TYPE_CHECKING:
    import asyncio
    import os
    from collections.abc import AsyncIterable, Callable, Iterable

    from refold_async._batch import Batches, BatchProgress, BatchReport, ExecutionRequest
    from refold_async._checks import Seconds
    from refold_async._client import RefoldClient
    from refold_async._typed import Out

__all__ = ["run_batch"]

_LEAST = 1.0
"""Seconds of a lease: below that its beats would be late all the time."""
_CREW = 4
"""Workers for which starts are prepared at least: more may come."""


async def run_batch(
    requests: Iterable[ExecutionRequest[Out]] | AsyncIterable[ExecutionRequest[Out]],
    *,
    cluster: Any,
    connect: str | Callable[[], RefoldClient],
    journal: str | os.PathLike[str] | None = None,
    chunk: int = 50,
    lease: Seconds = 15.0,
    concurrency: int | None = None,
    wait: bool = True,
    output: bool = True,
    stop_after_failures: int | None = None,
    progress: Callable[[BatchProgress], object] | None = None,
    validate: bool = False,
    stop: asyncio.Event | None = None,
    timeout: Seconds | None = None,
    drain: Seconds | None = None,
    keep_payloads: bool = False,
    out: str | os.PathLike[str] | None = None,
) -> BatchReport[Out]:
    """Run many workflows and report, as `RefoldClient.run_batch`; a cluster's workers start them.

    Only the starts are the workers': this process reads the input, keeps the journal, waits for the
    runs and reports. Each worker may start runs while it has a lease, which this process renews a
    few times in it. What a worker had that is lost is looked up once it can start nothing more, and
    sent again only where it is proven that no run began: see "Fan out over a Dask cluster".

    With a journal it may be repeated after a crash, with the same input, by this function. The
    handles in the report are of a client that is closed by then: `refold.handle(item.handle.ref)`
    gives one that can be asked.

    Args:
        requests: as of `RefoldClient.run_batch`; items with `sync=True` are `rejected`.
        cluster: a `distributed.Client(..., asynchronous=True)` on this event loop.
        connect: a function at the top of an importable module that makes the `RefoldClient` of a
            process, or its name, `"module:function"`. It is called here and in each worker.
            Credentials belong into the environment of each, where `RefoldClient()` finds them: they
            are never sent to the scheduler.
        journal: as of `RefoldClient.run_batch`. It remembers that workers took part: no other batch
            takes it.
        chunk: starts that a worker gets at one time, at most.
        lease: seconds (or a timedelta) for which a worker may start runs without hearing from this
            process; the same for all batches of one journal.
        concurrency: as of `RefoldClient.run_batch`.
        wait: as of `RefoldClient.run_batch`.
        output: as of `RefoldClient.run_batch`.
        stop_after_failures: as of `RefoldClient.run_batch`.
        progress: as of `RefoldClient.run_batch`.
        validate: as of `RefoldClient.run_batch`.
        stop: as of `RefoldClient.run_batch`.
        timeout: as of `RefoldClient.run_batch`.
        drain: as of `RefoldClient.run_batch`.
        keep_payloads: as of `RefoldClient.run_batch`.
        out: as of `RefoldClient.run_batch`.

    Raises:
        ConfigError: an argument is wrong, an extra is missing, or a worker has another release,
            service, account or credential; nothing was sent.
        JournalError: the journal can't be used; nothing was sent.

    See: "Execute Workflow".
    """
    _check_cluster(cluster)
    name = name_of(connect)
    chunk = check_count(chunk, "chunk")
    seconds = _lease(lease)
    from refold_async.dask.crew import Crew  # noqa: PLC0415 - imported once the extra is there
    from refold_async.dask.resuming import HeldBackLists  # noqa: PLC0415

    async with connected(name) as refold:
        batches = refold._batches()  # noqa: SLF001 - as `RefoldClient.run_batch` itself
        crew = Crew(
            cluster,
            name,
            refold,
            chunk=chunk,
            lease=seconds,
            reads=0.5 if wait and output else 0.1,
        )
        try:
            workers = await crew.begin()
            spread = attrs.evolve(
                batches,
                prepare=crew.prepare,
                reconciler=HeldBackLists.of(batches, seconds + crew.read),
                requests_made=crew.requests_made,
                at_once=4 * chunk * max(workers, _CREW),
                meta={**batches.meta, "lease": f"{seconds:g}"},
            )
            return await _Spread(spread).run_batch(
                requests,
                journal=journal,
                concurrency=concurrency,
                wait=wait,
                output=output,
                stop_after_failures=stop_after_failures,
                progress=progress,
                validate=validate,
                stop=stop,
                timeout=timeout,
                drain=drain,
                keep_payloads=keep_payloads,
                out=out,
            )
        finally:
            await to_the_end(crew.aclose())


class _Spread(FanOut):
    """Batches whose starts are made elsewhere."""

    def __init__(self, batches: Batches) -> None:
        self._spread = batches

    def _batches(self) -> Batches:
        return self._spread


def _check_cluster(cluster: object) -> None:
    try:
        from distributed import Client  # noqa: PLC0415 - an extra
    except ImportError:
        raise ConfigError(
            "needs the extra: pip install 'refold-async[dask]'", field="cluster"
        ) from None
    if not isinstance(cluster, Client) or not cluster.asynchronous:
        raise ConfigError(
            "must be a client on this event loop: `async with"
            f" distributed.Client(address, asynchronous=True) as cluster`; got {cluster!r:.80}",
            field="cluster",
        )


def _lease(lease: Seconds) -> float:
    seconds = positive_seconds(lease, "lease")
    if seconds is None or seconds < _LEAST:
        raise ConfigError(f"must be {_LEAST:g} second or more, not {lease!r}", field="lease")
    return seconds
