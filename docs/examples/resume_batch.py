"""A batch that may be killed at any moment: run the same command again, and it goes on."""

import asyncio
import sys
from collections.abc import Iterator

from refold_async import ExecutionRequest, RefoldClient, RetryPolicy


def contacts() -> Iterator[ExecutionRequest]:
    """The same items in every run, each under the same key."""
    for number in range(40):
        email = f"person{number}@example.com"
        yield ExecutionRequest("wf_contact", slug="demo", payload={"email": email}, key=email)


async def main(journal: str) -> None:
    # `safe`: nothing is sent again that may have started, unless it provably did not.
    async with RefoldClient(retry=RetryPolicy(mode="safe")) as refold:
        report = await refold.run_batch(contacts(), journal=journal)
    print(f"{report.succeeded} succeeded, {report.resumed} of them resumed")
    for item in report.items("unknown"):
        print(f"{item.key}: look for it by hand: {item.error}")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
