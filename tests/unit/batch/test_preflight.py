"""Payloads against schemas of every kind, those that are none included."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from refold_async import ExecutionRequest, NotFoundError, PayloadError, RequestStructure
from refold_async._batch.preflight import Preflight


def reading(schema: Any) -> tuple[Preflight, list[Any]]:
    """A preflight for which every workflow has this schema, and what it asked for."""
    asked: list[Any] = []

    async def structure(workflow_id: str, account: str | None) -> RequestStructure:
        asked.append((workflow_id, account))
        await asyncio.sleep(0)
        return RequestStructure(schema=schema)

    return Preflight(structure), asked


def request(payload: Any = None, **options: Any) -> ExecutionRequest:
    """A request with a payload."""
    return ExecutionRequest("wf_1", slug="s", payload=payload, **options)


async def test_the_complaint_names_item_and_path() -> None:
    """The most telling of several complaints, without the value, which is the customer's."""
    price = {"type": "number"}
    items = {"type": "array", "items": {"type": "object", "properties": {"price": price}}}
    preflight, _ = reading({"properties": {"items": items}})
    payload = {"items": [{"price": 1}, {"price": "x" * 1000 + "\x1b"}]}
    with pytest.raises(PayloadError) as caught:
        await preflight.check("invoice 7", request(payload))
    assert caught.value.path == "$.items[1].price"
    assert str(caught.value) == (
        'payload: item invoice 7: a `str` does not fit {"type": "number"} (at $.items[1].price)'
    )


@pytest.mark.parametrize(
    "schema",
    [
        {"enum": ["a"]},
        {"const": 1},
        {"pattern": "^a"},
        {"format": "date", "maxLength": 1},
        {"anyOf": [{"type": "integer"}, {"pattern": "^a"}]},
        {"not": {"type": "string"}},
        {"enum": ["x" * 1000 + "\x1b"]},
        False,
    ],
)
async def test_no_complaint_quotes_the_value(schema: Any) -> None:
    """Each keyword has words of its own, and most of them would; ours fit a line of a log."""
    preflight, _ = reading({"properties": {"n": schema}})
    with pytest.raises(PayloadError, match="item 0: a `str` ") as caught:
        await preflight.check("0", request({"n": "SECRET"}))
    assert "SECRET" not in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500


async def test_a_missing_payload_is_an_empty_one() -> None:
    """As it is sent."""
    preflight, _ = reading({"type": "object", "required": ["email"]})
    with pytest.raises(PayloadError, match="'email' is a required property"):
        await preflight.check("0", request())


async def test_a_schema_is_read_once_per_workflow_and_account() -> None:
    """However many items ask at one time."""
    preflight, asked = reading({"type": "object"})
    await asyncio.gather(*(preflight.check(str(n), request({})) for n in range(10)))
    await preflight.check("10", request({}, linked_account_id="acct_2"))
    assert asked == [("wf_1", None), ("wf_1", "acct_2")]


async def test_who_is_cancelled_does_not_take_the_schema_from_others() -> None:
    """The reading goes on for those who still wait."""
    preflight, asked = reading({"type": "object"})
    gone = asyncio.ensure_future(preflight.check("0", request({})))
    stays = asyncio.ensure_future(preflight.check("1", request({})))
    await asyncio.sleep(0)
    gone.cancel()
    await stays
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("schema", "complaint"),
    [
        pytest.param({"type": 7}, "is none", id="no schema"),
        pytest.param({"$ref": "http://127.0.0.1:9/x"}, "can't be checked", id="elsewhere"),
        pytest.param({"properties": {"n": {"pattern": "("}}}, "", id="no pattern"),
        pytest.param({"$ref": "#"}, "can't be checked", id="endless"),
    ],
)
async def test_a_schema_that_can_not_be_used_checks_nothing_and_says_so(
    schema: Any, complaint: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is fetched for it; the service has the last word."""
    preflight, _ = reading(schema)
    await preflight.check("0", request({"n": "x"}))
    assert complaint in "".join(record.getMessage() for record in caplog.records)
    assert len(caplog.records) == 1


async def test_no_schema_checks_nothing() -> None:
    """Null is what the service says for a workflow without one."""
    preflight, _ = reading(None)
    await preflight.check("0", request({"n": "x"}))


async def test_closing_ends_a_reading() -> None:
    """A batch that is left does not wait for it."""

    async def structure(workflow_id: str, account: str | None) -> RequestStructure:
        if workflow_id == "wf_1":
            await asyncio.sleep(3600)
        raise NotFoundError("no such workflow", status=404)

    preflight = Preflight(structure)
    waiting = asyncio.ensure_future(preflight.check("0", request({})))
    await asyncio.sleep(0)
    await preflight.aclose()
    with pytest.raises(asyncio.CancelledError):
        await waiting
