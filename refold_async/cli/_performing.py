"""A command's one event loop, and what is said when it ends otherwise than it should."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

import attrs
import typer

from refold_async import (
    ExecutionHandle,
    ExecutionOutcomeUnknownError,
    RefoldClient,
    RefoldError,
    WaitTimeoutError,
)
from refold_async.cli import _documents as documents
from refold_async.cli._endings import (
    BAD_USAGE,
    INTERRUPTED,
    NOBODY_READS,
    SERVICE_OR_NETWORK,
    BadUsageError,
    advice,
    exit_code,
)
from refold_async.cli._interrupts import Interrupts
from refold_async.cli._options import Settings
from refold_async.cli._terminal import (
    abandon_stdout,
    clean,
    complain,
    emit,
    prepare_streams,
    say,
    tell_likes,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator


@attrs.define(eq=False, kw_only=True)
class Job:
    """What a command works with.

    Attributes:
        settings: what it was told.
        refold: its client.
        interrupts: what Ctrl-C does; unless the work says otherwise, it cancels it.
        interrupted: what people are told when they interrupt it now.
        farewell: says so instead, given the runs that were started on the way.
    """

    settings: Settings
    refold: RefoldClient
    interrupts: Interrupts = attrs.field(factory=Interrupts)
    interrupted: str = "interrupted"
    farewell: Callable[[Iterable[ExecutionHandle[Any]]], str] | None = None


@contextmanager
def told(settings: Settings) -> Iterator[None]:
    """Have failures told as advice, to people and with `--json` to machines, not as tracebacks.

    Raises:
        typer.Exit: with the exit code of what went wrong.
    """
    prepare_streams()
    try:
        try:
            yield
        finally:
            tell_likes()
    except BadUsageError as error:
        code = _end(settings, "BadUsageError", str(error), BAD_USAGE)
    except RefoldError as error:
        code = _end_with(settings, error)
    except BrokenPipeError:
        abandon_stdout()
        code = NOBODY_READS
    except OSError as error:
        abandon_stdout()
        code = _end(settings, type(error).__name__, str(error), SERVICE_OR_NETWORK)
    except KeyboardInterrupt as error:
        message = str(error) or "interrupted; nothing was sent"
        code = _end(settings, "Interrupted", message, INTERRUPTED)
    else:
        return
    raise typer.Exit(code)


def perform(
    settings: Settings,
    work: Callable[[Job], Awaitable[int]],
    *,
    needs_account: bool = True,
    **policies: Any,
) -> NoReturn:
    """Do a command's work in its one event loop, and end with its exit code.

    Args:
        settings: what the command was told.
        work: gives the exit code, and raises what it can't deal with.
        needs_account: whether the client must know an account.
        policies: settings of the client beyond those that all commands share.

    Raises:
        typer.Exit: when all is done.
        KeyboardInterrupt: with what people are to be told.
    """
    job = Job(settings=settings, refold=settings.client(needs_account=needs_account, **policies))
    try:
        code = job.interrupts.run(_within(job, work))
    except KeyboardInterrupt:
        raise KeyboardInterrupt(_said_to_leave(job)) from None
    raise typer.Exit(code)


async def _within(job: Job, work: Callable[[Job], Awaitable[int]]) -> int:
    async with job.refold:
        return await work(job)


def _said_to_leave(job: Job) -> str:
    if job.farewell is not None:
        return job.farewell(job.refold.orphans)
    # A start that was interrupted on its way may have been answered after all.
    started = [
        f"interrupted; {handle.execution_id} was started and goes on. Wait for it:"
        f" {job.settings.watch_line(handle)}"
        for handle in job.refold.orphans
    ]
    return "\n".join(started) or job.interrupted


def _end(settings: Settings, kind: str, message: str, code: int) -> int:
    """Say how the command ends, to people and to machines."""
    complain(clean(message, lines=True))
    if settings.as_json:
        _tell({"error": {"type": kind, "message": message, "exit_code": code}})
    return code


def _end_with(settings: Settings, error: RefoldError) -> int:
    code = exit_code(error)
    message, remedy = _in_shell_words(settings, error)
    complain(clean(message))
    say(clean(remedy))
    if settings.as_json:
        _tell(documents.of_error(error, code=code, advice=remedy))
    return code


def _tell(document: dict[str, Any]) -> None:
    try:
        emit(document)
    except OSError:
        abandon_stdout()


def _in_shell_words(settings: Settings, error: RefoldError) -> tuple[str, str]:
    """Give message and advice; where the SDK names a line of Python, a command instead."""
    remedy = advice(error)
    if isinstance(error, WaitTimeoutError) and error.execution_id and error.reattach:
        again = settings.line("watch", error.execution_id)
        remedy = remedy.replace(error.reattach, again)
    if isinstance(error, ExecutionOutcomeUnknownError) and error.workflow_id:
        look = ["list", "--workflow", error.workflow_id]
        if error.instance_tag:
            look += ["--tag", error.instance_tag]
        remedy = f"Before you start it again, look for it: {settings.line(*look)}"
    return error.describe(), remedy
