"""The types of typed workflows hold: mypy and pyright read this module, and it runs as well."""
# pyright: strict

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict, assert_type

import attrs

from refold_async import (
    BatchItem,
    BatchReport,
    BoundWorkflow,
    ExecutionHandle,
    ExecutionRequest,
    ExecutionResult,
    RefoldClient,
    TypedWorkflow,
    workflow,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pydantic


@attrs.frozen
class NewContact:
    """What goes in."""

    email: str


@attrs.frozen
class Contact:
    """What comes out."""

    contact_id: int


class Row(TypedDict):
    """A row of a file."""

    email: str


@dataclass
class Person:
    """A dataclass."""

    name: str


CREATE = workflow("wf_1", slug="s", input=NewContact, output=Contact)


def test_workflows_have_the_types_they_were_given() -> None:
    """Classes, unions, generics and nothing at all are inferred as they are written."""
    assert_type(CREATE, TypedWorkflow[NewContact, Contact])
    maybe = workflow("wf_1", slug="s", input=Row, output=Contact | None)
    assert_type(maybe, TypedWorkflow[Row, Contact | None])
    many = workflow("wf_1", slug="s", input=None, output=list[Contact])
    assert_type(many, TypedWorkflow[None, list[Contact]])
    assert workflow("wf_1", slug="s").output is Any


async def typed_calls(refold: RefoldClient) -> None:
    """Hand the types on through all that people do; for the type checkers, and never run."""
    bound = refold.workflow(CREATE)
    assert_type(bound, BoundWorkflow[NewContact, Contact])
    assert_type(bound.for_account("a"), BoundWorkflow[NewContact, Contact])
    assert_type(
        refold.workflow("wf_1", slug="s", input=Row, output=list[Contact]),
        BoundWorkflow[Row, list[Contact]],
    )
    contact = await bound(NewContact("a"), timeout=5, sync=True)
    assert_type(contact, Contact)

    handle = await bound.execute(NewContact("a"), instance_tag="t")
    await bound(NewContact("a"), once="contact-1", once_scope="process")
    assert_type(handle, ExecutionHandle[Contact])
    assert_type(await handle, ExecutionResult[Contact])
    assert_type((await handle.wait()).output, Contact)
    assert_type(bound.handle("e1"), ExecutionHandle[Contact])
    assert_type(bound.handle(handle.ref), ExecutionHandle[Contact])
    assert_type(await handle.rerun(), ExecutionHandle[Contact])

    both = await asyncio.gather(bound(NewContact("a")), bound.execute(NewContact("b")))
    assert_type(both, tuple[Contact, ExecutionHandle[Contact]])
    assert_type(await asyncio.gather(*[handle]), list[ExecutionResult[Contact]])
    for ended in asyncio.as_completed([handle]):
        assert_type((await ended).output, Contact)
    async with asyncio.TaskGroup() as group:
        assert_type(group.create_task(bound(NewContact("a"))).result(), Contact)


async def typed_batches(refold: RefoldClient) -> None:
    """Requests, items and reports carry the type of the output."""
    bound = refold.workflow(CREATE)
    assert_type(bound.request(NewContact("a")), ExecutionRequest[Contact])
    items = refold.map(bound.request(NewContact(name)) for name in "ab")
    assert_type(items, AsyncGenerator[BatchItem[Contact]])
    async for item in items:
        assert_type(item.output, Contact)
        if item.result is not None and item.handle is not None:
            assert_type(item.result.output, Contact)
            assert_type(item.handle, ExecutionHandle[Contact])
    report = await refold.run_batch([bound.request(NewContact("a"))])
    assert_type(report, BatchReport[Contact])
    assert_type(report.items(), list[BatchItem[Contact]])


async def untyped_calls(refold: RefoldClient) -> None:
    """Without types everything is as it was: mappings in, Any out, and no brackets to write."""
    bound = refold.workflow("wf_1", slug="s")
    mapping: Mapping[str, Any] = {}
    await bound(mapping)
    handle: ExecutionHandle = await refold.execute("wf_1", slug="s")
    name: str = (await handle).output["email"]
    requests: list[ExecutionRequest] = [ExecutionRequest("wf_1", slug="s", payload={"n": 1})]
    async for item in refold.map(requests):
        name += item.request.payload["n"]


def covariant(
    handle: ExecutionHandle[bool], item: BatchItem[bool], request: ExecutionRequest[bool]
) -> tuple[ExecutionHandle[int], BatchItem[int], ExecutionRequest[int]]:
    """Who takes a handle of something takes one of its subclass."""
    return handle, item, request


async def payloads(refold: RefoldClient, row: Row, model: pydantic.BaseModel) -> None:
    """All that is a JSON object is taken for one."""
    objects: Sequence[Row | NewContact | Person | pydantic.BaseModel | Mapping[str, int]] = [
        row,
        NewContact("a"),
        Person("a"),
        model,
        {"n": 1},
    ]
    for each in objects:
        await refold.execute("wf_1", slug="s", payload=each)
        ExecutionRequest("wf_1", slug="s", payload=each)


async def mistakes(refold: RefoldClient) -> None:
    """What is wrong is marked: were it not, the marks below would be an error themselves."""
    bound = refold.workflow(CREATE)
    await bound(Contact(1))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await bound({"email": "a"})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await bound(NewContact("a"), unknown=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await refold.execute("wf_1", slug="s", payload=[1])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await refold.run("wf_1", slug="s", payload=[1])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    ExecutionRequest("wf_1", slug="s", payload="a")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    refold.map([{"n": 1}])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    refold.map("abc")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
