"""Starts that wait for a worker: what becomes of one that nobody takes, or nobody wants."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import pytest

from refold_async import RequestTimeoutError, RetryPolicy
from refold_async._protocol import execute_request
from refold_async.dask.orders import Desk, Order

if TYPE_CHECKING:
    from refold_async._starting import Submission
    from tests.support.clock import FakeClock


class Base:
    """A start as a client prepares it."""

    policy = RetryPolicy()

    def __init__(self, size: int = 1) -> None:
        self.request = execute_request(
            "wf_1", slug="s", payload={"text": "x" * size}, own_tag="t", max_payload_bytes=2**23
        )


def ordered(desk: Desk, limit: float | None = None, size: int = 1) -> Order:
    """Give a start."""
    base: Any = Base(size)
    return Order(cast("Submission", base), limit, desk)


@pytest.fixture
def desk(clock: FakeClock) -> Desk:
    """A desk that no worker looks at, unless the test does."""

    def deadline(limit: float | None) -> float | None:
        return None if limit is None else clock.now + limit

    return Desk(clock, deadline, lambda: None, lambda _: None)


async def test_what_nobody_takes_ends_with_its_timeout(desk: Desk, clock: FakeClock) -> None:
    """All workers may be gone: the item's own time ends all the same, and nothing was sent."""
    waiting = asyncio.create_task(ordered(desk, 5.0).handle())
    await clock.advance(5)
    error = waiting.exception()
    assert isinstance(error, RequestTimeoutError)
    assert (error.sent, desk.take(9)) == (False, [])


async def test_what_nobody_wants_any_more_is_not_sent(desk: Desk) -> None:
    """A batch that is stopped takes back what no worker has."""
    order = ordered(desk)
    waiting = asyncio.create_task(order.handle())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert (order.has_left, await order.rest(), desk.take(9)) == (False, None, [])


async def test_what_a_worker_held_back_is_not_sent_if_nobody_wants_it(desk: Desk) -> None:
    """It was with a worker when the batch was stopped, and had not left."""
    order = ordered(desk)
    waiting = asyncio.create_task(order.handle())
    await asyncio.sleep(0)
    desk.take(1)[0].flight = 7
    waiting.cancel()
    await asyncio.wait([waiting])
    assert order.has_left
    order.again(absent=False)
    assert (await order.rest(), desk.take(9)) == (None, [])


async def test_large_payloads_make_smaller_chunks(desk: Desk) -> None:
    """A chunk has four MiB at most, unless one start alone is larger."""
    tasks = [asyncio.create_task(ordered(desk, size=3 * 2**20).handle()) for _ in range(3)]
    await asyncio.sleep(0)
    assert [len(desk.take(9)) for _ in range(4)] == [1, 1, 1, 0]
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
