"""The demo's scenes in this process."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
from rich.console import Console

from refold_async import BadRequestError, PollPolicy
from refold_async.cli._terminal import PIPED_WIDTH, make_console
from refold_async.cli.demo import demo as _demo
from refold_async.cli.demo.demo import Live, play_live, play_local
from refold_async.cli.demo.scenes import Work, failing_run, fan_out, picked_up_again
from refold_async.cli.demo.stage import Stage
from refold_async.emulator import Behaviour, Emulator, Fault, NodeFailed

if TYPE_CHECKING:
    from collections.abc import Callable


class Screen(io.StringIO):
    """A terminal that only remembers."""

    def __init__(self, *, tty: bool = False) -> None:
        super().__init__()
        self._tty = tty

    def isatty(self) -> bool:
        """Whether a person is looking."""
        return self._tty


def console(*, tty: bool = False) -> Console:
    """A console of 120 columns."""
    return Console(file=Screen(tty=tty), width=120, force_terminal=tty, highlight=False)


def shown(screen: Console) -> str:
    """What a console was told, line breaks undone."""
    assert isinstance(screen.file, Screen)
    return " ".join(screen.file.getvalue().replace("│", " ").split())


def echo(payload: dict[str, Any]) -> Any:
    """Give the payload back."""
    return payload


@pytest.fixture
def point_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[Emulator], None]:
    """Set the environment for an emulator."""

    def point(emulator: Emulator) -> None:
        monkeypatch.setenv("REFOLD_BASE_URL", emulator.base_url)
        monkeypatch.setenv("REFOLD_API_KEY", emulator.api_key)
        monkeypatch.setenv("REFOLD_LINKED_ACCOUNT_ID", "acct_1")

    return point


@pytest.fixture
def stage(emulator: Emulator) -> Stage:
    """A stage before the emulator, with quick looks."""
    return Stage(
        console=console(),
        settings={
            "base_url": emulator.base_url,
            "api_key": emulator.api_key,
            "linked_account_id": "acct_1",
            "polling": PollPolicy(first=0.02, max_interval=0.1),
        },
    )


WORK = Work(workflow_id="wf_1", slug="crm", payload={"n": 1})


async def test_local_demo_plays_all_scenes(monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends well, whatever settings of the real service are in the environment."""
    monkeypatch.setattr(_demo, "_FAN_OUT", 12)
    monkeypatch.setenv("REFOLD_SESSION_TOKEN", "not for the emulator")
    screen = console(tty=True)

    assert await play_local(screen) == 0
    assert "12 of 12 runs" in shown(screen)
    assert "Runs the emulator itself counted for them: 12." in shown(screen)


async def test_live_stops_at_a_failed_run(
    emulator: Emulator, point_at: Callable[[Emulator], None]
) -> None:
    """The failure is a row of the table, the other scenes start nothing, and the code is 1."""

    @emulator.workflow("wf_1", slug="crm")
    def fail(_: Any) -> NoReturn:
        raise NodeFailed(node="Work", message="the CRM said no")

    point_at(emulator)
    screen = console()

    assert await play_live(screen, Live(work=WORK)) == 1
    assert "ExecutionFailedError" in shown(screen)
    assert "the CRM said no" in shown(screen)
    assert len(emulator.runs) == 1


async def test_live_leaves_an_empty_fan_out_away(
    emulator: Emulator, point_at: Callable[[Emulator], None]
) -> None:
    """`--fan-out 0` starts three runs, and says so."""
    emulator.workflow("wf_1", slug="crm")(echo)
    point_at(emulator)
    screen = console()

    assert await play_live(screen, Live(work=WORK, fan_out=0)) == 0
    assert "1 async, 1 sync, 1 whose wait times out" in shown(screen)
    assert "at once" not in shown(screen)
    assert len(emulator.runs) == 3


async def test_live_waits_where_a_proxy_drops_the_sync_header(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A sync run that was made an async one is awaited, and the table says so."""
    async with Emulator(behaviour=Behaviour(drop_underscore_headers=True)) as emulator:
        emulator.workflow("wf_1", slug="crm")(echo)
        monkeypatch.setenv("REFOLD_BASE_URL", emulator.base_url)
        monkeypatch.setenv("REFOLD_SESSION_TOKEN", emulator.issue_token("acct_1"))
        screen = console()

        assert await play_live(screen, Live(work=WORK, fan_out=0)) == 0
    assert "for linked account of the session token" in shown(screen)
    assert "answered with an id alone, so the result was waited for" in shown(screen)


async def test_fan_out_tells_of_the_others_when_one_is_refused(
    emulator: Emulator, stage: Stage
) -> None:
    """The first failure is raised once all have ended, with what became of them."""
    emulator.workflow("wf_1", slug="crm")(echo)
    emulator.faults.script("execute", None, Fault(status=400))

    async def scene() -> str:
        return await fan_out(stage, WORK, 3)

    error = await stage.play("Three runs", scene)

    assert isinstance(error, BadRequestError)
    assert "2 of 3 runs from one asyncio.gather ended well" in stage.rows[0].happened
    assert len(emulator.runs) == 2


async def test_run_that_does_not_fail_is_no_failing_run(emulator: Emulator, stage: Stage) -> None:
    """The scene says what it saw."""
    emulator.workflow("wf_1", slug="crm")(echo)
    async with stage.client() as refold:
        said = await failing_run(refold, WORK)

    assert said.endswith("ended COMPLETED, though it was made to fail.")


async def test_quick_run_needs_no_second_client(emulator: Emulator, stage: Stage) -> None:
    """A run that ends in time is not picked up again."""
    emulator.workflow("wf_1", slug="crm")(echo)
    said = await picked_up_again(stage, WORK, 5.0)

    assert said.endswith("ended COMPLETED within 5 s already.")


async def test_long_outputs_are_cut(
    emulator: Emulator, point_at: Callable[[Emulator], None]
) -> None:
    """A megabyte does not flood the terminal."""
    emulator.workflow("wf_1", slug="crm")(lambda _: "x" * 1_000_000)
    point_at(emulator)
    screen = console()

    assert await play_live(screen, Live(work=WORK, fan_out=0)) == 0
    assert 100 < shown(screen).count("x") < 300
    assert "..." in shown(screen)


def test_pipe_has_a_width_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no terminal the table is as wide as the README's."""
    monkeypatch.setattr("sys.stdout", Screen())

    assert make_console().width == PIPED_WIDTH
