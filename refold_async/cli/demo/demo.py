"""The demo: the SDK at work over real HTTP, against a local Refold or the real one."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

import attrs
from rich.text import Text

from refold_async import RateLimit, RefoldClient, RefoldError
from refold_async.cli._endings import OK, advice, exit_code
from refold_async.cli.demo.scenes import (
    Handles,
    Work,
    async_run,
    failing_run,
    fan_out,
    picked_up_again,
    sync_run,
)
from refold_async.cli.demo.stage import Stage, summary
from refold_async.emulator import Emulator, Fault, NodeFailed

if TYPE_CHECKING:
    from rich.console import Console

Scene = tuple[str, Callable[[], Awaitable[str]]]

_SLUG = "demo"
_PAYLOAD = {"email": "jane@example.com"}
_FAN_OUT = 50
_SHED = 0.1
_LOCAL_RATE = RateLimit(per_second=60)
_DEFAULT_RATE = RateLimit()
_SERVICE = "https://app.refold.ai"


@attrs.frozen(kw_only=True)
class Live:
    """What the demo starts on the real service.

    Attributes:
        work: the workflow and its payload.
        fan_out: how many runs are started at once; 0 leaves the scene out.
    """

    work: Work
    fan_out: int = 5

    @property
    def runs(self) -> int:
        """How many runs it starts in all."""
        return 3 + self.fan_out


# -- against the emulator --------------------------------------------------------------------


async def play_local(console: Console) -> int:
    """Play all scenes against an emulator in this process; give the exit code."""
    emulator = Emulator()
    _add_workflows(emulator)
    async with emulator:
        console.print(
            Text(f"A Refold emulator in this process, reached over HTTP: {emulator.base_url}")
        )
        stage = Stage(
            console=console,
            settings={
                "base_url": emulator.base_url,
                "api_key": emulator.api_key,
                "linked_account_id": "acct_demo",
                "rate_limit": _LOCAL_RATE,
            },
            caption=(
                f"By default a client keeps to {_DEFAULT_RATE.per_second:g} requests/s with bursts"
                f" of {_DEFAULT_RATE.burst}, the rate Refold documents. Here they were allowed"
                f" {_LOCAL_RATE.per_second:g}/s to keep this short; at"
                f" {_DEFAULT_RATE.per_second:g}/s the fan-out takes about 13 s."
            ),
        )
        async with stage.client() as refold:
            error = await _play(stage, _local_scenes(stage, refold, emulator))
        arrived = sum(emulator.counts.values())
        started = len(emulator.runs)
    return _conclude(
        stage, error, f"The emulator counted {arrived} requests and {started} runs started"
    )


def _local_scenes(stage: Stage, refold: RefoldClient, emulator: Emulator) -> list[Scene]:
    contact = Work(workflow_id="wf_contact", slug=_SLUG, payload=_PAYLOAD)
    deal = attrs.evolve(contact, workflow_id="wf_deal")
    report = attrs.evolve(contact, workflow_id="wf_report")

    def witness(handles: Handles) -> str:
        starts = sum(emulator.started(handle.instance_tag or "") for handle in handles)
        return f"Runs the emulator itself counted for them: {starts}."

    async def fan_out_while_shedding() -> str:
        emulator.faults.share("execute", Fault(status=503), share=_SHED)
        try:
            said = await fan_out(stage, contact, _FAN_OUT, witness=witness)
        finally:
            emulator.faults.clear()
        return f"The emulator answers {_SHED:.0%} of the triggers with 503.\n{said}"

    return [
        ("An async run, awaited", partial(async_run, refold, contact)),
        ("A sync run", partial(sync_run, refold, contact)),
        (f"{_FAN_OUT} runs while the service sheds load", fan_out_while_shedding),
        ("A run that fails", partial(failing_run, refold, deal)),
        (
            "A wait that times out, picked up again",
            partial(picked_up_again, stage, report, 0.7),
        ),
    ]


def _add_workflows(emulator: Emulator) -> None:
    @emulator.workflow("wf_contact", slug=_SLUG, duration=0.4)
    def create_contact(payload: dict[str, Any]) -> dict[str, Any]:
        return {"contact_id": 1, "email": payload["email"]}

    stages = ("Start", "Find contact", "Update deal", "Response")

    @emulator.workflow("wf_deal", slug=_SLUG, duration=0.4, nodes=stages)
    def update_deal(_: dict[str, Any]) -> NoReturn:
        raise NodeFailed(node="Update deal", message="the CRM answered 409: deal is closed")

    @emulator.workflow("wf_report", slug=_SLUG, duration=1.0)
    def write_report(_: dict[str, Any]) -> dict[str, Any]:
        return {"rows": 1200}


# -- against the real service ----------------------------------------------------------------


def missing_settings(environ: Mapping[str, str] = os.environ) -> str | None:
    """Say which settings the real service needs and the environment lacks; None if all are set."""
    key, token = environ.get("REFOLD_API_KEY"), environ.get("REFOLD_SESSION_TOKEN")
    if not key and not token:
        return "REFOLD_API_KEY with REFOLD_LINKED_ACCOUNT_ID, or REFOLD_SESSION_TOKEN"
    if key and not environ.get("REFOLD_LINKED_ACCOUNT_ID"):
        return "REFOLD_LINKED_ACCOUNT_ID, the account the runs are for"
    return None


async def play_live(console: Console, live: Live) -> int:
    """Play the scenes that make sense against the real service; give the exit code."""
    stage = Stage(
        console=console,
        settings={},
        caption=f"The clients keep to {_DEFAULT_RATE.per_second:g} requests/s with bursts of"
        f" {_DEFAULT_RATE.burst}, the rate Refold documents.",
    )
    async with stage.client() as refold:
        console.print(Text(_intent(live, refold)), soft_wrap=True)
        error = await _play(stage, _live_scenes(stage, refold, live))
    asked = sum(client.stats.requests.get("execute", 0) for client in stage.clients)
    return _conclude(stage, error, f"Requests that asked for a run: {asked}")


def _intent(live: Live, refold: RefoldClient) -> str:
    where = os.environ.get("REFOLD_BASE_URL") or _SERVICE
    account = refold.linked_account_id or "of the session token"
    at_once = f"{live.fan_out} at once, " if live.fan_out else ""
    return (
        f"About to start {live.runs} runs of workflow {live.work.workflow_id}"
        f" (slug {live.work.slug}) at {where}\nfor linked account {account}:"
        f" 1 async, 1 sync, {at_once}1 whose wait times out.\n"
        f"Payload of each: {live.work.payload}"
    )


def _live_scenes(stage: Stage, refold: RefoldClient, live: Live) -> list[Scene]:
    work = live.work
    scenes: list[Scene] = [
        ("An async run, awaited", partial(async_run, refold, work)),
        ("A sync run", partial(sync_run, refold, work)),
        (
            f"{live.fan_out} runs at once",
            partial(fan_out, stage, work, live.fan_out),
        ),
        ("A wait that times out, picked up again", partial(picked_up_again, stage, work, 0.3)),
    ]
    return [scene for scene in scenes if live.fan_out or scene is not scenes[2]]


# -- both ------------------------------------------------------------------------------------


async def _play(stage: Stage, scenes: list[Scene]) -> RefoldError | None:
    """Play scenes up to the first one that ends with an error."""
    error = None
    with stage.shown():
        for title, scene in scenes:
            error = await stage.play(title, scene)
            if error is not None:
                break
    return error


def _conclude(stage: Stage, error: RefoldError | None, counted: str) -> int:
    """Print the table and the summary; give the exit code."""
    stage.console.print(stage.table())
    stage.console.print(Text(summary(stage.stats())), soft_wrap=True)
    stage.console.print(Text(f"{counted}; {stage.seconds:.1f} s in all."), soft_wrap=True)
    if error is None:
        return OK
    stage.console.print(
        Text(f"Stopped at this failure. {advice(error)}", style="red"), soft_wrap=True
    )
    return exit_code(error)
