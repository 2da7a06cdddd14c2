"""How a call ends that doesn't end by itself: its timeout, its caller, the client's end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from refold_async import (
    ClientClosedError,
    ExecutionOutcomeUnknownError,
    RateLimit,
    RequestTimeoutError,
    RetryPolicy,
    Timeouts,
)
from tests.support.endings import MODES, at_once, until
from tests.support.wire import STARTS, Step, Wire, full_port, http, wire

if TYPE_CHECKING:
    from collections.abc import Callable

    from refold_async import RefoldClient

STALL = Step(end="stall")


async def outcomes(calls: list[asyncio.Task[Any]]) -> list[str]:
    """Name what calls came to; one that doesn't end soon is cancelled, and told apart."""
    _, late = await asyncio.wait(calls, timeout=10)
    for call in late:
        call.cancel()
    ends = await asyncio.gather(*calls, return_exceptions=True)
    return [
        "still pending" if call in late else type(end).__name__
        for call, end in zip(calls, ends, strict=True)
    ]


@MODES
async def test_a_timeout_in_the_queue_is_not_sent(
    connect: Callable[..., RefoldClient], mode: str
) -> None:
    """A call that got no slot in time says so, and the service never saw it."""
    async with wire(STALL) as server:
        refold = connect(server, max_connections=1, retry=at_once(mode))
        holder = asyncio.create_task(refold.execute("wf_1", slug="s"))
        await until(lambda: len(server.seen) == 1)
        with pytest.raises(RequestTimeoutError) as caught:
            await refold.execute("wf_1", slug="s", timeout=0.05)
        holder.cancel()
        await asyncio.wait([holder])
    assert (caught.value.sent, len(server.seen)) == (False, 1)


@MODES
async def test_a_timeout_while_the_rate_limit_holds_it_is_not_sent(
    connect: Callable[..., RefoldClient], mode: str
) -> None:
    """The ceiling may take longer than the call has."""
    async with wire(STARTS) as server:
        refold = connect(server, rate_limit=RateLimit(per_second=0.1, burst=1), retry=at_once(mode))
        await refold.execute("wf_1", slug="s")
        with pytest.raises(RequestTimeoutError) as caught:
            await refold.execute("wf_1", slug="s", timeout=0.05)
    assert (caught.value.sent, len(server.seen)) == (False, 1)


@MODES
async def test_a_timeout_while_connecting_is_not_sent(
    connect: Callable[..., RefoldClient], mode: str
) -> None:
    """The call's own timeout may be shorter than `Timeouts.connect`."""
    with full_port() as port:
        server = Wire(base_url=f"http://127.0.0.1:{port.getsockname()[1]}")
        with pytest.raises(RequestTimeoutError) as caught:
            await connect(server, retry=at_once(mode)).execute("wf_1", slug="s", timeout=0.05)
    assert not caught.value.sent


@MODES
@pytest.mark.parametrize("sync", [False, True])
async def test_a_timeout_after_sending_is_unknown(
    connect: Callable[..., RefoldClient], mode: str, sync: bool
) -> None:
    """The service has the request: it may have started the run."""
    async with wire(STALL) as server:
        refold = connect(server, retry=at_once(mode))
        with pytest.raises(ExecutionOutcomeUnknownError) as caught:
            await refold.execute("wf_1", slug="s", sync=sync, timeout=0.5)
    assert isinstance(caught.value.__cause__, RequestTimeoutError)
    assert (caught.value.__cause__.sent, len(server.seen)) == (True, 1)


async def test_a_call_without_a_timeout_has_the_clients(
    connect: Callable[..., RefoldClient],
) -> None:
    """`Timeouts.call` ends a try that is under way."""
    async with wire(STALL) as server:
        refold = connect(server, retry=at_once("never"), timeouts=Timeouts(call=0.5))
        with pytest.raises(ExecutionOutcomeUnknownError):
            await refold.execute("wf_1", slug="s")
    assert len(server.seen) == 1


async def test_a_cancelled_call_raises_just_that_and_frees_its_slot_in_time(
    connect: Callable[..., RefoldClient],
) -> None:
    """Its reply is still read, within the timeouts; then the next call gets its connection."""
    async with wire(STALL, STARTS) as server:
        timeouts = Timeouts(read=0.2)
        refold = connect(server, max_connections=1, retry=at_once("never"), timeouts=timeouts)
        call = asyncio.create_task(refold.execute("wf_1", slug="s"))
        await until(lambda: len(server.seen) == 1)
        call.cancel()
        assert await outcomes([call]) == ["CancelledError"]
        async with asyncio.timeout(20):
            await refold.execute("wf_1", slug="s")
    assert len(server.seen) == 2


async def test_a_call_cancelled_in_the_queue_sends_nothing(
    connect: Callable[..., RefoldClient],
) -> None:
    """And those behind it move up."""
    async with wire(Step(reply=STARTS.reply, delay=0.05), STARTS) as server:
        refold = connect(server, max_connections=1)
        calls = [asyncio.create_task(refold.execute(f"wf_{n}", slug="s")) for n in range(4)]
        await until(lambda: len(server.seen) == 1)
        calls[1].cancel()
        names = await outcomes(calls)
    assert names == ["ExecutionHandle", "CancelledError", "ExecutionHandle", "ExecutionHandle"]
    assert [r.target.split("/")[-2] for r in server.seen] == ["wf_0", "wf_2", "wf_3"]


async def test_a_call_cancelled_while_connecting_frees_its_slot(
    connect: Callable[..., RefoldClient],
) -> None:
    """The slot is free although no connection ever stood."""
    with full_port() as port:
        server = Wire(base_url=f"http://127.0.0.1:{port.getsockname()[1]}")
        refold = connect(server, max_connections=1)
        call = asyncio.create_task(refold.execute("wf_1", slug="s"))
        await until(lambda: refold.stats.requests.get("execute") == 1)
        call.cancel()
        assert await outcomes([call]) == ["CancelledError"]
        with pytest.raises(RequestTimeoutError, match="before a connection stood"):
            await refold.execute("wf_1", slug="s", timeout=0.05)


@MODES
async def test_closing_ends_starts_in_flight_unknown_and_queued_ones_unsent(
    connect: Callable[..., RefoldClient], mode: str
) -> None:
    """A start that was sent is unknown, one that queued is told that the client is closed."""
    async with wire(STALL) as server:
        refold = connect(server, max_connections=2, retry=at_once(mode))
        calls = [asyncio.create_task(refold.execute("wf_1", slug="s")) for _ in range(5)]
        await until(lambda: len(server.seen) == 2)
        await refold.aclose()
        names = await outcomes(calls)
    assert names == ["ExecutionOutcomeUnknownError"] * 2 + ["ClientClosedError"] * 3
    assert len(server.seen) == 2


@pytest.mark.parametrize("verb", ["fetch", "stop"])
async def test_closing_ends_what_may_be_repeated_with_client_closed(
    connect: Callable[..., RefoldClient], verb: str
) -> None:
    """A read or a stop in flight is not in doubt."""
    async with wire(STALL) as server:
        refold = connect(server)
        call = asyncio.create_task(getattr(refold.handle("e1"), verb)())
        await until(lambda: len(server.seen) == 1)
        await refold.aclose()
        assert await outcomes([call]) == ["ClientClosedError"]


async def test_closing_ends_a_call_that_is_connecting(
    connect: Callable[..., RefoldClient],
) -> None:
    """It was not sent, and doesn't wait for `Timeouts.connect`."""
    with full_port() as port:
        refold = connect(Wire(base_url=f"http://127.0.0.1:{port.getsockname()[1]}"))
        call = asyncio.create_task(refold.execute("wf_1", slug="s"))
        await until(lambda: refold.stats.requests.get("execute") == 1)
        await asyncio.sleep(0.01)
        await refold.aclose()
        assert await outcomes([call]) == ["ClientClosedError"]


@pytest.mark.parametrize(
    ("status", "error"),
    [
        pytest.param(429, "ClientClosedError", id="rejected"),
        pytest.param(502, "ExecutionOutcomeUnknownError", id="uncertain"),
    ],
)
async def test_closing_ends_a_call_between_two_tries(
    connect: Callable[..., RefoldClient], status: int, error: str
) -> None:
    """A pause isn't slept to its end; what was uncertain before it stays so."""
    pause = {"Retry-After": "1"}
    async with wire(Step(reply=http(status, {"message": "x"}, headers=pause))) as server:
        refold = connect(server, retry=RetryPolicy(wait=0, max_wait=0, settle=0))
        call = asyncio.create_task(refold.execute("wf_1", slug="s"))
        await until(lambda: len(server.seen) == 1)
        await asyncio.sleep(0.05)
        await refold.aclose()
        assert [error] == await outcomes([call])


async def test_a_try_refused_by_a_closed_client_stays_as_uncertain_as_the_last(
    connect: Callable[..., RefoldClient],
) -> None:
    """A call that comes back from its pause to a closed client ends unknown if it was before."""
    async with wire(Step(reply=http(502, "<html>", headers={"Retry-After": "0.2"}))) as server:
        refold = connect(server, retry=RetryPolicy(wait=0, max_wait=0, settle=0))
        call = asyncio.create_task(refold.execute("wf_1", slug="s"))
        await until(lambda: len(server.seen) == 1)
        await asyncio.sleep(0.05)
        await refold.aclose()
        assert await outcomes([call]) == ["ExecutionOutcomeUnknownError"]


async def test_closing_ends_every_wait_for_a_run(connect: Callable[..., RefoldClient]) -> None:
    """The runs go on, and the error names them."""
    running = Step(reply=http(200, {"_id": "e1", "status": "RUNNING"}))
    async with wire(running) as server:
        refold = connect(server)
        waits = [asyncio.create_task(refold.handle("e1").result()) for _ in range(3)]
        await until(lambda: len(server.seen) >= 1)
        await refold.aclose()
        errors = await asyncio.gather(*waits, return_exceptions=True)
    assert [(type(e), getattr(e, "execution_id", None)) for e in errors] == (
        [(ClientClosedError, "e1")] * 3
    )


async def test_closing_may_be_repeated(connect: Callable[..., RefoldClient]) -> None:
    """Before the first call, twice at once, and after the end."""
    async with wire(STARTS) as server:
        unused = connect(server)
        await unused.aclose()
        refold = connect(server)
        await refold.execute("wf_1", slug="s")
        await asyncio.gather(refold.aclose(), refold.aclose())
        await refold.aclose()
    assert server.connections == 1


async def test_closing_a_view_closes_nothing(connect: Callable[..., RefoldClient]) -> None:
    """The client a view came from is what is closed."""
    async with wire(STARTS) as server:
        refold = connect(server)
        async with refold.for_account("acct_2") as view:
            await view.execute("wf_1", slug="s")
        await refold.execute("wf_1", slug="s")
    assert len(server.seen) == 2
