"""The pytest plugin, in test-suites of its users: each runs as a process of its own."""

from __future__ import annotations

import pytest

from refold_async.emulator import Emulator

pytest_plugins = "pytester"

SCOPE = ("-o", "asyncio_default_fixture_loop_scope=function")
"""What pytest-asyncio warns about if it is not said."""
USED = """
import asyncio
import pytest

@pytest.fixture(autouse=True)
def _workflows(refold_emulator):
    refold_emulator.workflow("wf", slug="s", duration=3 * 3600)(lambda given: given)

def test_starts_with_nothing(refold_emulator):
    assert refold_emulator.runs == [] and len(refold_emulator.requests) == 0

{mark}
async def test_a_run_of_three_hours(refold, refold_emulator):
    result = await refold.run("wf", slug="s", payload={{"n": 1}})
    assert result.output == {{"n": 1}}
    refold_emulator.assert_started("wf", payload={{"n": 1}})

{mark}
async def test_time_goes_by_hand(refold, refold_time):
    handle = await refold.execute("wf", slug="s")
    before = refold_time.time()
    await refold_time.advance(3600)
    assert (await handle.fetch()).completion_percentage == 33
    await refold_time.sleep(7200)
    assert refold_time.time() - before == pytest.approx(10800)
    assert await handle.status() == "COMPLETED"

@pytest.fixture
def contacts(refold):
    return refold

{mark}
async def test_another_fixture_uses_the_client(contacts):
    assert (await contacts.run("wf", slug="s")).ok

def test_a_synchronous_test(refold, refold_emulator, refold_time):
    async def main():
        async with refold:
            return await refold.execute("wf", slug="s")
    asyncio.run(main())
    refold_time.advance_blocking(10800)
    assert refold_emulator.runs[0].is_over(refold_time.time())

def test_a_client_that_is_not_used(refold):
    pass
"""


@pytest.mark.parametrize(
    ("options", "mark"),
    [
        pytest.param(
            (*SCOPE, "-o", "asyncio_mode=strict"), "@pytest.mark.asyncio", id="asyncio-strict"
        ),
        pytest.param((*SCOPE, "-o", "asyncio_mode=auto"), "", id="asyncio-auto"),
        pytest.param(("-p", "no:asyncio"), "@pytest.mark.anyio", id="anyio"),
    ],
)
def test_fixtures_work_with_every_runner(
    pytester: pytest.Pytester, options: tuple[str, ...], mark: str
) -> None:
    """Async tests of pytest-asyncio and anyio, and synchronous ones; nothing is left open."""
    anyio = '\n@pytest.fixture\ndef anyio_backend():\n    return "asyncio"\n'
    pytester.makepyfile(USED.format(mark=mark) + (anyio if "anyio" in mark else ""))
    result = pytester.runpytest_subprocess(*options, "-W", "error", "--strict-markers")

    result.assert_outcomes(passed=6)


def test_what_is_not_used_is_not_there(pytester: pytest.Pytester) -> None:
    """A run whose tests use no fixture imports no SDK and no aiohttp, and starts no thread."""
    pytester.makepyfile(
        """
        import sys, threading

        def test_nothing_is_there():
            assert "_refold_async_pytest" in sys.modules
            assert not {"refold_async", "aiohttp", "attrs"} & sys.modules.keys()
            assert "refold-emulator" not in [each.name for each in threading.enumerate()]
        """
    )
    result = pytester.runpytest_subprocess("-p", "no:asyncio")

    result.assert_outcomes(passed=1)


def test_strict_names_what_is_left_behind(pytester: pytest.Pytester) -> None:
    """Unfinished runs, runs nobody asked for, orphans: named where asked for, else not minded."""
    pytester.makepyfile(
        """
        import asyncio
        import pytest
        from refold_async import WaitTimeoutError
        from refold_async.emulator import Behaviour

        pytestmark = pytest.mark.asyncio

        @pytest.fixture(autouse=True)
        def _workflows(refold_emulator):
            refold_emulator.workflow("short", slug="s", duration=60)(dict)
            refold_emulator.workflow("long", slug="s", duration=3600)(dict)

        @pytest.mark.refold(strict=True)
        async def test_unfinished(refold):
            await refold.execute("long", slug="s")

        @pytest.mark.refold(strict=True)
        async def test_never_asked_for(refold, refold_time):
            await refold.execute("short", slug="s")
            await refold_time.advance(60)

        @pytest.mark.refold(strict=True)
        async def test_orphan(refold, refold_emulator):
            waiting = asyncio.create_task(refold.run("long", slug="s"))
            with refold_emulator.time.hold():
                while not refold_emulator.runs:
                    await asyncio.sleep(0)
                waiting.cancel()
                await asyncio.wait([waiting])
                while not len(refold.orphans):
                    await asyncio.sleep(0)

        @pytest.mark.refold(strict=True)
        async def test_tidy(refold):
            await refold.run("short", slug="s")
            await (await refold.execute("short", slug="s", sync=True))

        @pytest.mark.refold(strict=True)
        async def test_that_fails_anyway(refold):
            await refold.execute("long", slug="s")
            assert False, "its own reason"

        async def test_not_minded(refold):
            await refold.execute("long", slug="s")

        @pytest.mark.refold(behaviour=Behaviour(max_page_size=7), skip_time=False)
        async def test_settings(refold_emulator):
            assert refold_emulator.behaviour.max_page_size == 7
            with pytest.raises(RuntimeError):
                refold_emulator.time
        """
    )
    result = pytester.runpytest_subprocess(*SCOPE, "--strict-markers")

    result.assert_outcomes(passed=3, failed=4)
    result.stdout.fnmatch_lines_random(
        [
            "*_ test_unfinished _*",
            "*execution * of workflow 'long': RUNNING",
            "*_ test_never_asked_for _*",
            "*execution * of workflow 'short': COMPLETED, and nobody asked for its end",
            "*_ test_orphan _*",
            "*execution * of workflow 'long': its caller left",
            "E*its own reason*",
        ]
    )


async def test_assert_started_reads_well() -> None:
    """What was started instead is shown, and the requests that started nothing."""
    async with Emulator(skip_time=True) as emulator:
        emulator.workflow("wf", slug="s", alias="contacts", duration=1.0)(dict)
        async with emulator.client() as refold:
            with pytest.raises(AssertionError, match=r"'wf' was started never, not once\nno run"):
                emulator.assert_started("wf")
            handle = await refold.execute("wf", slug="s", payload={"n": 1})
            await refold.run("wf", slug="s", payload={"n": 2})
            with pytest.raises(Exception, match="Workflow ID and slug"):
                await refold.execute("wf", slug="other", payload={"n": 3})

        one = emulator.assert_started("contacts", payload={"n": 1})
        with pytest.raises(AssertionError) as caught:
            emulator.assert_started("wf", payload={"n": 3})

    assert [run.execution_id for run in one] == [handle.execution_id]
    assert emulator.assert_started("wf", times=2) == emulator.runs
    lines = str(caught.value).splitlines()
    assert lines[:3] == [
        """'wf' was started never with payload {"n": 3}, not once""",
        "runs there are:",
        f"""  wf {handle.execution_id} {{"n": 1}}""",
    ]
    assert lines[-1].endswith("""/workflow/wf/execute {"payload":{"n":3}}>""")


async def test_requests_print_well() -> None:
    """In an assertion they take one line, printed one line each; no header and no key shows."""
    async with Emulator(skip_time=True) as emulator:
        emulator.workflow("wf", slug="s", duration=3600.0)(dict)
        empty = repr(emulator.requests)
        async with emulator.client(linked_account_id="acct_1") as refold:
            await refold.run("wf", slug="s", payload={"text": "x" * 500})
            for _ in range(3):
                await refold.ping()

    listed = str(emulator.requests).splitlines()
    assert empty == "<0 requests: none>"
    assert repr(emulator.requests) == (
        "<6 requests: execute, get_execution, get_response, 3 x list_executions>"
    )
    assert listed[0].startswith("       0.000 s  <execute: POST /api/v2/public/workflow/wf/execute")
    assert listed[0].endswith("xxx...>")
    assert float(listed[1].split()[0]) == pytest.approx(3600, abs=0.1)
    assert emulator.api_key not in str(emulator.requests) + repr(emulator.requests)
