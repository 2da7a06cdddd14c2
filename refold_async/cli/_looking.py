"""`refold status`, `watch` and `list`: what looks at runs and changes nothing."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from refold_async import Execution, ExecutionStatus
from refold_async.cli import _documents as documents
from refold_async.cli._endings import OK, RUN_FAILED, BadUsageError
from refold_async.cli._following import Watcher
from refold_async.cli._options import (
    Account,
    AsJson,
    BaseUrl,
    ExecutionId,
    InsecureHttp,
    Settings,
    WaitTimeout,
)
from refold_async.cli._performing import Job, perform, told
from refold_async.cli._terminal import clean, emit, make_console, moves, pretty, say
from refold_async.cli._views import result_view, run_view, runs_table

_AGO = re.compile(r"(\d{1,9})(s|m|h|d)")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_LARGEST_PAGE = 100


def status(
    execution_id: ExecutionId,
    account: Account = None,
    base_url: BaseUrl = None,
    allow_insecure_http: InsecureHttp = False,
    as_json: AsJson = False,
) -> None:
    """Show where a run stands, with its nodes: one look."""
    settings = Settings(account, base_url, allow_insecure_http, as_json)

    async def work(job: Job) -> int:
        run = await job.refold.handle(execution_id).fetch()
        if as_json:
            emit(documents.of_execution(run))
        else:
            console = make_console()
            console.print(run_view(run, console))
        return OK

    with told(settings):
        perform(settings, work)


def watch(
    execution_id: ExecutionId,
    interval: Annotated[
        float, typer.Option("--interval", metavar="SECONDS", min=0.1, help="Look this often.")
    ] = 2.0,
    timeout: WaitTimeout = None,
    account: Account = None,
    base_url: BaseUrl = None,
    allow_insecure_http: InsecureHttp = False,
    as_json: AsJson = False,
) -> None:
    """Watch a run until it ends, and print its output."""
    settings = Settings(account, base_url, allow_insecure_http, as_json)

    async def work(job: Job) -> int:
        handle = job.refold.handle(execution_id)
        job.interrupted = (
            f"interrupted; the run goes on. Wait for it: {settings.watch_line(handle)}"
        )
        result = await Watcher(handle, interval, as_json=as_json).watch(timeout=timeout)
        console = make_console()
        if as_json:
            emit({"event": "result", **documents.of_run(handle, result)})
        elif not moves(console):
            console.print(result_view(result))
        elif result.output is not None:
            print(pretty(result.output))
        return OK if result.ok else RUN_FAILED

    with told(settings):
        perform(settings, work)


def list_runs(
    status: Annotated[
        str | None,
        typer.Option("--status", metavar="STATUS", help="Only these, as RUNNING or ERRORED."),
    ] = None,
    workflow: Annotated[
        str | None, typer.Option("--workflow", metavar="WORKFLOW_ID", help="Only its runs.")
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            "--since", metavar="AGE|TIME", help="Only newer ones: 30m, 6h, 7d, or an ISO 8601 time."
        ),
    ] = None,
    tag: Annotated[
        str | None, typer.Option("--tag", metavar="TAG", help="Only runs with this label.")
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", metavar="N", min=1, help="At most so many.")
    ] = 20,
    account: Account = None,
    base_url: BaseUrl = None,
    allow_insecure_http: InsecureHttp = False,
    as_json: AsJson = False,
) -> None:
    """List the runs of an account, newest first."""
    settings = Settings(account, base_url, allow_insecure_http, as_json)

    async def work(job: Job) -> int:
        found = []
        shows_tags = False
        pages = job.refold.executions.list(
            page_size=_LARGEST_PAGE if tag else min(limit, _LARGEST_PAGE),
            status=wanted,
            workflow_id=workflow,
            start_date=start,
        )
        async for run in pages:
            shows_tags = shows_tags or run.instance_tag is not None
            # A service may ignore what it is asked for.
            if wanted not in {None, run.status} or tag not in {None, run.instance_tag}:
                continue
            found.append(run)
            if as_json:
                emit(documents.of_execution(run, with_nodes=False))
            if len(found) == limit:
                break
        if not as_json:
            _show(found)
        if tag and not found:
            _say_what_no_tag_means(tag, shows_tags=shows_tags)
        return OK

    with told(settings):
        wanted = None if status is None else _status(status)
        start = None if since is None else _moment(since)
        perform(settings, work)


def _show(found: list[Execution]) -> None:
    if not found:
        say("No such runs.")
        return
    console = make_console()
    console.print(runs_table(found, console))


def _say_what_no_tag_means(tag: str, *, shows_tags: bool) -> None:
    if shows_tags:
        say(f"None of them carries the tag {clean(tag)}.")
    else:
        say("No entry of the list shows any tag, so this proves nothing about that run.")


def _status(text: str) -> ExecutionStatus:
    status = ExecutionStatus(text)
    if status not in set(ExecutionStatus):
        say(f"{clean(status)} is no status this version knows; asked for it all the same.")
    return status


def _moment(text: str) -> datetime:
    """Read an age or a time; a time without a zone is this machine's.

    Raises:
        BadUsageError: it is neither.
    """
    ago = _AGO.fullmatch(text.strip())
    try:
        if ago is not None:
            return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        return datetime.fromisoformat(text.strip()).astimezone()
    except (ValueError, OverflowError):
        raise BadUsageError(
            f"--since is an age as 30m, 6h or 7d, or a time as 2026-06-16T13:15, not {text!r}"
        ) from None
