"""Fixtures all tests share."""

from __future__ import annotations

import asyncio
import gc
import signal
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import aiohttp
import aioresponses.core
import pytest
from aiohttp.client_proto import ResponseHandler
from aiohttp.helpers import TimerNoop
from aiohttp.streams import StreamReader
from hypothesis import HealthCheck, settings

from refold_async import PollPolicy, RefoldClient, RetryPolicy
from refold_async.emulator import Emulator
from tests.support import loops
from tests.support.clock import FakeClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

ACCOUNT = "acct_1"
QUICK = PollPolicy(first=0.02, max_interval=0.1)
"""Looks close together, for runs that take a tenth of a second."""

loops.choose()

# Hypothesis looks briefly and always alike; `--hypothesis-profile=explore` explores.
# How long it takes is the machine's business.
settings.register_profile(
    "gate",
    max_examples=20,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "explore", settings.get_profile("gate"), max_examples=1_000, derandomize=False
)
settings.register_profile("quick", settings.get_profile("gate"), max_examples=8)
settings.load_profile("gate")


def pytest_configure() -> None:
    """A shell's background jobs ignore Ctrl-C, and so would the commands that tests interrupt."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """What is there by now stays: no garbage collector need look through it again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the machine's own settings out of the tests."""
    for name in ("API_KEY", "SESSION_TOKEN", "LINKED_ACCOUNT_ID", "BASE_URL"):
        monkeypatch.delenv(f"REFOLD_{name}", raising=False)


@pytest.fixture(autouse=True)
def _only_our_commands_are_counted(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Do without coverage in other processes: it takes a third of a second of each."""
    if "cli" not in request.path.parts:
        monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)


@pytest.fixture(autouse=True)
async def _no_leaked_tasks() -> AsyncIterator[None]:
    """Fail a test that leaves a task behind."""
    before = asyncio.all_tasks()
    yield
    for _ in range(5):  # a connection that was just cut needs a turn to end
        await asyncio.sleep(0)
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    assert not left, f"leaked tasks: {left}"


@pytest.fixture
def clock() -> FakeClock:
    """A clock that only moves when the test moves it."""
    return FakeClock()


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    """A local Refold."""
    async with Emulator() as running:
        yield running


@pytest.fixture
async def connect() -> AsyncIterator[Callable[..., RefoldClient]]:
    """Make clients that are closed with the test: `connect(emulator_or_wire, **settings)`."""
    made: list[RefoldClient] = []

    def make(server: Any, **settings: Any) -> RefoldClient:
        defaults: dict[str, Any] = {
            "base_url": server.base_url,
            "linked_account_id": ACCOUNT,
            "rate_limit": None,
            "polling": QUICK,
            "retry": RetryPolicy(wait=0.0, max_wait=0.0, patience=1.0),
        }
        if "session_token" not in settings:
            defaults["api_key"] = getattr(server, "api_key", "tk_test")
        client = RefoldClient(**(defaults | settings))
        made.append(client)
        return client

    yield make
    for client in made:
        await client.aclose()


class _Response(aiohttp.ClientResponse):
    """aiohttp 3.14 wants a `stream_writer` that aioresponses 0.7.9 doesn't give."""

    def __init__(self, *args: Any, **options: Any) -> None:
        options.setdefault("stream_writer", SimpleNamespace(output_size=0))
        super().__init__(*args, **options)


def _roomy_stream(loop: asyncio.AbstractEventLoop | None = None) -> StreamReader:
    """Give a stream that never pauses the transport aioresponses doesn't have."""
    loop = loop or asyncio.get_running_loop()
    return StreamReader(ResponseHandler(loop=loop), limit=2**30, timer=TimerNoop(), loop=loop)


@pytest.fixture
def mocked(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Give aioresponses, made to work with aiohttp 3.14: for "which request was made"."""
    monkeypatch.setattr(aioresponses.core, "stream_reader_factory", _roomy_stream)
    monkeypatch.setattr(aioresponses.core, "ClientResponse", _Response)
    with aioresponses.aioresponses() as mock:
        yield mock
