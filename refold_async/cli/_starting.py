"""`refold execute`, `run` and `rerun`: what starts a run; and `stop`."""

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from refold_async import ExecutionHandle, ExecutionResult
from refold_async.cli import _documents as documents
from refold_async.cli._endings import OK, RUN_FAILED
from refold_async.cli._following import wait_with_progress
from refold_async.cli._options import (
    Account,
    AsJson,
    BaseUrl,
    ExecutionId,
    InsecureHttp,
    Mode,
    Settings,
    Slug,
    WaitTimeout,
    retry_policy,
)
from refold_async.cli._payload import read_payload
from refold_async.cli._performing import Job, perform, told
from refold_async.cli._terminal import clean, emit, make_console, say
from refold_async.cli._views import result_view

WorkflowId = Annotated[
    str, typer.Argument(metavar="WORKFLOW_ID", help="A published workflow, or its alias.")
]
Payload = Annotated[
    str | None,
    typer.Option(
        "--payload",
        metavar="JSON|@FILE|-",
        help="The input: a JSON object, a file that holds one, or - for standard input.",
        show_default=False,
    ),
]
Sync = Annotated[
    bool, typer.Option("--sync", help="Hold the connection until the workflow has ended.")
]
ConfigId = Annotated[
    str | None,
    typer.Option("--config-id", metavar="ID", help="Which configuration.", show_default=False),
]
Tag = Annotated[
    str | None,
    typer.Option("--tag", metavar="TAG", help="A label for the run.", show_default=False),
]


def execute(
    workflow_id: WorkflowId,
    slug: Slug,
    payload: Payload = None,
    sync: Sync = False,
    config_id: ConfigId = None,
    tag: Tag = None,
    mode: Mode = "transient",
    timeout: Annotated[
        float | None,
        typer.Option(
            "--timeout",
            metavar="SECONDS",
            min=0.001,
            help="Longest time the start may take, with all its tries.",
            show_default=False,
        ),
    ] = None,
    account: Account = None,
    base_url: BaseUrl = None,
    allow_insecure_http: InsecureHttp = False,
    as_json: AsJson = False,
) -> None:
    """Start a run and print its id, without waiting for its end."""
    settings = Settings(account, base_url, allow_insecure_http, as_json)

    async def work(job: Job) -> int:
        handle = await _start(job, workflow_id, timeout=timeout, **options)
        result = await handle.wait() if handle.done() else None
        with _named(handle):
            return _show_started(job, handle, result)

    with told(settings):
        options = _options(slug, payload, sync, config_id, tag, mode)
        perform(settings, work)


def run(
    workflow_id: WorkflowId,
    slug: Slug,
    payload: Payload = None,
    sync: Sync = False,
    config_id: ConfigId = None,
    tag: Tag = None,
    mode: Mode = "transient",
    timeout: WaitTimeout = None,
    account: Account = None,
    base_url: BaseUrl = None,
    allow_insecure_http: InsecureHttp = False,
    as_json: AsJson = False,
) -> None:
    """Start a run, wait for its end, and print its output."""
    settings = Settings(account, base_url, allow_insecure_http, as_json)

    async def work(job: Job) -> int:
        began = time.monotonic()
        handle = await _start(job, workflow_id, timeout=timeout, **options)
        left = None if timeout is None else max(timeout - (time.monotonic() - began), 0.001)
        return await _wait(job, handle, timeout=left, began=began)

    with told(settings):
        options = _options(slug, payload, sync, config_id, tag, mode)
        perform(settings, work)


def rerun(
    execution_id: ExecutionId,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the new run's end.")] = False,
    mode: Mode = "transient",
    timeout: WaitTimeout = None,
    account: Account = None,
    base_url: BaseUrl = None,
    allow_insecure_http: InsecureHttp = False,
    as_json: AsJson = False,
) -> None:
    """Start a new run from the payload of a run."""
    settings = Settings(account, base_url, allow_insecure_http, as_json)

    async def work(job: Job) -> int:
        began = time.monotonic()
        look = settings.line("list", "--since", "5m")
        job.interrupted = f"interrupted; a new run may have been started: {look} shows it"
        handle = await job.refold.handle(execution_id).rerun()
        if wait:
            return await _wait(job, handle, timeout=timeout, began=began)
        with _named(handle):
            return _show_started(job, handle, None)

    with told(settings):
        perform(settings, work, retry=retry_policy(mode))


def stop(
    execution_id: ExecutionId,
    account: Account = None,
    base_url: BaseUrl = None,
    allow_insecure_http: InsecureHttp = False,
    as_json: AsJson = False,
) -> None:
    """Ask Refold to stop a run."""
    settings = Settings(account, base_url, allow_insecure_http, as_json)

    async def work(job: Job) -> int:
        job.interrupted = "interrupted; it may have been asked to stop"
        handle = job.refold.handle(execution_id)
        await handle.stop()
        if as_json:
            emit({"execution_id": execution_id, "stopping": True})
        else:
            print(f"{execution_id} was asked to stop")
            say(f"See it end: {settings.watch_line(handle)}")
        return OK

    with told(settings):
        perform(settings, work)


def _options(
    slug: str, payload: str | None, sync: bool, config_id: str | None, tag: str | None, mode: str
) -> dict[str, Any]:
    """Give the arguments of `RefoldClient.execute`; a run without a label gets a tag of its own.

    The tag is made here, so that it can be named if the answer never comes.
    """
    return {
        "slug": slug,
        "payload": read_payload(payload),
        "sync": sync,
        "config_id": config_id,
        "instance_tag": tag or f"rfa-{secrets.token_hex(16)}",
        "unique_tag": tag is None,
        "retry": retry_policy(mode),
    }


async def _start(
    job: Job, workflow_id: str, *, timeout: float | None, **options: Any
) -> ExecutionHandle[Any]:
    look = job.settings.line("list", "--workflow", workflow_id, "--tag", options["instance_tag"])
    job.interrupted = f"interrupted; a run may have been started. Look for it: {look}"
    handle = await job.refold.execute(workflow_id, timeout=timeout, **options)
    if handle.possible_duplicate:
        say(f"refold: an earlier try may have started a run, too: {look}")
    return handle


async def _wait(
    job: Job, handle: ExecutionHandle[Any], *, timeout: float | None, began: float
) -> int:
    """Wait for a run that was started, and show how it ended."""
    if handle.execution_id is not None and not handle.done():
        line = job.settings.watch_line(handle)
        say(f"started {handle.execution_id}")
        job.interrupted = f"interrupted; the run goes on. Wait for it: {line}"
    result = await wait_with_progress(handle, timeout=timeout)
    return show_result(job, handle, result, seconds=time.monotonic() - began)


@contextmanager
def _named(handle: ExecutionHandle[Any]) -> Iterator[None]:
    """Name a run on standard error if standard output can't be written: it has begun."""
    try:
        yield
    except OSError:
        say(f"refold: {handle.execution_id} was started")
        raise


def _show_started(
    job: Job, handle: ExecutionHandle[Any], result: ExecutionResult[Any] | None
) -> int:
    if result is not None:
        return show_result(job, handle, result)
    if job.settings.as_json:
        emit(documents.of_run(handle, None))
    else:
        facts = {
            "execution": handle.execution_id,
            "account": handle.linked_account_id,
            "tag": handle.instance_tag,
            "wait for it": job.settings.watch_line(handle),
        }
        for name, fact in facts.items():
            if fact is not None:
                print(f"{name:<13}{clean(fact)}")
    return OK


def show_result(
    job: Job,
    handle: ExecutionHandle[Any],
    result: ExecutionResult[Any],
    *,
    seconds: float | None = None,
) -> int:
    """Show how a run ended; give the exit code that says so."""
    if job.settings.as_json:
        emit(documents.of_run(handle, result))
    else:
        make_console().print(result_view(result, seconds=seconds))
    return OK if result.ok else RUN_FAILED
