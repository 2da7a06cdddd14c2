import asyncio

from refold_async import RefoldClient


async def main() -> None:
    # Reads REFOLD_API_KEY, REFOLD_LINKED_ACCOUNT_ID and REFOLD_BASE_URL.
    async with RefoldClient() as refold:
        handle = await refold.execute(
            "wf_contact", slug="demo", payload={"email": "jane@example.com"}
        )
        print("started", handle.execution_id)
        result = await handle
        print(result.status, result.output)


if __name__ == "__main__":
    asyncio.run(main())
