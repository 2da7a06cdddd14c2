"""Whose a client is: one loop's, one process's, and nobody's after its end."""

from __future__ import annotations

import asyncio
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import pytest

from refold_async import ClientClosedError
from tests.support.wire import STARTS, Step, http, wire

if TYPE_CHECKING:
    from collections.abc import Callable

    from refold_async import RefoldClient

Use = "Callable[[RefoldClient], Awaitable[Any]]"


async def _first(refold: RefoldClient) -> Any:
    async for execution in refold.executions.list():
        return execution
    return None


async def _snapshot(refold: RefoldClient) -> Any:
    async for snapshot in refold.handle("e1").snapshots():
        return snapshot
    return None


USES = pytest.mark.parametrize(
    "use",
    [
        pytest.param(lambda refold: refold.execute("wf_1", slug="s"), id="execute"),
        pytest.param(lambda refold: refold.run("wf_1", slug="s"), id="run"),
        pytest.param(lambda refold: refold.executions.get("e1"), id="get"),
        pytest.param(_first, id="list"),
        pytest.param(lambda refold: refold.handle("e1").stop(), id="stop"),
        pytest.param(lambda refold: refold.handle("e1").rerun(), id="rerun"),
        pytest.param(lambda refold: refold.handle("e1").result(), id="result"),
        pytest.param(_snapshot, id="snapshots"),
        pytest.param(lambda refold: refold.for_account("a2").execute("w", slug="s"), id="view"),
        pytest.param(lambda refold: refold.__aenter__(), id="async with"),
    ],
)


@USES
@pytest.mark.parametrize("used_before", [True, False])
async def test_a_closed_client_says_so(
    connect: Callable[..., RefoldClient], use: Any, used_before: bool
) -> None:
    """Whatever it is asked for, and whether it was ever used; nothing is sent."""
    async with wire(STARTS) as server:
        refold = connect(server)
        if used_before:
            await refold.execute("wf_1", slug="s")
        await refold.aclose()
        with pytest.raises(ClientClosedError):
            await use(refold)
    assert len(server.seen) == int(used_before)


@USES
async def test_another_loop_in_another_thread_is_told(
    connect: Callable[..., RefoldClient], use: Any
) -> None:
    """A client serves the loop of its first call alone, and goes on serving it."""

    async def elsewhere() -> None:
        async with asyncio.timeout(20):
            await use(refold)

    async with wire(STARTS) as server:
        refold = connect(server)
        await refold.execute("wf_1", slug="s")
        with pytest.raises(ClientClosedError, match="event loop"):
            await asyncio.to_thread(asyncio.run, elsewhere())
        await refold.execute("wf_1", slug="s")
    assert len(server.seen) == 2


async def test_a_run_waited_for_here_can_not_be_waited_for_elsewhere(
    connect: Callable[..., RefoldClient],
) -> None:
    """The wait in the other loop fails clearly, the one in this goes on."""
    document = http(200, {"_id": "e1", "status": "RUNNING"})
    async with wire(Step(reply=document)) as server:
        refold = connect(server)
        handle = refold.handle("e1")
        wait = asyncio.create_task(handle.result())
        await asyncio.sleep(0.05)

        async def elsewhere() -> None:
            async with asyncio.timeout(20):
                await handle.result()

        try:
            with pytest.raises(ClientClosedError):
                await asyncio.to_thread(asyncio.run, elsewhere())
            assert not wait.done()
        finally:
            wait.cancel()
            await asyncio.wait([wait])


FORKED = """
    import asyncio, os, sys
    from refold_async import ClientClosedError, RefoldClient

    def attempt(run, use=lambda: refold.execute("wf_1", slug="s")):
        try:
            run(use())
        except ClientClosedError:
            return "told"
        except BaseException as error:
            return repr(error)
        return "sent"

    refold = RefoldClient(api_key="tk_1", linked_account_id="a", base_url=sys.argv[1])
    runner = asyncio.Runner()
    runner.run(refold.execute("wf_1", slug="s"))
    child = os.fork()
    if child == 0:
        print("new loop", attempt(asyncio.run), "same loop", attempt(runner.run), end=" ")
        print("close", attempt(asyncio.run, refold.aclose), flush=True)
        os._exit(0)
    os.waitpid(child, 0)
    print("parent", attempt(runner.run), flush=True)
    runner.run(refold.aclose())
    runner.close()
"""


async def test_a_forked_child_is_told() -> None:
    """The child may not write on its parent's connections; the parent goes on as before."""
    async with wire(STARTS) as server:
        printed, complaint = await _python(FORKED, server.base_url)
    assert printed.splitlines() == ["new loop told same loop told close told", "parent sent"]
    assert not complaint
    assert (len(server.seen), server.connections) == (2, 1)


async def test_a_client_is_closed_where_it_lives(connect: Callable[..., RefoldClient]) -> None:
    """Another loop may not pull its sockets away; it goes on working."""
    async with wire(STARTS) as server:
        refold = connect(server)
        await refold.execute("wf_1", slug="s")
        with pytest.raises(ClientClosedError, match="event loop"):
            await asyncio.to_thread(asyncio.run, refold.aclose())
        await refold.execute("wf_1", slug="s")
    assert len(server.seen) == 2


LATE = """
    import asyncio, sys
    from refold_async import RefoldClient

    async def use():
        await refold.execute("wf_1", slug="s")
        wait = asyncio.ensure_future(refold.handle("e1").result())
        await asyncio.sleep(0.05)
        return wait

    refold = RefoldClient(api_key="tk_1", linked_account_id="a", base_url=sys.argv[1])
    loop = asyncio.new_event_loop()
    wait = loop.run_until_complete(use())
    if sys.argv[2] == "tidy":
        wait.cancel()
        loop.run_until_complete(asyncio.wait([wait]))
    loop.close()
    asyncio.run(refold.aclose())
    asyncio.run(refold.aclose())
    print(refold)
"""


@pytest.mark.parametrize("end", ["tidy", "untidy"])
async def test_a_client_may_be_closed_after_its_loop(end: str) -> None:
    """As by a fixture that outlives the test: whatever was under way ended with the loop."""
    document = http(200, {"_id": "e1", "status": "RUNNING"})
    async with wire(STARTS, Step(reply=document)) as server:
        out, _ = await _python(LATE, server.base_url, end)
    assert "closed>" in out


UNCLOSED = """
    import asyncio, gc, sys
    from refold_async import RefoldClient

    async def use(views):
        refold = RefoldClient(api_key="tk_secret", linked_account_id="a", base_url=sys.argv[1])
        handle = await (refold.for_account("b") if views else refold).execute("wf_1", slug="s")
        if sys.argv[2] == "closed":
            await refold.aclose()
        elif sys.argv[2] == "unused":
            RefoldClient(api_key="tk_secret")
            await refold.aclose()

    asyncio.run(use(sys.argv[3] == "view"))
    gc.collect()
"""


@pytest.mark.parametrize("use", ["client", "view"])
@pytest.mark.parametrize(("end", "warned"), [("closed", 0), ("unused", 0), ("unclosed", 1)])
async def test_an_unclosed_client_warns(use: str, end: str, warned: int) -> None:
    """By a ResourceWarning that says what to do; one that never opened a socket is silent."""
    async with wire(STARTS) as server:
        _, err = await _python(UNCLOSED, server.base_url, end, use)
    assert err.count("ResourceWarning: unclosed RefoldClient of http://127.0.0.1") == warned
    assert err.count("await refold.aclose()") == warned
    assert ("ResourceWarning" in err) == bool(warned)
    assert "tk_secret" not in err


async def _python(program: str, *arguments: str) -> tuple[str, str]:
    # Not in development mode: asyncio would tell of every callback that took 0.1 s.
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-W", "default", "-c", textwrap.dedent(program), *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(120):
        out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return out.decode(), err.decode()
