"""Batches whose runs are started by the workers of a Dask cluster, over real HTTP."""

from __future__ import annotations

import asyncio
import os
import pickle
from typing import TYPE_CHECKING, Any, cast

import pytest

from refold_async import BatchProgress, ConfigError, JournalError
from refold_async.dask import run_batch
from tests.http.dask.conftest import times_run
from tests.support import dasking
from tests.support.dasking import KEY, connect, requests

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from refold_async.emulator import Emulator

    Cluster = Callable[[], AbstractAsyncContextManager[Any]]

pytestmark = pytest.mark.long


async def test_workers_start_each_item_once(
    service: Emulator, cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The report, the progress and the journal are those of any batch; no secret goes through Dask.

    What goes through is pickled here as Dask does it, and searched for the key and for payloads.
    """
    journal, told = tmp_path / "batch.sqlite", list[BatchProgress]()
    monkeypatch.setenv("ONLY_HERE", "1")
    async with cluster() as client:
        sent, submit, call = list[Any](), client.submit, client.run

        def submitting(function: Any, *arguments: Any, **options: Any) -> Any:
            sent.append((function, arguments, options))
            return submit(function, *arguments, **options)

        def calling(function: Any, *arguments: Any, **options: Any) -> Any:
            sent.append((function, arguments, options))
            return call(function, *arguments, **options)

        monkeypatch.setattr(client, "submit", submitting)
        monkeypatch.setattr(client, "run", calling)
        report = await run_batch(
            requests(60),
            cluster=client,
            connect=connect,
            journal=journal,
            chunk=8,
            progress=told.append,
        )
        again = await run_batch(requests(60), cluster=client, connect=connect, journal=journal)
    assert (report.succeeded, report.total, times_run(service)) == (
        60,
        60,
        dict.fromkeys(range(60), 1),
    )
    assert [item.result.output["n"] for item in report.items() if item.result] == [*range(60)]
    assert (again.succeeded, again.resumed) == (60, 60)
    assert (told[-1].done, told[-1].started, told[-1].running) == (60, 60, 0)
    assert report.requests["execute"] == 60
    chunks = [options["key"] for _, _, options in sent if "key" in options]
    assert len(chunks) >= 8
    assert all(key.startswith("refold-starts-") for key in chunks)
    assert KEY.encode() not in b"".join(pickle.dumps(each) for each in sent)
    assert "'n'" not in repr(sent)


async def test_an_ordinary_batch_does_not_take_the_journal_of_one_on_dask(
    service: Emulator, cluster: Cluster, tmp_path: Path
) -> None:
    """It would not wait for workers that may still start what the journal only intends."""
    journal = tmp_path / "batch.sqlite"
    async with cluster() as client:
        await run_batch(requests(1), cluster=client, connect=connect, journal=journal)
    async with connect() as refold:
        with pytest.raises(JournalError, match=r"a batch with lease '15', not None"):
            await refold.run_batch(requests(1), journal=journal)
    assert times_run(service) == {0: 1}


async def test_workers_that_differ_are_refused(service: Emulator, cluster: Cluster) -> None:
    """Another account, service, key or release on a worker: nothing is sent."""
    async with cluster() as client:
        with pytest.raises(ConfigError, match=r"worker tcp.*: its linked_account_id is 'acct_\d+'"):
            await run_batch(
                requests(3), cluster=client, connect="tests.support.dasking:connect_by_place"
            )
        with pytest.raises(ConfigError, match="returned coroutine; an async function can't be"):
            await run_batch(requests(3), cluster=client, connect=cast("Any", dasking.connect_async))
    assert service.counts == {}


async def test_a_batch_that_is_stopped_calls_off_what_workers_have(
    service: Emulator, cluster: Cluster
) -> None:
    """What has left is reported with its run; the rest is unsent, and never sent."""
    from refold_async.emulator import Fault

    service.faults.always("execute", Fault(delay=0.2))
    stop = asyncio.Event()

    def progress(told: BatchProgress) -> None:
        if told.started:
            stop.set()

    async with cluster() as client:
        report = await run_batch(
            [*requests(300)], cluster=client, connect=connect, stop=stop, progress=progress
        )
    assert report.unknown == report.failed == report.rejected == 0
    assert 1 <= report.succeeded < 300
    assert len(service.runs) == report.succeeded
    assert report.unsent == 300 - report.succeeded


async def test_a_sync_item_is_rejected(service: Emulator, cluster: Cluster) -> None:
    """It would hold a worker up for as long as it runs."""
    async with cluster() as client:
        report = await run_batch(requests(1, sync=True), cluster=client, connect=connect)
    assert (report.rejected, service.counts["execute"]) == (1, 0)
    assert "leave it out" in str(report.items()[0].error)


async def test_what_the_service_refuses_is_rejected_with_its_error(
    service: Emulator, cluster: Cluster
) -> None:
    """An error crosses from the worker as it is."""
    from refold_async import BadRequestError, ExecutionRequest

    async with cluster() as client:
        report = await run_batch(
            [ExecutionRequest("wf_nobody", slug="s")], cluster=client, connect=connect
        )
    assert report.rejected == 1
    assert isinstance(report.items()[0].error, BadRequestError)
    assert os.environ["REFOLD_API_KEY"] not in str(report.items()[0].error)
