"""The commands, as typer reads them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from refold_async import RefoldError, __version__
from refold_async.cli._commands import Commands
from refold_async.cli._endings import BAD_USAGE, INTERRUPTED, advice, exit_code
from refold_async.cli._interrupts import Interrupts
from refold_async.cli._looking import list_runs, status, watch
from refold_async.cli._probing import probe
from refold_async.cli._starting import execute, rerun, run, stop
from refold_async.cli._terminal import complain, make_console
from refold_async.cli._types import types
from refold_async.cli._webhooks import webhooks
from refold_async.cli.batch import batch, batch_retry, batch_status, batch_stop

if TYPE_CHECKING:
    from collections.abc import Coroutine

app = typer.Typer(
    name="refold",
    cls=Commands,
    no_args_is_help=True,
    # A traceback with local variables could show a key.
    pretty_exceptions_enable=False,
)

for command in (execute, run, status, watch, stop, rerun, batch):
    app.command()(command)
app.command(name="batch status")(batch_status)
app.command(name="batch stop")(batch_stop)
app.command(name="batch retry")(batch_retry)
app.command()(types)
app.command()(probe)
app.command(name="list")(list_runs)
app.add_typer(webhooks, name="webhooks")


def _say_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"refold-async {__version__}")
        raise typer.Exit


@app.callback()
def refold(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_say_version, is_eager=True, help="Say which it is."),
    ] = False,
) -> None:
    """Execute Refold workflows and await their results."""


def _read_payload(text: str) -> dict[str, Any]:
    try:
        payload = json.loads(text)
    except ValueError as error:
        raise typer.BadParameter(f"is no JSON: {error}") from None
    if not isinstance(payload, dict):
        raise typer.BadParameter("must be a JSON object")
    return payload


@app.command()
def demo(
    live: Annotated[
        tuple[str, str] | None,
        typer.Option(
            metavar="WORKFLOW_ID SLUG",
            help="Start runs of this workflow on the real service. REFOLD_API_KEY and"
            " REFOLD_LINKED_ACCOUNT_ID, or REFOLD_SESSION_TOKEN, and REFOLD_BASE_URL are read from"
            " the environment.",
            show_default=False,
        ),
    ] = None,
    payload: Annotated[
        str, typer.Option(metavar="JSON", help="Payload of the runs, with --live.")
    ] = "{}",
    fan_out: Annotated[
        int, typer.Option(metavar="N", min=0, max=100, help="Runs started at once, with --live.")
    ] = 5,
    timeout: Annotated[
        float,
        typer.Option(metavar="SECONDS", min=1, help="Longest wait for an async run, with --live."),
    ] = 300.0,
) -> None:
    """Show the SDK at work: in a few seconds against an emulator, or with --live for real."""
    # No other command needs a service of its own.
    from refold_async.cli.demo import (  # noqa: PLC0415
        Live,
        Work,
        missing_settings,
        play_live,
        play_local,
    )

    if live is None:
        raise typer.Exit(_run(play_local(make_console())))
    missing = missing_settings()
    if missing is not None:
        complain(f"--live needs {missing}. Nothing was sent.")
        raise typer.Exit(BAD_USAGE)
    work = Work(workflow_id=live[0], slug=live[1], payload=_read_payload(payload), timeout=timeout)
    raise typer.Exit(_run(play_live(make_console(), Live(work=work, fan_out=fan_out))))


@app.command(
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def emulator(context: typer.Context) -> None:
    """Run a local Refold to point a client at; `refold emulator --help` lists its options."""
    from refold_async.emulator.__main__ import main  # noqa: PLC0415 - as for the demo

    raise typer.Exit(main(context.args))


def _run(play: Coroutine[Any, Any, int]) -> int:
    """Run the demo's one event loop; failures become a message and an exit code."""
    try:
        return Interrupts().run(play)
    except RefoldError as error:
        complain(f"{error}\n{advice(error)}")
        return exit_code(error)
    except KeyboardInterrupt:
        complain("interrupted; runs that were started go on")
        return INTERRUPTED
