"""What a deployment's documentation leaves open is one value."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from refold_async import ConfigError, Dialect, ExecutionRequest, RefoldClient
from refold_async.emulator import Behaviour, Emulator
from tests.support.wire import STARTS, wire

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Connect = Callable[..., RefoldClient]

WRAPPED, BARE = Dialect(), Dialect(body="bare")
PAYLOAD = {"payload": {"a": 1}, "pair": [1, 2]}
SCHEMA = {"type": "object", "properties": {"pair": {"type": "array"}}, "required": ["pair"]}


def playing(body: Any) -> Emulator:
    """Give an emulator that takes bodies of one form."""
    emulator = Emulator(behaviour=Behaviour(execute_body=body))
    emulator.workflow("wf_1", slug="s", schema=SCHEMA)(dict)
    return emulator


@pytest.mark.parametrize(
    ("dialect", "body"),
    [
        pytest.param(WRAPPED, {"payload": PAYLOAD}, id="wrapped"),
        pytest.param(BARE, PAYLOAD, id="bare"),
    ],
)
async def test_the_body_is_as_the_dialect_has_it(
    connect: Connect, dialect: Dialect, body: Any
) -> None:
    """Views of the client speak as it does."""
    async with wire(STARTS) as server:
        refold = connect(server, dialect=dialect)
        await refold.execute("wf_1", slug="s", payload=PAYLOAD)
        await refold.for_account("acct_2").execute("wf_1", slug="s", payload=PAYLOAD)
    assert [json.loads(seen.body) for seen in server.seen] == [body, body]


@pytest.mark.parametrize(("dialect", "form"), [(WRAPPED, "wrapped"), (BARE, "bare")])
async def test_payloads_are_checked_as_they_go_out(
    connect: Connect, dialect: Dialect, form: str
) -> None:
    """In either dialect, and a tuple as the list it becomes."""
    async with playing(form) as emulator:
        requests = [
            ExecutionRequest("wf_1", slug="s", payload={**PAYLOAD, "pair": (1, 2)}),
            ExecutionRequest("wf_1", slug="s", payload={"payload": {"pair": [1]}}),
        ]
        refold = connect(emulator, dialect=dialect)
        items = [item async for item in refold.map(requests, validate=True, ordered=True)]
        runs = [run.payload for run in emulator.runs]
    assert [str(item.outcome) for item in items] == ["succeeded", "rejected"]
    assert runs == [PAYLOAD]


async def test_a_journal_goes_on_after_the_dialect_was_put_right(
    connect: Connect, tmp_path: Path
) -> None:
    """What was refused for its form is tried again; what ran is the same item."""
    journal = tmp_path / "batch.sqlite"
    requests = [ExecutionRequest("wf_1", slug="s", payload=PAYLOAD)]
    async with playing("bare") as emulator:
        first = await connect(emulator, dialect=BARE).run_batch(requests, journal=journal)
        again = await connect(emulator, dialect=WRAPPED).run_batch(requests, journal=journal)
        assert (first.succeeded, again.succeeded, again.resumed) == (1, 1, 1)
        assert len(emulator.runs) == 1


def test_a_dialect_that_nobody_speaks_is_refused() -> None:
    """By the name of the field."""
    with pytest.raises(ConfigError, match=r"Dialect.body: must be one of wrapped, bare"):
        Dialect(body="xml")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="dialect: must be a Dialect"):
        RefoldClient(api_key="tk", dialect="bare")  # type: ignore[arg-type]
