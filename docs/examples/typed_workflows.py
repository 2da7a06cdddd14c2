"""A workflow with types: objects in, objects out, and an editor that knows them."""

import asyncio
from contextlib import aclosing

import attrs

from refold_async import OutputError, RefoldClient, workflow


@attrs.frozen
class NewContact:
    email: str


@attrs.frozen
class Contact:
    id: int
    email: str


# A value that needs no client: it stands beside the types, and is imported where it is used.
create_contact = workflow("wf_contact", slug="demo", input=NewContact, output=Contact)


async def main() -> None:
    async with RefoldClient() as refold:
        create = refold.workflow(create_contact)
        contact = await create(NewContact("jane@example.com"), timeout=60)
        print("made", contact)

        handle = await create.execute(NewContact("joe@example.com"))
        result = await handle
        print(result.status, result.output.email)

        people = ("ann@example.com", "bob@example.com")
        requests = (create.request(NewContact(email)) for email in people)
        async with aclosing(refold.map(requests, ordered=True)) as items:
            async for item in items:
                if item.error is None:  # else it says why there is no output
                    print(item.outcome, item.output.email)

        wrong = refold.workflow("wf_contact", slug="demo", input=NewContact, output=list[Contact])
        try:
            await wrong(NewContact("eve@example.com"))
        except OutputError as error:
            print("it ran all the same, and returned", error.result.output)


if __name__ == "__main__":
    asyncio.run(main())
