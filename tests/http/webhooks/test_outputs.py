"""End to end: webhooks that bring outputs settle runs without a read, and never a wrong one."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

import pytest

from refold_async import ExecutionStatus, PollPolicy, RefoldClient
from refold_async._protocol import OUTPUTS_BODY
from refold_async._waiting import claims
from refold_async.emulator import Behaviour, Emulator, NodeFailed
from refold_async.emulator._templates import filled
from refold_async.webhooks import aiohttp_handler, parse
from tests.support.deliveries import encoded, sign, workflow_event
from tests.support.receiving import PATH, request, serving_aiohttp, status_of, talk

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from refold_async import ExecutionHandle

Connect = Callable[..., RefoldClient]

NEVER = PollPolicy(first=600.0, max_interval=600.0, push=True, push_sweep=600.0)
"""No look would be in time: what settles was told by a push."""
READS = ("get_execution", "get_response", "list_executions")
ALL_FORMS = {*get_args(get_type_hints(Behaviour)["webhook_response"])}
OUTPUT = {
    "n": 1,
    "whole": 2,
    "half": 1.0,
    "ok": True,
    "none": None,
    "note": 'say "hi" \\ <bye>\n',
    "tags": ["a", "b"],
}


@pytest.fixture(autouse=True)
def _no_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether one in a hundred is read is for its own test."""
    monkeypatch.setattr(claims, "_SAMPLED", 0.0)


class Place:
    """A client whose webhook brings outputs, and the emulator that delivers."""

    def __init__(self, emulator: Emulator, refold: RefoldClient, port: int) -> None:
        self.emulator = emulator
        self.refold = refold
        self.port = port
        self.gives: Callable[[dict[str, Any]], Any] = lambda payload: OUTPUT | payload

    async def start(self, workflow: str = "wf_1", **payload: Any) -> ExecutionHandle[Any]:
        """Start a run."""
        return await self.refold.execute(workflow, slug="s", payload=payload)

    async def run(self, number: int, workflow: str = "wf_1") -> None:
        """Run so many at once, and hold what came against what was given, types too."""
        began = [self.refold.run(workflow, slug="s", payload={"n": n}) for n in range(number)]
        results = await asyncio.gather(*began)
        assert [as_text(result.output) for result in results] == [
            as_text(self.gives({"n": n})) for n in range(number)
        ]

    @property
    def unread(self) -> int:
        """Runs that were settled without a read."""
        return self.refold.stats.waiting.settled_by_push

    @property
    def reads(self) -> int:
        """How often the service was asked how a run is."""
        return sum(self.emulator.counts[name] for name in READS)

    async def prove_endless(self) -> None:
        """Let twenty runs of the workflow that goes on be ended by hand, and be read."""
        handles = [await self.start("endless", note="some text") for _ in range(20)]
        waiting = asyncio.gather(*handles)
        await asyncio.sleep(0)
        for handle in handles:
            self.emulator.finish(str(handle.execution_id))
        assert {result.output["note"] for result in await waiting} == {"some text"}
        assert self.unread == 0

    async def deliver(self, body: bytes, key: str | None = None) -> int:
        """Deliver a body of one's own, signed with a key."""
        signature = sign(body, key or self.emulator.api_key)
        return status_of(await talk(self.port, request(body, signature=signature)))


def as_text(output: Any) -> str:
    """Give a text that tells 1 from 1.0 and from True."""
    return json.dumps(output, sort_keys=True)


@asynccontextmanager
async def place(
    connect: Connect, *, polling: PollPolicy = NEVER, key: str | None = None, **behaviour: Any
) -> AsyncIterator[Place]:
    """Serve a client whose webhook brings outputs, and three workflows."""
    async with Emulator(behaviour=Behaviour(**behaviour)) as emulator:
        refold = connect(emulator, polling=polling)
        keys = None if key is None else [emulator.api_key, key]
        async with serving_aiohttp(aiohttp_handler(refold, api_key=keys)) as port:
            await refold.webhooks.ensure(f"http://127.0.0.1:{port}{PATH}", outputs=True)
            here = Place(emulator, refold, port)

            @emulator.workflow("wf_1", slug="s", duration=0.05)
            @emulator.workflow("wf_2", slug="s", duration=0.05)
            def work(payload: dict[str, Any]) -> Any:
                if payload.get("fails"):
                    raise NodeFailed(node="Work", message="no")
                return here.gives(payload)

            emulator.workflow("endless", slug="s", duration=None)(lambda payload: payload)
            yield here


def body_of(run: ExecutionHandle[Any], output: Any, **changes: Any) -> bytes:
    """Give the body of a run's delivery."""
    told = {"instance_id": run.execution_id, "workflow_id": run.workflow_id} | changes
    return encoded({"event": workflow_event(**told), "workflow_response": output})


# -- what it is for ------------------------------------------------------------------------------


async def test_once_proven_runs_need_no_read(connect: Connect) -> None:
    """A start each, and hardly anything else: 1.05 requests per settled run; outputs as if read."""
    async with place(connect) as here:
        await here.run(20)
        assert (here.unread, here.reads) == (0, 20)
        before, settled = here.emulator.counts.total(), here.refold.stats.settled
        await here.run(60)
        assert (here.emulator.counts.total() - before) / 60 <= 1.05
        assert here.refold.stats.settled - settled == 60
        assert here.unread >= 57
        waiting = here.refold.stats.waiting
        assert waiting.told_by_push + waiting.told_by_looks == 80
        result = await here.refold.run("wf_1", slug="s", payload={"n": 7})
        assert (result.status, result.ok) == (ExecutionStatus.COMPLETED, True)
        assert result.raw["workflow_response"] == result.output == OUTPUT | {"n": 7}


async def test_a_bad_ending_is_read(connect: Connect) -> None:
    """The event says so, and the document says more."""
    async with place(connect) as here:
        await here.run(21)
        handle = await here.start(fails=True)
        assert (await handle.wait()).status is ExecutionStatus.ERRORED
        assert (await handle.wait()).execution is not None


async def test_snapshots_and_who_needs_no_output_are_served_as_ever(connect: Connect) -> None:
    """Documents are read for those who read them."""
    async with place(connect) as here:
        await here.run(20)
        handle = await here.start(n=0)
        seen, result = await asyncio.gather(_statuses(handle), handle.result())
        assert (seen[-1], result.output) == ("COMPLETED", OUTPUT | {"n": 0})
        ended = await (await here.start(n=0)).wait(output=False)
        assert (ended.status, ended.output_is_read) == (ExecutionStatus.COMPLETED, False)
        assert here.unread == 0


async def _statuses(handle: ExecutionHandle[Any]) -> list[str]:
    return [snapshot.status.value async for snapshot in handle.snapshots()]


async def test_who_relies_on_no_webhooks_reads_every_run(connect: Connect) -> None:
    """`push=False` is the switch of the client."""
    polling = PollPolicy(first=0.02, max_interval=0.1, push=False)
    async with place(connect, polling=polling) as here:
        await here.run(20)
        await here.run(5)
        assert here.unread == 0


# -- how a service might fill it in --------------------------------------------------------------

WRITTEN = {
    "json": '{"b": "a\\"<", "c": [null, 1]}',
    "stringified": r'"{\"b\": \"a\\\"<\", \"c\": [null, 1]}"',
    "unescaped": '{"b": "a"<", "c": [null, 1]}',
    "html": "{&quot;b&quot;: &quot;a\\&quot;&lt;&quot;, &quot;c&quot;: [null, 1]}",
    "truncated": '{"b": "a\\"<", "c": [null, 1]}',
    "absent": "",
    "null_as_empty": '{"b": "a\\"<", "c": ["", 1]}',
    "doubles": '{"b": "a\\"<", "c": [null, 1]}',
    "twice": '{"b": "a\\"<", "b": "a\\"<", "c": [null, 1]}',
}


def test_each_form_is_written_as_it_is_called() -> None:
    """By the emulator, whatever the client makes of it."""
    output = {"b": 'a"<', "c": [None, 1]}
    written = {form: filled("{{workflow_response}}", {}, output, form) for form in ALL_FORMS}
    assert written == WRITTEN
    assert filled("{{workflow_response}}", {}, ["x" * 99], "truncated") == '["' + "x" * 48
    assert filled("{{workflow_response}}", {}, [2**53 + 1], "doubles") == f"[{2**53}]"
    assert filled("{{ workflow_response.b }}!", {}, output) == 'a"<!'


FORMS = sorted(ALL_FORMS - {"json", "null_as_empty", "doubles"})


@pytest.mark.parametrize("form", FORMS)
async def test_outputs_that_are_filled_in_badly_cost_a_read_and_nothing_else(
    connect: Connect, form: str
) -> None:
    """All are hints still, one read each; none is wrong, and no type is another."""
    async with place(connect, webhook_response=form) as here:
        await here.run(20)
        await here.run(2)
        assert (here.unread, here.reads) == (0, 22)


@pytest.mark.parametrize(
    ("form", "odd"),
    [("null_as_empty", {"none": None}), ("doubles", {"n": 2**53 + 1})],
)
async def test_outputs_that_are_changed_on_the_way_are_never_believed(
    connect: Connect, caplog: pytest.LogCaptureFixture, form: str, odd: dict[str, Any]
) -> None:
    """Though all before them were as they were read: what is in them was never seen before."""
    async with place(connect, webhook_response=form) as here:
        here.gives = lambda payload: {"none": "text"} | payload
        await here.run(20)
        await here.run(2)
        assert here.unread == 2
        here.gives = lambda payload: {"none": "text"} | payload | odd
        with caplog.at_level(logging.WARNING, "refold_async.waiting"):
            await here.run(3)
        assert (here.unread, here.reads) == (2, 23)
        [line] = [each for each in caplog.records if each.levelno == logging.WARNING]
        assert "wf_1" in line.getMessage()


@pytest.mark.parametrize(
    "text",
    [
        pytest.param('x", "paid": true, "more": "y', id="a member of its own"),
        pytest.param('x", "approved": true, "note": "y', id="a member that some have"),
        pytest.param('x"}, "workflow_response": {"note": "y', id="another output"),
    ],
)
async def test_a_text_that_passes_for_json_changes_nothing(connect: Connect, text: str) -> None:
    """What is pasted without escapes may be anything."""
    async with place(connect, webhook_response="unescaped") as here:
        outputs: list[dict[str, Any]] = [{"note": "some text", "approved": True}, {"note": "text"}]
        here.gives = lambda payload: outputs[payload["n"] % 2]
        await here.run(40)
        await here.run(2)
        assert here.unread == 0, "members come and go, and no escape was ever seen"
        here.gives = lambda _: {"note": text}
        await here.run(2)
        assert here.unread == 0


async def test_an_output_that_tells_of_another_run_gives_that_run_nothing(
    connect: Connect,
) -> None:
    """It closes the JSON and names a run that is waited for too: both get their own outcomes."""
    polling = PollPolicy(first=0.3, max_interval=0.4, push_sweep=0.4)
    async with place(connect, polling=polling, webhook_response="unescaped") as here:
        here.gives = dict
        await here.prove_endless()
        victim = await here.start("endless", note="own")
        waiting = asyncio.create_task(victim.result())
        told = workflow_event(instance_id=victim.execution_id, workflow_id="endless")
        text = f'x"}}, "event": {json.dumps(told)}, "workflow_response": {{"note": "stolen'
        attacking = await here.refold.run("wf_1", slug="s", payload={"note": text})
        assert attacking.output["note"] == text
        [delivery] = [each for each in here.emulator.pushes.deliveries if b"stolen" in each.body]
        assert json.loads(delivery.body)["event"]["instance_id"] == victim.execution_id
        assert not waiting.done()
        here.emulator.finish(str(victim.execution_id))
        assert (await waiting).output == {"note": "own"}


# -- what comes from elsewhere -------------------------------------------------------------------


async def test_what_is_not_exactly_this_runs_own_settles_nothing(connect: Connect) -> None:
    """Forged, of another account, workflow or end, unnamed, or told by `notify`: hints at most."""
    async with place(connect) as here:
        await here.prove_endless()
        here.gives = lambda _: {"note": "some text"}
        await here.run(20)
        handle, other = await here.start("endless", note="a"), await here.start("endless", note="a")
        waiting = asyncio.create_task(handle.result())
        await asyncio.sleep(0)
        wrong: list[dict[str, Any]] = [
            {"linked_account_id": "other"},
            {"linked_account_id": None},
            {"workflow_id": "wf_1"},
            {"workflow_id": None},
            {"status": "ERRORED"},
            {"status": None},
            {"status": "completed"},
            {"status": "COMPLETED "},
            {"event": "Workflow Errored"},
            {"event": None},
            *({"environment": name} for name in ("prod", "Test", "", 0, ["test"])),
        ]
        for changes in wrong:
            assert await here.deliver(body_of(handle, {"note": "b"}, **changes)) == 200
        assert await here.deliver(body_of(handle, {"note": "b"}), key="tk_other") == 401
        assert await here.deliver(body_of(handle, {"note": "b"}, environment="production")) == 401
        here.refold.notify(parse(body_of(handle, {"note": "b"})))
        await here.run(1, "wf_2")
        assert (here.unread, waiting.done()) == (0, False)
        settling = asyncio.create_task(other.result())
        await asyncio.sleep(0)
        for note in ("c", "d"):
            assert await here.deliver(body_of(other, {"note": note})) == 200
        assert (await settling).output == {"note": "c"}
        assert here.unread == 1
        here.emulator.finish(str(handle.execution_id))
        assert (await waiting).output == {"note": "a"}


async def test_a_client_that_did_not_ask_for_outputs_takes_hints(connect: Connect) -> None:
    """Whatever is delivered: a webhook of a person's, or of a newer release that was taken back."""
    async with place(connect) as here:
        here.refold._services.tracker.rounds.unread = None  # as in another process
        await here.run(20)
        await here.run(5)
        assert (here.unread, here.reads) == (0, 25)


async def test_a_key_that_is_not_the_clients_own_signs_hints_only(connect: Connect) -> None:
    """Though the handler takes what it has signed, as while keys are rotated."""
    async with place(connect, key="tk_other") as here:
        await here.prove_endless()
        for key, settles in (("tk_other", False), (here.emulator.api_key, True)):
            before = here.unread
            handle = await here.start("endless", note="own")
            waiting = asyncio.create_task(handle.result())
            await asyncio.sleep(0)
            assert await here.deliver(body_of(handle, {"note": "told"}), key) == 200
            assert here.unread - before == settles
            here.emulator.finish(str(handle.execution_id))
            assert (await waiting).output == {"note": "told" if settles else "own"}


async def test_a_session_tokens_client_takes_hints_only(connect: Connect) -> None:
    """It has no key of its own to verify with."""
    async with Emulator() as emulator:
        emulator.workflow("wf_1", slug="s", duration=0.05)(lambda payload: payload)
        keyed = connect(emulator)
        token = emulator.issue_token("acct_1")
        refold = connect(emulator, session_token=token, linked_account_id=None, polling=NEVER)
        async with serving_aiohttp(aiohttp_handler(refold, api_key=emulator.api_key)) as port:
            await keyed.webhooks.create(
                f"http://127.0.0.1:{port}{PATH}", type="custom", body=OUTPUTS_BODY
            )
            for numbers in (range(20), range(5)):
                runs = [refold.run("wf_1", slug="s", payload={"n": n}) for n in numbers]
                results = await asyncio.gather(*runs)
                assert [result.output["n"] for result in results] == [*numbers]
        waiting = refold.stats.waiting
        assert (waiting.told_by_push, waiting.settled_by_push) == (25, 0)


async def test_what_comes_before_anybody_waits_is_a_hint(connect: Connect) -> None:
    """No output is kept for who may come."""
    async with place(connect) as here:
        await here.run(20)
        handle = await here.start(n=1)
        await asyncio.sleep(0.15)
        assert len(here.emulator.pushes.deliveries) == 21
        assert (await handle.result()).output == OUTPUT | {"n": 1}
        assert (here.unread, here.reads) == (0, 21)


async def test_deliveries_that_come_twice_and_in_disorder_change_nothing(
    connect: Connect,
) -> None:
    """Each run settles once, with its own output."""
    async with place(connect) as here:
        here.emulator.pushes.twice, here.emulator.pushes.delay = 1.0, (0.0, 0.2)
        await here.run(20)
        await here.run(20)
        assert here.refold.stats.settled == 40
        assert here.unread >= 10


@pytest.mark.parametrize("odd", ['say "hi"', None])
async def test_an_output_that_can_not_be_read_ends_it_for_its_workflow(
    connect: Connect, caplog: pytest.LogCaptureFixture, odd: Any
) -> None:
    """A text that is pasted as it is may pass for an object the next time."""
    async with place(connect) as here:
        await here.run(20)
        await here.run(1)
        here.gives = lambda _: odd
        with caplog.at_level(logging.WARNING, "refold_async.waiting"):
            await here.run(2)
        assert caplog.text.count("of workflow wf_1 can't be read, or is no object") == 1
        here.gives = lambda payload: OUTPUT | payload
        await here.run(2)
        assert (here.unread, here.reads) == (1, 24)


async def test_a_workflow_whose_outputs_come_to_differ_is_read_from_then_on(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The one in a hundred that is read catches it; other workflows are not concerned."""
    async with place(connect) as here:
        await here.run(20)
        await here.run(20, "wf_2")
        await here.run(2)
        # A text that is pasted as it is, and passes for the object that it was before.
        here.gives = lambda payload: json.dumps(OUTPUT | payload)
        monkeypatch.setattr(claims, "_SAMPLED", 1.0)
        with caplog.at_level(logging.WARNING, "refold_async.waiting"):
            await here.run(1)
        assert "of workflow wf_1 is not what was read" in caplog.text
        monkeypatch.setattr(claims, "_SAMPLED", 0.0)
        here.gives = lambda payload: OUTPUT | payload
        assert here.unread == 2
        await here.run(21)
        assert here.unread == 2, "for good"
        await here.run(1, "wf_2")
        assert here.unread == 3
