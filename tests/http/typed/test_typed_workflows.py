"""Typed workflows over real HTTP: what is sent, what comes back, and what if that differs."""

from __future__ import annotations

import asyncio
import gc
import io
import json
import warnings
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from refold_async import (
    ApiError,
    ConfigError,
    ExecutionFailedError,
    ExecutionRequest,
    OutputError,
    PayloadError,
    RefoldClient,
    RefoldError,
    workflow,
)
from refold_async.emulator import Emulator, NodeFailed, Respond

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    Connect = Callable[..., RefoldClient]


@attrs.frozen
class NewContact:
    """What the workflow takes."""

    email: str
    credit: Decimal = Decimal(0)


@attrs.frozen
class Contact:
    """What it gives."""

    contact_id: int
    email: str


CREATE = workflow("wf_1", slug="s", input=NewContact, output=Contact)
ODD = attrs.evolve(CREATE, workflow_id="wf_odd")


@pytest.fixture
async def service() -> AsyncIterator[Emulator]:
    """Workflows that do well, give something else, fail, and are refused by their own node."""
    async with Emulator() as emulator:

        @emulator.workflow("wf_1", slug="s", duration=0.02)
        def create(payload: dict[str, Any]) -> Any:
            return {"contact_id": 7, "email": payload["email"], "source": "crm"}

        emulator.workflow("wf_odd", slug="s", duration=0.02)(lambda _: {"contact_id": "7"})
        emulator.workflow("wf_422", slug="s")(lambda _: Respond(status=422, data={"no": "way"}))
        emulator.workflow("wf_endless", slug="s", duration=None)(dict)

        @emulator.workflow("wf_fails", slug="s")
        def fail(_: dict[str, Any]) -> Any:
            raise NodeFailed(node="Work", message="the CRM said no")

        yield emulator


def sent(service: Emulator) -> list[Any]:
    """The payloads of all starts."""
    starts = [each for each in service.requests if each.path.endswith("/execute")]
    return [each.body["payload"] for each in starts]


async def test_call_gives_the_output(service: Emulator, connect: Connect) -> None:
    """Start, wait, and the object: one line."""
    contact = await connect(service).workflow(CREATE)(NewContact("a@example.com", Decimal("1.50")))

    assert contact == Contact(7, "a@example.com")
    assert sent(service) == [{"email": "a@example.com", "credit": "1.50"}]


@pytest.mark.parametrize("sync", [False, True])
async def test_handle_reads_by_type_whoever_waits(
    service: Emulator, connect: Connect, sync: bool
) -> None:
    """The settlement is shared and stays JSON; the type is the handle's own."""
    refold = connect(service)
    handle = await refold.workflow(CREATE).execute(NewContact("a@example.com"), sync=sync)
    typed, again, plain = await asyncio.gather(
        handle, handle.wait(), refold.handle(handle.ref).result()
    )

    assert typed.output == again.output == Contact(7, "a@example.com")
    assert (
        typed.json_output
        == plain.output
        == {
            "contact_id": 7,
            "email": "a@example.com",
            "source": "crm",
        }
    )


async def test_reattached_and_rerun_handles_read_by_type(
    service: Emulator, connect: Connect
) -> None:
    """A run that another process started is read as one's own, and so is its repetition."""
    refold = connect(service)
    ref = (await refold.execute("wf_1", slug="s", payload={"email": "a@example.com"})).ref
    handle = refold.workflow(CREATE).handle(ref)

    assert (await handle).output == Contact(7, "a@example.com")
    assert (await (await handle.rerun())).output == Contact(7, "a@example.com")


async def test_run_of_another_workflow_is_no_handle_of_this_one(
    service: Emulator, connect: Connect
) -> None:
    """Its output has another type."""
    refold = connect(service)
    ref = (await refold.execute("wf_422", slug="s")).ref

    with pytest.raises(ConfigError, match="one of wf_422, not of wf_1"):
        refold.workflow(CREATE).handle(ref)


async def test_wait_without_output_reads_none(service: Emulator, connect: Connect) -> None:
    """The status is enough then, also where the output would not fit."""
    handle = await connect(service).workflow(ODD).execute(NewContact("a"))

    assert not (await handle.wait(output=False)).output_is_read


async def test_output_that_does_not_fit_is_told_with_the_run(
    service: Emulator, connect: Connect
) -> None:
    """The run happened: the error names it, and has what it returned."""
    with pytest.raises(OutputError) as raised:
        await connect(service).workflow(ODD)(NewContact("a"))

    error = raised.value
    assert error.execution_id == service.runs[0].execution_id
    assert error.result.output == {"contact_id": "7"}
    assert error.path == "$.contact_id"
    assert len(service.runs) == 1


@pytest.mark.parametrize(
    ("workflow_id", "expected"), [("wf_fails", ExecutionFailedError), ("wf_422", ApiError)]
)
async def test_run_that_fails_raises_what_it_always_does(
    service: Emulator, connect: Connect, workflow_id: str, expected: type[Exception]
) -> None:
    """A call gives the output or raises; what a failed run left is not held to the type."""
    bound = connect(service).workflow(attrs.evolve(CREATE, workflow_id=workflow_id))

    with pytest.raises(expected):
        await bound(NewContact("a"), sync=True)


async def test_wrong_payload_is_raised_where_it_is_awaited(
    service: Emulator, connect: Connect
) -> None:
    """In a gather nothing is left that was never awaited, and nothing is sent for it."""
    bound = connect(service).workflow(CREATE)
    wrong: Any = NewContact(3)  # type: ignore[arg-type]
    first, second, third = await asyncio.gather(
        bound(wrong), bound(NewContact("a")), bound.execute(wrong), return_exceptions=True
    )

    assert isinstance(first, PayloadError)
    assert isinstance(third, PayloadError)
    assert first.path == "$.email"
    assert second == Contact(7, "a")
    assert len(sent(service)) == 1


async def test_payload_is_written_when_it_is_called(service: Emulator, connect: Connect) -> None:
    """Changing it afterwards changes nothing that is sent."""
    rows = connect(service).workflow("wf_1", slug="s", input=dict[str, str])
    row = {"email": "a"}
    started = rows.execute(row)
    row["email"] = "b"
    await started

    assert sent(service) == [{"email": "a"}]


async def test_call_that_is_left_leaves_an_orphan(service: Emulator, connect: Connect) -> None:
    """The id of a run that goes on is not lost with the caller."""
    refold = connect(service)
    bound = refold.workflow("wf_endless", slug="s")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await bound({})

    assert [handle.execution_id for handle in refold.orphans] == [service.runs[0].execution_id]


async def test_requests_are_for_the_account_they_were_made_for(
    service: Emulator, connect: Connect
) -> None:
    """A request of another account's workflow is not run for the client's own."""
    refold = connect(service)
    theirs = refold.workflow(CREATE).for_account("acct_2")
    await refold.run_batch([theirs.request(NewContact("a"))])
    await theirs(NewContact("b"))
    await refold.workflow(CREATE)(NewContact("c"))

    assert [run.linked_account_id for run in service.runs] == ["acct_2", "acct_2", "acct_1"]


async def test_batch_gives_objects(service: Emulator, connect: Connect) -> None:
    """Items have the typed result and handle; their documents have what came."""
    refold = connect(service)
    bound = refold.workflow(CREATE)
    report = await refold.run_batch([bound.request(NewContact("a"), key="k")])
    (item,) = report.items()

    assert item.result is not None
    assert item.result.output == Contact(7, "a")
    assert item.handle is not None
    assert (await item.handle).output == Contact(7, "a")
    written = io.StringIO()
    report.to_jsonl(written)
    assert json.loads(written.getvalue())["output"]["source"] == "crm"


async def test_item_whose_output_does_not_fit_has_succeeded(
    service: Emulator, connect: Connect
) -> None:
    """It ran: "failed" would invite a second start. The error is there all the same."""
    refold = connect(service)
    odd, right = refold.workflow(ODD), refold.workflow(CREATE)
    report = await refold.run_batch(
        [odd.request(NewContact("a")), right.request(NewContact("b")), right.request({})]  # type: ignore[arg-type]
    )
    misfit, fine, wrong = report.items()

    assert [item.outcome for item in report.items()] == ["succeeded", "succeeded", "rejected"]
    assert isinstance(misfit.error, OutputError)
    assert misfit.result is not None
    assert misfit.result.json_output == {"contact_id": "7"}
    assert fine.error is None
    assert isinstance(wrong.error, PayloadError)
    with pytest.raises(
        ExceptionGroup, match="1 of 3 items did not succeed; the output of 1 others, which ran"
    ):
        report.raise_for_failures()


async def test_item_gives_its_output_or_says_why_there_is_none(
    service: Emulator, connect: Connect
) -> None:
    """`item.output` is never a value of another type: what the item failed with is raised."""
    refold = connect(service)
    bound = [refold.workflow(attrs.evolve(CREATE, workflow_id=name)) for name in ("wf_1", "wf_odd")]
    requests = [each.request(NewContact("a")) for each in bound]
    fine, misfit = (await refold.run_batch(requests)).items()
    started, _ = (await refold.run_batch(requests, wait=False)).items()
    unread, _ = (await refold.run_batch(requests, output=False)).items()

    assert fine.output == Contact(7, "a")
    with pytest.raises(OutputError, match="contact_id"):
        _ = misfit.output
    with pytest.raises(RefoldError, match=r"item 0 .*wait=False.*item\.handle"):
        _ = started.output
    with pytest.raises(RefoldError, match="output=False"):
        _ = unread.output


async def test_item_that_failed_raises_why_where_its_output_is_asked_for(
    service: Emulator, connect: Connect
) -> None:
    """A failed run has a result without an output: that is no None to stumble over later."""
    service.workflow("wf_bad", slug="s")(_fails)
    refold = connect(service)
    bound = refold.workflow(attrs.evolve(CREATE, workflow_id="wf_bad"))
    [item] = (await refold.run_batch([bound.request(NewContact("a"))])).items()

    assert item.result is not None
    with pytest.raises(ExecutionFailedError, match="no such contact"):
        _ = item.output


def _fails(_: dict[str, Any]) -> Any:
    raise NodeFailed(node="Work", message="no such contact")


@pytest.mark.parametrize("before", [False, True])
async def test_objects_are_checked_against_the_schema_as_they_are_sent(
    service: Emulator, connect: Connect, before: bool
) -> None:
    """`validate=True` sees the JSON, and not the object it was made of."""
    schema = {"type": "object", "properties": {"email": {"type": "string", "minLength": 3}}}
    service.workflow("wf_checked", slug="s", schema=schema)(
        lambda _: {"contact_id": 1, "email": ""}
    )
    refold = connect(service)
    bound = refold.workflow(attrs.evolve(CREATE, workflow_id="wf_checked"))
    requests = [bound.request(NewContact(email)) for email in ("a", "long")]
    if before:
        items = (await refold.run_batch(requests, validate=True)).items()
    else:
        items = [item async for item in refold.map(requests, validate=True, ordered=True)]

    assert [str(item.outcome) for item in items] == [
        "rejected",
        "unsent" if before else "succeeded",
    ]
    assert "email" in str(items[0].error)


async def test_journal_keeps_json_and_gives_objects_again(
    service: Emulator, connect: Connect, tmp_path: Path
) -> None:
    """What a journal restores is read by its type, and nothing runs twice, whatever fits."""
    refold = connect(service)

    def requests() -> list[ExecutionRequest[Contact]]:
        bound = refold.workflow(CREATE), refold.workflow(ODD)
        return [each.request(NewContact("a"), key=each.__repr__()) for each in bound]

    for _ in range(2):
        report = await refold.run_batch(requests(), journal=tmp_path / "batch.sqlite")
        fine, misfit = report.items()
        assert fine.result is not None
        assert fine.result.output == Contact(7, "a")
        assert isinstance(misfit.error, OutputError)
        assert report.succeeded == 2
    assert report.resumed == len(service.runs) == 2


async def test_types_that_are_none_are_refused(service: Emulator, connect: Connect) -> None:
    """Nothing is checked when a request is made, and no item is lost that is wrong."""
    odd: Any = "Contact"
    request = ExecutionRequest("wf_1", slug="s", payload={}, types=odd)
    (item,) = (await connect(service).run_batch([request])).items()

    assert item.outcome == "rejected"
    assert str(item.error) == "types: must be a TypedWorkflow, not 'Contact'"


async def test_execute_takes_the_same_objects(service: Emulator, connect: Connect) -> None:
    """A payload may be an object wherever a payload goes."""
    refold = connect(service)
    await refold.execute("wf_1", slug="s", payload=NewContact("a"))
    await refold.run("wf_1", slug="s", payload=NewContact("b"))
    await refold.run_batch([ExecutionRequest("wf_1", slug="s", payload=NewContact("c"))])

    assert [each["email"] for each in sent(service)] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("wf_1", {}), "slug: a workflow's id needs one beside it"),
        ((CREATE, {"slug": "s"}), "workflow: it says slug, input and output itself"),
        ((CREATE, {"output": dict}), "workflow: it says slug, input and output itself"),
        ((3, {"slug": "s"}), "workflow_id: must be a string, not int"),
    ],
)
def test_binding_says_what_is_wrong(arguments: tuple[Any, dict[str, Any]], says: str) -> None:
    """A value says all of itself, an id nothing."""
    refold = RefoldClient(api_key="tk_test", linked_account_id="acct_1")
    with pytest.raises(ConfigError, match=f"^{says}"):
        refold.workflow(arguments[0], **arguments[1])


@pytest.mark.parametrize("payload", [{"email": "a"}, {"email": 3}], ids=["right", "wrong"])
@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda r, p: r.execute("wf_1", slug="s", payload=p), "RefoldClient.execute"),
        (lambda r, p: r.run("wf_1", slug="s", payload=p), "RefoldClient.run"),
        (lambda r, p: r.execute("../", slug="s", payload=p), "RefoldClient.execute"),
        (lambda r, p: r.run("../", slug="s", payload=p), "RefoldClient.run"),
        (lambda r, p: r.workflow(CREATE)(p), "BoundWorkflow.__call__"),
        (lambda r, p: r.workflow(CREATE).execute(p), "BoundWorkflow.execute"),
    ],
)
def test_forgotten_await_names_the_call(call: Any, name: str, payload: Any) -> None:
    """The warning says what was called, and once."""
    refold = RefoldClient(api_key="tk_test", linked_account_id="acct_1")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        call(refold, payload)
        gc.collect()

    assert [str(each.message).splitlines()[0] for each in told] == [
        f"coroutine '{name}' was never awaited"
    ]


async def test_a_key_makes_calls_share_a_start(service: Emulator, connect: Connect) -> None:
    """`once`, as of `execute`: the types say so too."""
    workflow_id = "6a106ba44480b80424a65289"
    service.workflow(workflow_id, slug="s")(lambda payload: {"contact_id": 7, **payload})
    create = connect(service).workflow(attrs.evolve(CREATE, workflow_id=workflow_id))
    calls = [
        create(NewContact("jane@example.com"), once="c-1", once_scope="process") for _ in range(3)
    ]
    contacts = await asyncio.gather(*calls)

    assert [contact.contact_id for contact in contacts] == [7, 7, 7]
    assert len(service.runs) == 1
