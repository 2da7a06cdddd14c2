"""A nightly batch: one journal and one report per night, and an exit code for the scheduler."""

import asyncio
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from refold_async import BatchProgress, ExecutionRequest, RefoldClient, RetryPolicy


def invoices() -> Iterator[ExecutionRequest]:
    """Pulled one by one: this could as well read a database cursor."""
    for number in range(30):
        yield ExecutionRequest(
            "wf_echo",
            slug="demo",
            payload={"invoice": number, "amount": 100},
            key=f"invoice-{number}",  # your own id: it names the item wherever it turns up
            timeout=600,
        )


def show(progress: BatchProgress) -> None:
    if progress.done % 10 == 0 and progress.done:
        print(f"{progress.done} done, {progress.failed} failed, {progress.running} running")


async def main(folder: Path) -> int:
    night = f"{datetime.now(UTC):%Y-%m-%d}"
    async with RefoldClient(retry=RetryPolicy(mode="safe")) as refold:
        report = await refold.run_batch(
            invoices(),
            journal=folder / f"{night}.sqlite",  # run again tonight, it goes on where it was
            stop_after_failures=5,  # when nothing works, don't go through all of them
            progress=show,
        )
    report.to_jsonl(folder / f"{night}.jsonl")
    print(report)
    return 0 if report.succeeded == report.total else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))))
