"""Text that is no plain `str` goes out by its value, whatever it says when it is printed."""

from __future__ import annotations

import contextlib
import json
from enum import Enum, IntEnum, StrEnum
from typing import TYPE_CHECKING, Any

import pytest

from refold_async import (
    ExecutionRef,
    ExecutionRequest,
    PollPolicy,
    RefoldClient,
    RefoldError,
    RetryPolicy,
)
from tests.support.wire import STARTS, wire

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

VALUE = "6a106ba44480b80424a65289"


class Env(str, Enum):  # noqa: UP042 - the kind that prints its name
    """An enum as many people write it: `str(Env.PROD)` is "Env.PROD"."""

    PROD = VALUE


class Liar(str):
    """Text that says something else in every way it can be asked."""

    __slots__ = ()

    def __str__(self) -> str:
        return "LIE"

    def __repr__(self) -> str:
        return "LIE"

    def __format__(self, spec: str) -> str:
        return "LIE"

    def __len__(self) -> int:
        return 3

    def encode(self, *_: Any) -> bytes:
        """Lie in bytes too."""
        return b"LIE"


class Folded(str):
    """Text that equals any other spelling of itself, and has the same hash."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and self.lower() == other.lower()

    def __hash__(self) -> int:
        return hash(self.lower())


def filled(thing: Any, value: Any) -> Any:
    """Give a thing with the value in the place of `...`."""
    if isinstance(thing, dict):
        return {key: filled(one, value) for key, one in thing.items()}
    if isinstance(thing, list):
        return [filled(one, value) for one in thing]
    return value if thing is ... else thing


def like(value: Any, text: str) -> Any:
    """Give another text of the same kind as a value."""
    if isinstance(value, Enum):
        return Enum("Env", {"PROD": text}, type=str).PROD  # type: ignore[attr-defined]
    return type(value)(text)


ODD = pytest.mark.parametrize("odd", [Env.PROD, Liar(VALUE)], ids=["enum", "liar"])


async def _all(items: Any) -> None:
    async for _ in items:
        pass


def execute(**arguments: Any) -> Callable[[RefoldClient, Any], Awaitable[Any]]:
    """Start a run with the value in the place of `...`."""

    def call(refold: RefoldClient, value: Any) -> Awaitable[Any]:
        given = {"workflow_id": "wf_1", "slug": "s", "instance_tag": "t", **arguments}
        given = {name: filled(one, value) for name, one in given.items()}
        return refold.execute(given.pop("workflow_id"), **given)

    return call


def batch(**arguments: Any) -> Callable[[RefoldClient, Any], Awaitable[Any]]:
    """Start a run of a batch with the value in the place of `...`."""

    def call(refold: RefoldClient, value: Any) -> Awaitable[Any]:
        given = {"slug": "s", "instance_tag": "t", "workflow_id": "wf_1", **arguments}
        given = {name: filled(one, value) for name, one in given.items()}
        return refold.run_batch([ExecutionRequest(**given)], wait=False)

    return call


CALLS: dict[str, Callable[[RefoldClient, Any], Awaitable[Any]]] = {
    "workflow_id": execute(workflow_id=...),
    "slug": execute(slug=...),
    "account": execute(linked_account_id=...),
    "config_id": execute(config_id=...),
    "tag": execute(instance_tag=...),
    "unique tag": execute(instance_tag=..., unique_tag=True),
    "run": lambda r, v: r.run(v, slug=v, linked_account_id=v, instance_tag=v, timeout=0.5),
    "for_account": lambda r, v: r.for_account(v).execute("wf_1", slug="s", instance_tag="t"),
    "handle": lambda r, v: r.handle(v, linked_account_id=v).fetch(),
    "handle stop": lambda r, v: r.handle(v).stop(),
    "handle rerun": lambda r, v: r.handle(v).rerun(),
    "handle wait": lambda r, v: r.handle(v).wait(timeout=0.5),
    "ref": lambda r, v: r.handle(ExecutionRef(execution_id=v, linked_account_id=v)).fetch(),
    "ref rerun": lambda r, v: r.handle(ExecutionRef(execution_id=v, workflow_id=v, slug=v)).rerun(),
    "find": lambda r, v: r.find(v, workflow_id=v, linked_account_id=v),
    "check_reconcile": lambda r, v: r.check_reconcile(v),
    "get": lambda r, v: r.executions.get(v),
    "response": lambda r, v: r.executions.response(v),
    "stop": lambda r, v: r.executions.stop(v),
    "rerun": lambda r, v: r.executions.rerun(v),
    "batches": lambda r, v: _all(r.executions.batches(v, v)),
    "list": lambda r, v: _all(
        r.executions.list(
            status=like(v, "RUNNING"),
            workflow_id=v,
            workflow_name=v,
            execution_id=v,
            slug=v,
            start_date=like(v, "2026-06-16T13:15:00Z"),
            end_date=like(v, "2026-06-17"),
            execution_type=like(v, "SYNC"),
            execution_source=v,
        )
    ),
    "workflows": lambda r, v: _all(r.workflows.list(slug=v, name=v, scope=like(v, "private"))),
    "structure": lambda r, v: r.workflows.request_structure(v),
    "session token": lambda r, v: r.session_tokens.create(v),
    "batch": batch(workflow_id=..., slug=..., linked_account_id=..., config_id=..., key=...),
    "batch tag": batch(instance_tag=..., unique_tag=True),
    "payload": execute(payload={"a": ..., "b": [...]}),
}


async def sent(call: Callable[[RefoldClient, Any], Awaitable[Any]], value: Any) -> list[Any]:
    """Give what a call put on the wire."""
    async with wire(STARTS) as server, client(server.base_url) as refold:
        with contextlib.suppress(RefoldError):  # the script answers everything alike
            await call(refold, value)
        seen = [*server.seen, *server.listed]
    return [(s.method, s.target, {**s.headers, "host": ""}, s.body) for s in seen]


def client(base_url: str, **settings: Any) -> RefoldClient:
    """Give a client that tries once."""
    defaults: dict[str, Any] = {
        "api_key": "tk_1",
        "linked_account_id": "acct_1",
        "retry": RetryPolicy(mode="never"),
        "polling": PollPolicy(first=10),
        "rate_limit": None,
    }
    return RefoldClient(base_url=base_url, **(defaults | settings))


@ODD
@pytest.mark.parametrize("name", CALLS)
async def test_the_value_goes_out_and_nothing_else(name: str, odd: Any) -> None:
    """What is sent is the same to the byte as for the plain text."""
    expected = await sent(CALLS[name], VALUE)
    assert expected
    assert expected == await sent(CALLS[name], odd)
    assert VALUE in str(expected)


@ODD
@pytest.mark.parametrize("setting", ["api_key", "session_token", "source", "linked_account_id"])
async def test_settings_go_out_by_their_value(odd: Any, setting: str) -> None:
    """The credential and the client's own account."""

    async def of(value: Any) -> list[Any]:
        async def source() -> Any:
            return value

        settings: dict[str, Any] = (
            {setting: value} if setting != "source" else {"session_token": source}
        )
        if setting in {"session_token", "source"}:
            settings["api_key"] = None
        async with (
            wire(STARTS) as server,
            client(server.base_url, **settings) as refold,
        ):
            handle = await refold.execute("wf_1", slug="s", instance_tag="t")
            assert {type(part) for part in (handle.linked_account_id, handle.slug)} <= {str}
            seen = server.seen
        return [(s.target, {**s.headers, "host": ""}, s.body) for s in seen]

    expected = await of(VALUE)
    assert expected == await of(odd)
    assert VALUE in str(expected)


async def test_the_base_url_is_used_by_its_value() -> None:
    """An enum of environments is a common home for it."""
    async with wire(STARTS) as server:
        async with client(Liar(server.base_url)) as refold:
            await refold.execute("wf_1", slug="s")
            assert type(refold._transport.wire.base_url) is str
        assert len(server.seen) == 1


async def test_handles_and_errors_hold_plain_text() -> None:
    """What comes back compares, prints and pickles as the text that was meant."""
    async with wire(STARTS) as server, client(server.base_url) as refold:
        odd = Liar(VALUE)
        handle = await refold.execute(
            odd, slug=odd, linked_account_id=odd, instance_tag=odd, unique_tag=True
        )
        again = refold.handle(
            ExecutionRef(
                execution_id=odd,
                workflow_id=odd,
                slug=odd,
                linked_account_id=odd,
                instance_tag=odd,
            )
        )
    started = (handle.workflow_id, handle.slug, handle.linked_account_id, handle.instance_tag)
    assert [*map(repr, started)] == [repr(VALUE)] * 4
    ref = again.ref
    fields = (
        ref.execution_id,
        ref.workflow_id,
        ref.slug,
        ref.linked_account_id,
        ref.instance_tag,
    )
    assert [*map(repr, fields)] == [repr(VALUE)] * 5


async def test_text_that_equals_another_is_not_taken_for_it() -> None:
    """Two applications whose slugs a class of the caller's calls equal stay two."""
    async with wire(STARTS) as server, client(server.base_url) as refold:
        for slug in ("Crm", "cRM", "crm"):
            await refold.execute(Folded("wf_1"), slug=Folded(slug))
    assert [seen.headers["slug"] for seen in server.seen] == ["Crm", "cRM", "crm"]


class Level(IntEnum):
    """A number with a name."""

    HIGH = 3


class Colour(StrEnum):
    """Text with a name."""

    RED = "red"


class Count(int):
    """A number that prints as another."""

    def __repr__(self) -> str:
        return "999"

    __str__ = __repr__

    def __int__(self) -> int:
        return 999

    def __index__(self) -> int:
        return 999


class Share(float):
    """The same with a point."""

    def __repr__(self) -> str:
        return "9.99"

    __str__ = __repr__

    def __float__(self) -> float:
        return 9.99


async def test_payloads_hold_values_and_keys_by_their_value() -> None:
    """Enums and subclasses of text and numbers, as values and as keys, at any depth."""
    payload = {
        Env.PROD: Liar("v"),
        Liar("k"): [Level.HIGH, Colour.RED, Env.PROD],
        "deep": {Colour.RED: (Count(1), Share(0.5), True)},
    }
    async with wire(STARTS) as server, client(server.base_url) as refold:
        await refold.execute("wf_1", slug="s", payload=payload)
    assert json.loads(server.seen[0].body) == {
        "payload": {
            VALUE: "v",
            "k": [3, "red", VALUE],
            "deep": {"red": [1, 0.5, True]},
        }
    }


@pytest.mark.parametrize("value", [Level, Env, 1.5, b"a", ["a"], {"a": 1}], ids=repr)
async def test_a_filter_that_is_no_text_is_refused(value: Any) -> None:
    """It would go out as whatever it prints."""
    async with wire(STARTS) as server, client(server.base_url) as refold:
        with pytest.raises(RefoldError, match="execution_source"):
            await _all(refold.executions.list(execution_source=value))
    assert server.listed == []


@pytest.mark.parametrize("odd", [Env.PROD, Liar(VALUE)], ids=["enum", "liar"])
async def test_files_are_named_by_the_value(
    odd: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal and the report of a batch."""
    monkeypatch.chdir(tmp_path)
    async with wire(STARTS) as server, client(server.base_url) as refold:
        requests = [ExecutionRequest("wf_1", slug="s", key=odd)]
        report = await refold.run_batch(requests, wait=False, journal=odd)
        assert [item.key for item in report.items()] == [VALUE]
        assert _names(tmp_path) == [VALUE]
        report.to_jsonl(odd)
    assert _names(tmp_path) == [VALUE]
    assert json.loads((tmp_path / VALUE).read_text())["key"] == VALUE


def _names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]
