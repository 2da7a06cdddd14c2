"""One start per key, however many ask, and wherever."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from refold_async import (
    ClientClosedError,
    ConfigError,
    ExecutionOutcomeUnknownError,
    PayloadError,
    RequestTimeoutError,
    RetryPolicy,
    ServerError,
    Shared,
    SharedStateError,
)
from refold_async._shared import bringing
from refold_async.emulator import Behaviour, Emulator, Fault
from tests.http.shared.conftest import WORKFLOW, as_process
from tests.support.endings import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from refold_async import ExecutionHandle, RefoldClient
    from tests.support.redis import RedisServer

    Sharing = Callable[..., RefoldClient]


async def ask(refold: RefoldClient, key: str = "k", **options: Any) -> ExecutionHandle[Any]:
    """Start a run under a key."""
    return await refold.execute(WORKFLOW, **({"slug": "s", "once": key} | options))


async def test_clients_that_ask_at_the_same_moment_share_one_run(
    sharing: Sharing, emulator: Emulator
) -> None:
    """Ten callers each, in three clients: one starts it, all others attach."""
    clients = [sharing() for _ in range(3)]
    handles = await asyncio.gather(*(ask(refold) for refold in clients * 10))
    assert len(emulator.runs) == 1
    assert {handle.execution_id for handle in handles} == {emulator.runs[0].execution_id}
    assert sum(not handle.attached for handle in handles) == 1
    assert (await handles[-1]).output == {}


async def test_a_key_attaches_to_its_run_later_and_whatever_its_ending(
    sharing: Sharing, emulator: Emulator
) -> None:
    """A new attempt is a new key."""
    first = await ask(sharing())
    await first
    later = await ask(sharing())
    other = await ask(sharing(), "another")
    assert (later.execution_id, later.attached) == (first.execution_id, True)
    assert (other.attached, len(emulator.runs)) == (False, 2)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"payload": {"n": 2}}, id="payload"),
        pytest.param({"config_id": "c2"}, id="configuration"),
    ],
)
async def test_another_payload_under_a_key_is_refused(
    sharing: Sharing, emulator: Emulator, other: dict[str, Any]
) -> None:
    """By the process that started it, and by another: nothing is sent."""
    refold = sharing()
    await ask(refold, payload={"n": 1})
    for client in (refold, sharing()):
        with pytest.raises(PayloadError, match="'k' was used with another payload"):
            await ask(client, **({"payload": {"n": 1}} | other))
    assert len(emulator.runs) == 1


async def test_accounts_and_workflows_have_keys_of_their_own(
    sharing: Sharing, emulator: Emulator
) -> None:
    """A key says nothing to another account."""
    refold = sharing()
    one, other = await ask(refold), await ask(refold.for_account("acct_2"))
    assert one.execution_id != other.execution_id
    assert one.instance_tag != other.instance_tag


async def test_a_key_counts_for_as_long_as_was_said(
    sharing: Sharing, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then it starts another run; here Redis has been up for long, and the list is not asked."""
    monkeypatch.setattr(bringing, "_FORGETFUL", 0.0)
    for client in (sharing(), sharing()):
        await ask(client, once_within=timedelta(milliseconds=200))
        await asyncio.sleep(0.25)
    assert len(emulator.runs) == 2


@pytest.mark.parametrize("fault", [Fault(drop="after"), Fault(status=502, html=True, perform=True)])
async def test_a_lost_answer_is_looked_up_and_the_key_learns_of_it(
    sharing: Sharing, emulator: Emulator, fault: Fault
) -> None:
    """Whatever the retry mode, nothing is sent twice."""
    emulator.faults.script("execute", fault)
    handles = await asyncio.gather(ask(sharing()), ask(sharing()))
    assert {handle.execution_id for handle in handles} == {emulator.runs[0].execution_id}
    assert len(emulator.runs) == 1


async def test_a_refused_start_frees_its_key_for_all(sharing: Sharing, emulator: Emulator) -> None:
    """The next one who asks starts it."""
    emulator.faults.script("execute", Fault(status=400))
    with pytest.raises(Exception, match="HTTP 400"):
        await ask(sharing())
    handle = await asyncio.wait_for(ask(sharing()), 5)
    assert (handle.attached, len(emulator.runs)) == (False, 1)


async def test_a_refusal_by_load_is_waited_out_by_who_has_the_key(
    sharing: Sharing, emulator: Emulator
) -> None:
    """Each try moves the key to `sent` anew."""
    emulator.faults.script("execute", *[Fault(status=429)] * 2)
    handles = await asyncio.gather(ask(sharing()), ask(sharing()))
    assert len(emulator.runs) == 1
    assert sorted(handle.attached for handle in handles) == [False, True]


async def test_each_caller_that_shares_a_failed_start_has_an_error_of_its_own(
    sharing: Sharing, emulator: Emulator
) -> None:
    """A traceback belongs to one caller."""
    emulator.faults.always("execute", Fault(status=500))
    refold = sharing(retry=RetryPolicy(attempts=1, wait=0, settle=0))
    errors = await asyncio.gather(ask(refold), ask(refold), return_exceptions=True)
    assert {type(error) for error in errors} <= {ServerError, ExecutionOutcomeUnknownError}
    assert errors[0] is not errors[1]


async def test_who_is_cancelled_takes_nobody_along(sharing: Sharing, emulator: Emulator) -> None:
    """The start goes on for those who wait."""
    emulator.faults.script("execute", Fault(delay=0.1))
    refold = sharing()
    first, second = (asyncio.create_task(ask(refold)) for _ in range(2))
    await until(lambda: emulator.counts["execute"] == 1)
    first.cancel()
    handle = await second
    assert (handle.attached, len(emulator.runs)) == (True, 1)


async def test_the_last_caller_who_leaves_leaves_an_orphan_and_its_key_is_kept(
    sharing: Sharing, emulator: Emulator
) -> None:
    """What had left is read to its end: a later caller, here or elsewhere, attaches."""
    emulator.faults.script("execute", Fault(delay=0.1))
    refold = sharing()
    call = asyncio.create_task(ask(refold))
    await until(lambda: emulator.counts["execute"] == 1)
    call.cancel()
    here, there = await asyncio.gather(ask(refold), ask(sharing()))
    assert here.execution_id == there.execution_id == emulator.runs[0].execution_id
    assert (here.attached, len(emulator.runs), len(refold.orphans)) == (True, 1, 1)


async def test_cancelled_before_it_left_starts_nothing_and_frees_the_key(
    sharing: Sharing, emulator: Emulator
) -> None:
    """Somebody else starts it at once."""
    refold = sharing(max_connections=1)
    emulator.faults.script("execute", Fault(delay=0.2))
    holding = asyncio.create_task(ask(refold, "other"))
    await until(lambda: emulator.counts["execute"] == 1)
    call = asyncio.create_task(ask(refold))
    await asyncio.sleep(0.05)
    call.cancel()
    await asyncio.wait([call])
    handle = await asyncio.wait_for(ask(sharing()), 5)
    await holding
    assert (handle.attached, len(emulator.runs)) == (False, 2)


async def test_a_timeout_is_each_callers_own(sharing: Sharing, emulator: Emulator) -> None:
    """One who waits shorter hears that nobody knows yet; the other gets the run."""
    emulator.faults.script("execute", Fault(delay=0.2))
    refold = sharing()
    patient = asyncio.create_task(ask(refold))
    with pytest.raises(ExecutionOutcomeUnknownError):
        await ask(refold, timeout=0.05)
    assert (await patient).execution_id == emulator.runs[0].execution_id


async def test_a_timeout_before_anything_left_says_so(sharing: Sharing, emulator: Emulator) -> None:
    """Nothing runs, and nothing will: what was refused waits for its next try."""
    emulator.faults.always("execute", Fault(status=429))
    patient = RetryPolicy(wait=60, max_wait=60)
    with pytest.raises(RequestTimeoutError) as caught:
        await ask(sharing(retry=patient), timeout=1)
    assert (caught.value.sent, len(emulator.runs)) == (False, 0)


# -- Redis away, emptied, or unfit ---------------------------------------------------------------


@pytest.mark.parametrize("how", ["kill", "freeze"])
async def test_without_redis_nothing_is_sent(
    sharing: Sharing, emulator: Emulator, redis_server: RedisServer, how: str
) -> None:
    """An error of its own says so, within a second."""
    refold = sharing(redis_server)
    getattr(redis_server, how)()
    async with asyncio.timeout(5):
        for _ in range(5):
            with pytest.raises(SharedStateError, match="not answer"):
                await ask(refold)
    assert emulator.counts["execute"] == 0
    redis_server.thaw() if how == "freeze" else redis_server.start()
    await until_it_works(refold)
    assert len(emulator.runs) == 1


async def until_it_works(refold: RefoldClient) -> ExecutionHandle[Any]:
    """Ask until Redis is asked again."""
    async with asyncio.timeout(30):
        while True:
            try:
                return await ask(refold)
            except SharedStateError:
                await asyncio.sleep(0.05)


async def test_a_look_may_do_while_redis_is_away(
    sharing: Sharing, emulator: Emulator, redis_server: RedisServer
) -> None:
    """Who asked for it attaches to what the list shows, and starts what it doesn't."""
    first = await ask(sharing(redis_server))
    redis_server.kill()
    found = await ask(sharing(redis_server), once_fallback="look")
    fresh = await ask(sharing(redis_server), "fresh", once_fallback="look")
    assert (found.execution_id, found.attached) == (first.execution_id, True)
    assert (fresh.attached, len(emulator.runs)) == (False, 2)


@pytest.mark.parametrize("how", ["emptied", "restarted"])
async def test_a_redis_that_forgot_starts_nothing_twice(
    sharing: Sharing,
    emulator: Emulator,
    redis_server: RedisServer,
    how: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Keys it doesn't know are looked for before they start."""
    starts, sees = sharing(redis_server), sharing(redis_server)
    first = await ask(starts)
    await ask(sees, "other")
    if how == "emptied":
        redis_server.empty()
    else:
        redis_server.kill()
        redis_server.start()
    with caplog.at_level(logging.WARNING, "refold_async"):
        again = await until_it_works(sees)
    assert (again.execution_id, again.attached) == (first.execution_id, True)
    assert "Redis was restarted or emptied" in caplog.text
    assert len(emulator.runs) == 2


async def test_who_begins_after_the_loss_starts_nothing_twice_either(
    sharing: Sharing, emulator: Emulator, redis_server: RedisServer
) -> None:
    """A Redis that has come up lately may have forgotten keys, whoever asks."""
    first = await ask(sharing(redis_server))
    redis_server.empty()
    await ask(sharing(redis_server), "another")  # which waits until all is in the list
    again = await ask(sharing(redis_server))
    assert (again.execution_id, again.attached) == (first.execution_id, True)
    assert len(emulator.runs) == 2


async def test_redis_lost_while_the_call_queues_sends_nothing(
    sharing: Sharing, emulator: Emulator, redis_server: RedisServer
) -> None:
    """The key is asked for again with the slot in hand, and who can't ask doesn't send."""
    emulator.faults.script("execute", Fault(delay=0.2))
    refold = sharing(redis_server, max_connections=1)
    holding = asyncio.create_task(refold.execute(WORKFLOW, slug="s"))
    await until(lambda: emulator.counts["execute"] == 1)
    call = asyncio.create_task(ask(refold))
    await until(lambda: refold.stats.budget.waiting["start"] == 1)
    redis_server.kill()
    with pytest.raises(SharedStateError):
        await call
    await holding
    assert len(emulator.runs) == 1


async def test_redis_lost_while_the_request_is_under_way_loses_no_run(
    sharing: Sharing, emulator: Emulator, redis_server: RedisServer
) -> None:
    """The caller has its handle, and the others are told when Redis is back."""
    refold = sharing(redis_server)
    await ask(refold, "earlier")
    emulator.faults.script("execute", Fault(delay=0.1))
    call = asyncio.create_task(ask(refold))
    await until(lambda: emulator.counts["execute"] == 2)
    redis_server.freeze()
    handle = await call
    redis_server.thaw()
    again = await until_it_works(sharing(redis_server))
    assert (handle.execution_id, True) == (again.execution_id, again.attached)
    assert len(emulator.runs) == 2


async def test_a_redis_that_throws_keys_away_is_warned_of(
    sharing: Sharing, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """`noeviction` keeps keys."""
    redis_server.ask("CONFIG SET maxmemory-policy allkeys-lru")
    with caplog.at_level(logging.WARNING, "refold_async"):
        await ask(sharing(redis_server))
        await until(lambda: "maxmemory-policy allkeys-lru" in caplog.text)


# -- for one process ------------------------------------------------------------------------------


async def test_without_redis_a_process_shares_one_start_at_best(
    connect: Callable[..., RefoldClient], emulator: Emulator
) -> None:
    """Its calls share it, and another process finds its tag in the list."""
    refold, other = connect(emulator), as_process(connect(emulator))
    handles = await asyncio.gather(*(ask(refold, once_scope="process") for _ in range(5)))
    found = await ask(other, once_scope="process")
    assert {handle.execution_id for handle in [*handles, found]} == {emulator.runs[0].execution_id}
    assert (found.attached, len(emulator.runs)) == (True, 1)


async def test_clients_of_one_process_share_one_start_without_redis(
    connect: Callable[..., RefoldClient], emulator: Emulator
) -> None:
    """Whichever client asks, at the same moment or when the one that started is closed."""
    emulator.faults.script("execute", Fault(delay=0.1))
    clients = [connect(emulator) for _ in range(3)]
    handles = await asyncio.gather(*(ask(refold, once_scope="process") for refold in clients * 2))
    await asyncio.gather(*(refold.aclose() for refold in clients))
    handles.append(await ask(connect(emulator), once_scope="process"))
    assert {handle.execution_id for handle in handles} == {emulator.runs[0].execution_id}
    assert (sum(not handle.attached for handle in handles), len(emulator.runs)) == (1, 1)
    with pytest.raises(PayloadError):
        await ask(connect(emulator), once_scope="process", payload={"other": 1})


async def test_a_client_takes_over_from_one_that_is_closed_with_nothing_sent(
    connect: Callable[..., RefoldClient], emulator: Emulator
) -> None:
    """It waited for a slot, and so did all who wait for it."""
    first, second = connect(emulator, max_connections=1), connect(emulator)
    emulator.faults.script("execute", Fault(delay=0.5))
    holding = asyncio.create_task(first.execute(WORKFLOW, slug="s"))
    await until(lambda: emulator.counts["execute"] == 1)
    calls = [asyncio.create_task(ask(each, once_scope="process")) for each in (first, second)]
    await until(lambda: first.stats.budget.waiting["start"] == 1)
    await first.aclose()
    with pytest.raises(ClientClosedError):
        await calls[0]
    assert not (await asyncio.wait_for(calls[1], 10)).attached
    await asyncio.wait([holding])


async def test_what_a_closed_client_may_have_started_is_found_by_the_next(
    connect: Callable[..., RefoldClient], emulator: Emulator
) -> None:
    """It doubts what the other one has left."""
    emulator.faults.script("execute", Fault(delay=0.3))
    first, second = connect(emulator), connect(emulator)
    call = asyncio.create_task(ask(first, once_scope="process"))
    await until(lambda: emulator.counts["execute"] == 1)
    other = asyncio.create_task(ask(second, once_scope="process"))
    await first.aclose()
    with pytest.raises(ExecutionOutcomeUnknownError):
        await call
    handle = await asyncio.wait_for(other, 30)
    assert (handle.attached, len(emulator.runs)) == (True, 1)


async def test_closing_ends_the_wait_for_the_start_of_another_client(
    connect: Callable[..., RefoldClient], emulator: Emulator
) -> None:
    """Which goes on."""
    emulator.faults.script("execute", Fault(delay=0.5))
    first, second = connect(emulator), connect(emulator)
    call = asyncio.create_task(ask(first, once_scope="process"))
    await until(lambda: emulator.counts["execute"] == 1)
    other = asyncio.create_task(ask(second, once_scope="process"))
    await asyncio.sleep(0.01)
    await second.aclose()
    with pytest.raises(ExecutionOutcomeUnknownError):
        await asyncio.wait_for(other, 0.3)
    assert not (await call).attached


async def test_scopes_that_are_mixed_share_one_start(
    sharing: Sharing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one client, at the same moment; the list can't tell them."""
    monkeypatch.setattr(bringing, "_FORGETFUL", 0.0)
    scopes = [{"once_scope": "process"}, {}, {"once_fallback": "look"}, {"once_scope": "process"}]
    async with Emulator(behaviour=Behaviour(list_lag=60)) as emulator:
        emulator.workflow(WORKFLOW, slug="s")(dict)
        refold = sharing(base_url=emulator.base_url)
        handles = await asyncio.gather(*(ask(refold, **scope) for scope in scopes))
        assert len({handle.execution_id for handle in handles}) == len(emulator.runs) == 1


async def test_a_process_does_not_send_again_what_may_have_started(
    connect: Callable[..., RefoldClient],
) -> None:
    """Absence is no proof while the list may lag: the next caller waits, and attaches."""
    async with Emulator(skip_time=True, behaviour=Behaviour(list_lag=30)) as emulator:
        emulator.workflow(WORKFLOW, slug="s")(dict)
        refold = connect(emulator)
        await refold.execute(WORKFLOW, slug="s")
        await emulator.time.sleep(60)  # the list shows tags
        emulator.faults.script("execute", Fault(drop="after"))
        for limit in (None, 5):
            with pytest.raises(ExecutionOutcomeUnknownError):
                await ask(refold, once_scope="process", timeout=limit)
        assert (await ask(refold, once_scope="process")).attached
        assert len(emulator.runs) == 2


async def test_what_a_process_has_not_found_after_the_hold_is_started_then(
    connect: Callable[..., RefoldClient],
) -> None:
    """The request is over, and its run would be in the list: 41 seconds by default."""
    async with Emulator(skip_time=True) as emulator:
        emulator.workflow(WORKFLOW, slug="s")(dict)
        refold = connect(emulator)
        await refold.execute(WORKFLOW, slug="s")
        emulator.faults.script("execute", Fault(drop="before"))
        with pytest.raises(ExecutionOutcomeUnknownError):
            await ask(refold, once_scope="process")
        began = emulator.time.monotonic()
        assert not (await ask(refold, once_scope="process")).attached
        assert emulator.time.monotonic() - began == pytest.approx(40, abs=3)
        assert len(emulator.runs) == 2


async def test_closing_a_client_that_waits_in_doubt_says_that_nobody_knows(
    connect: Callable[..., RefoldClient], emulator: Emulator
) -> None:
    """It has sent nothing itself, but what was sent before may run."""
    refold = connect(emulator, retry=RetryPolicy(wait=0, settle=0.05))
    await refold.execute(WORKFLOW, slug="s")
    emulator.faults.script("execute", Fault(drop="before"))
    with pytest.raises(ExecutionOutcomeUnknownError):
        await ask(refold, once_scope="process")
    looks, starts = emulator.counts["list_executions"], emulator.counts["execute"]
    emulator.faults.script("execute", Fault(delay=5))
    other = asyncio.create_task(refold.execute(WORKFLOW, slug="s"))  # which takes time to close
    call = asyncio.create_task(ask(refold, once_scope="process"))
    await until(lambda: emulator.counts["list_executions"] > looks + 1)
    await until(lambda: emulator.counts["execute"] > starts)
    await asyncio.sleep(0.05)  # it has looked, and waits
    await refold.aclose()
    with pytest.raises(ExecutionOutcomeUnknownError):
        await call
    with pytest.raises(ExecutionOutcomeUnknownError):
        await other


async def test_what_was_refused_after_its_caller_had_left_is_in_no_doubt(
    connect: Callable[..., RefoldClient], emulator: Emulator
) -> None:
    """The next one starts it at once."""
    refold = connect(emulator)
    emulator.faults.script("execute", Fault(delay=0.1, status=400))
    call = asyncio.create_task(ask(refold, once_scope="process"))
    await until(lambda: emulator.counts["execute"] == 1)
    call.cancel()
    await asyncio.wait([call])
    handle = await asyncio.wait_for(ask(refold, once_scope="process"), 10)
    assert (handle.attached, len(emulator.runs)) == (False, 1)


async def test_a_doubt_holds_for_redis_too(
    sharing: Sharing,
    emulator: Emulator,
    redis_server: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What was sent while Redis was away is not sent again because Redis knows nothing of it."""
    monkeypatch.setattr(bringing, "_FORGETFUL", 0.0)
    refold = sharing(redis_server)
    await ask(refold, "earlier")
    redis_server.freeze()
    emulator.faults.script("execute", Fault(drop="after"))
    emulator.faults.script("list_executions", None, None, *[Fault(status=401)] * 3)
    with pytest.raises(ExecutionOutcomeUnknownError):
        await ask(refold, once_fallback="look")
    redis_server.thaw()
    assert (await until_it_works(refold)).attached
    assert len(emulator.runs) == 2


async def test_a_run_counts_no_longer_for_a_process_that_was_not_there(
    connect: Callable[..., RefoldClient],
) -> None:
    """Nor for one that has found it late: `once_within` is from when the run was started."""
    async with Emulator(skip_time=True) as emulator:
        emulator.workflow(WORKFLOW, slug="s")(dict)

        async def asked_by(refold: RefoldClient) -> bool:
            return (await ask(refold, once_scope="process", once_within=60)).attached

        assert not await asked_by(as_process(connect(emulator)))
        await emulator.time.sleep(40)
        found_it = as_process(connect(emulator))
        assert await asked_by(found_it)
        await emulator.time.sleep(40)
        assert not await asked_by(as_process(connect(emulator)))
        assert await asked_by(found_it)
        assert len({run.execution_id for run in emulator.runs}) == 2
        await emulator.time.sleep(3600)
        assert not await asked_by(as_process(connect(emulator)))


async def test_who_finds_a_run_in_the_list_can_not_tell_another_payload_and_then_knows_its_own(
    connect: Callable[..., RefoldClient], emulator: Emulator
) -> None:
    """As documented: the list shows no payload."""
    await ask(as_process(connect(emulator)), once_scope="process", payload={"n": 1})
    restarted = as_process(connect(emulator))
    assert (await ask(restarted, once_scope="process", payload={"n": 2})).attached
    with pytest.raises(PayloadError):
        await ask(restarted, once_scope="process", payload={"n": 3})
    assert len(emulator.runs) == 1


async def test_redis_does_not_keep_a_run_for_longer_because_it_was_found_in_the_list(
    sharing: Sharing, redis_server: RedisServer
) -> None:
    """It forgot the key, and learns of it with its age."""
    async with Emulator(skip_time=True) as emulator:
        emulator.workflow(WORKFLOW, slug="s")(dict)
        await ask(sharing(redis_server, base_url=emulator.base_url), once_within=60)
        await emulator.time.sleep(40)
        redis_server.empty()
        later = sharing(redis_server, base_url=emulator.base_url)
        assert (await ask(later, once_within=60)).attached
        await later.aclose()
        left = redis_server.ask(
            "EVAL \"return redis.call('PTTL', redis.call('KEYS', '*:once:*')[1])\" 0"
        )
        assert 0 < int(left.removeprefix(":")) <= 22_000


# -- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "field"),
    [
        pytest.param({"sync": True}, "once", id="sync"),
        pytest.param({"instance_tag": "mine"}, "once", id="a tag of one's own"),
        pytest.param({"retry": RetryPolicy(mode="never")}, "once", id="never"),
        pytest.param({"workflow_id": "nick"}, "once", id="an alias"),
        pytest.param({"key": ""}, "once", id="an empty key"),
        pytest.param({"once_within": 0}, "once_within", id="no time"),
        pytest.param({"once_scope": "everywhere"}, "once_scope", id="scope"),
        pytest.param({"once_fallback": "hope"}, "once_fallback", id="fallback"),
    ],
)
async def test_what_can_not_be_done_once_is_refused(
    sharing: Sharing, emulator: Emulator, options: dict[str, Any], field: str
) -> None:
    """Before any I/O, naming the argument."""
    workflow = options.get("workflow_id", WORKFLOW)
    key = options.get("key", "k")
    further = {n: v for n, v in options.items() if n not in {"workflow_id", "key"}}
    with pytest.raises(ConfigError) as caught:
        await sharing().execute(workflow, slug="s", once=key, **further)
    assert caught.value.field == field
    assert dict(emulator.counts) == {}


async def test_a_key_without_redis_says_what_it_needs(
    connect: Callable[..., RefoldClient], emulator: Emulator
) -> None:
    """And what there is without it."""
    with pytest.raises(ConfigError, match=r"shared='redis://.*once_scope='process'"):
        await ask(connect(emulator))


def test_the_url_of_redis_shows_nowhere() -> None:
    """It may hold a password."""
    shared = Shared("redis://:hunter2@localhost:6379/0", name="billing")
    assert "hunter2" not in repr(shared)
    with pytest.raises(ConfigError) as caught:
        Shared("http://:hunter2@localhost")
    assert "hunter2" not in str(caught.value)
