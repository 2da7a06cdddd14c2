"""A Dask cluster of real processes for all tests in here, and a service that counts."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from refold_async.emulator import Emulator
from tests.support.dasking import KEY, PLACE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

WORKERS = 2


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file in which workers read where the service is."""
    return tmp_path_factory.mktemp("dask") / "place"


@pytest.fixture(scope="session")
def scheduler(place: Path) -> Iterator[str]:
    """The address of a cluster's scheduler; its workers find the key in their environment."""
    distributed = pytest.importorskip("distributed", reason="pip install 'refold-async[dask]'")
    os.environ[PLACE] = str(place)
    os.environ["REFOLD_API_KEY"] = KEY
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what Dask does with its own threads is its business
        cluster = distributed.LocalCluster(
            n_workers=WORKERS,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            silence_logs=50,
        )
        del os.environ["REFOLD_API_KEY"]
        yield cluster.scheduler_address
        cluster.close()


@pytest.fixture
async def service(place: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Emulator]:
    """A Refold whose runs take a moment."""
    monkeypatch.setenv("REFOLD_API_KEY", KEY)
    async with Emulator() as emulator:
        emulator.workflow("wf_1", slug="s", duration=0.05)(dict)
        place.write_text(emulator.base_url, encoding="utf-8")  # noqa: ASYNC240
        yield emulator


@pytest.fixture
def cluster(scheduler: str) -> Callable[[], AbstractAsyncContextManager[Any]]:
    """Give clients of the cluster."""
    from distributed import Client

    @asynccontextmanager
    async def opened() -> AsyncIterator[Any]:
        async with Client(scheduler, asynchronous=True) as client:
            await client.wait_for_workers(WORKERS)
            yield client

    return opened


def times_run(service: Emulator) -> dict[int, int]:
    """How often each item really ran."""
    return dict(sorted(Counter(run.payload["n"] for run in service.runs).items()))
