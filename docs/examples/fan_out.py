"""Ten runs at once: one `gather` starts and awaits them, the client paces the requests."""

import asyncio

from refold_async import ExecutionResult, RefoldClient


async def main() -> None:
    emails = [f"person{n}@example.com" for n in range(10)]
    async with RefoldClient() as refold:
        outcomes = await asyncio.gather(
            *(
                refold.run("wf_echo", slug="demo", payload={"email": email}, timeout=60)
                for email in emails
            ),
            return_exceptions=True,  # one failure must not hide the other nine
        )
        for email, outcome in zip(emails, outcomes, strict=True):
            if isinstance(outcome, ExecutionResult):
                print(email, outcome.status)
            else:
                print(email, "failed:", outcome)
        stats = refold.stats
        print(sum(stats.requests.values()), "requests,", stats.retries, "retries")


if __name__ == "__main__":
    asyncio.run(main())
