"""A batch whose runs are started by the workers of a Dask cluster."""

import asyncio
import sys
from collections.abc import Iterator

from distributed import Client, LocalCluster

from refold_async import BatchProgress, ExecutionRequest, RefoldClient, RetryPolicy
from refold_async.dask import run_batch


def connect() -> RefoldClient:
    # Called in each worker, and here: what it needs is in the environment of each.
    return RefoldClient(retry=RetryPolicy(mode="safe"))


def contacts() -> Iterator[ExecutionRequest]:
    """The same items in every run, each under the same key."""
    for number in range(40):
        email = f"person{number}@example.com"
        yield ExecutionRequest("wf_contact", slug="demo", payload={"email": email}, key=email)


def show(progress: BatchProgress) -> None:
    if progress.done % 20 == 0:
        print(f"{progress.done} done, {progress.running} running")


async def main(journal: str) -> None:
    async with (
        # In real life: Client("tcp://scheduler:8786", asynchronous=True), and no LocalCluster.
        LocalCluster(n_workers=2, dashboard_address=":0", asynchronous=True) as local,
        Client(local, asynchronous=True) as cluster,
    ):
        report = await run_batch(
            contacts(),
            cluster=cluster,
            connect="dask_batch:connect",
            journal=journal,
            progress=show,
        )
    print(f"{report.succeeded} succeeded, {report.resumed} of them resumed")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
