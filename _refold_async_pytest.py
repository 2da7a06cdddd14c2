"""The pytest plugin: a Refold for each test, whose time is skipped.

It imports pytest alone. Everything else comes with the first test that uses a fixture: a pytest run
that uses none pays nothing, and coverage sees the package being imported.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import threading
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from refold_async import RefoldClient
    from refold_async.emulator import Emulator, VirtualTime

_MARKER = "refold"
_made: WeakSet[RefoldClient] = WeakSet()
"""The clients of the fixture."""


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line(
        "markers",
        "refold(strict=False, **settings): settings of the test's Emulator, as behaviour=... or"
        " skip_time=False; strict fails the test for runs it leaves unfinished or never asks for",
    )


@pytest.fixture(scope="session")
def _refold_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop in a thread of its own, on which emulators live whatever tests do to theirs."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="refold-emulator", daemon=True)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture
def refold_emulator(
    request: pytest.FixtureRequest, _refold_loop: asyncio.AbstractEventLoop
) -> Iterator[Emulator]:
    """A Refold of the test's own, empty, that skips time: a `refold_async.emulator.Emulator`."""
    from refold_async.emulator import Emulator

    settings = {"skip_time": True, **_settings(request.node)}
    settings.pop("strict", None)
    emulator = Emulator(**settings)
    asyncio.run_coroutine_threadsafe(emulator.start(), _refold_loop).result()
    yield emulator
    asyncio.run_coroutine_threadsafe(emulator.aclose(), _refold_loop).result()


@pytest.fixture
def refold_time(refold_emulator: Emulator) -> VirtualTime:
    """The time that `refold_emulator` shares with its clients: to advance, to sleep, to hold."""
    return refold_emulator.time


@pytest.fixture
def refold(refold_emulator: Emulator) -> Iterator[RefoldClient]:
    """A client of `refold_emulator`, closed at the end of an async test, in its own event loop.

    A synchronous test closes it where it uses it: `async with refold: ...`.
    """
    from refold_async import ClientClosedError

    client = refold_emulator.client()
    _made.add(client)
    yield client
    loop = asyncio.new_event_loop()
    try:  # of a test that is none, or used it in a loop that has ended
        loop.run_until_complete(client.aclose())
    except ClientClosedError:
        pass  # closed already, by the test or in the loop that it lives on
    finally:
        loop.close()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have async tests close the client they use where it lives."""
    for item in items:
        if not isinstance(item, pytest.Function) or "refold" not in item.fixturenames:
            continue
        if inspect.iscoroutinefunction(item.obj):
            item.obj = _closing(item, item.obj)


def _closing(item: pytest.Function, test: Any) -> Any:
    @functools.wraps(test)
    async def wrapper(*arguments: Any, **named: Any) -> None:
        try:
            await test(*arguments, **named)
        finally:
            client: Any = item.funcargs.get("refold")
            if client in _made:  # else it is the user's own fixture of that name
                await client.aclose()

    return wrapper


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Any:
    """Name what a strict test has left behind."""
    outcome = yield
    if _settings(item).get("strict"):
        funcargs = getattr(item, "funcargs", {})
        emulator, client = funcargs.get("refold_emulator"), funcargs.get("refold")
        left = [] if emulator is None else [*emulator.left_behind()]
        left += [f"{_name(handle)}: its caller left" for handle in getattr(client, "orphans", ())]
        if left:
            lines = "\n".join(f"  {each}" for each in left)
            pytest.fail(f"the test left behind\n{lines}", pytrace=False)
    return outcome


def _name(handle: Any) -> str:
    return f"execution {handle.execution_id} of workflow {handle.workflow_id!r}"


def _settings(item: Any) -> dict[str, Any]:
    marker = item.get_closest_marker(_MARKER)
    return {} if marker is None else dict(marker.kwargs)
