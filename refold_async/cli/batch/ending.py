"""What a batch came to: its exit code, its results, and what people are told."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from refold_async import BatchReport, FailureGroup, WaitTimeoutError
from refold_async.cli._endings import (
    INTERRUPTED,
    OK,
    OUTCOME_UNKNOWN,
    RUN_FAILED,
    SERVICE_OR_NETWORK,
    WAIT_TIMEOUT,
)
from refold_async.cli._terminal import abandon_stdout, clean, emit, make_console, say, was_told
from refold_async.cli.batch.view import report_view

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from refold_async.cli._options import Settings
    from refold_async.cli._performing import Job
    from refold_async.cli.batch.running import Batch


def exit_code(report: BatchReport, *, interrupted: bool = False) -> int:
    """Choose the exit code: the worst outcome decides."""
    left = sum(group.count for group in report.failures if _goes_on(group))
    if report.unknown > left:
        return OUTCOME_UNKNOWN
    if report.failed or report.rejected:
        return RUN_FAILED
    if left and not interrupted:
        return WAIT_TIMEOUT
    if (report.unsent or left) and interrupted:
        return INTERRUPTED
    if report.unsent or report.input_error or report.journal_error or _unread(report):
        return SERVICE_OR_NETWORK
    return OK


def _unread(report: BatchReport) -> int:
    """Count items that succeeded and whose outputs could not be read."""
    return sum(group.count for group in report.failures if group.outcome == "succeeded")


def _goes_on(group: FailureGroup) -> bool:
    """Whether their runs are known, and only the waits for them have ended."""
    return group.outcome == "unknown" and group.error == WaitTimeoutError.__name__


def _show(
    report: BatchReport,
    settings: Settings,
    *,
    out: str | None,
    resume: str | None,
    interrupted: bool,
) -> bool:
    """Write the results, and show what the batch came to; tell whether `--out` has them."""
    unwritten = None
    if out is not None:
        try:
            report.to_jsonl(out)
        except OSError as error:
            unwritten = f"can't write {out}: {error.strerror}"
    try:
        if settings.as_json or unwritten:
            report.to_jsonl(sys.stdout)
        if settings.as_json:
            emit({"summary": _summary(report)})
        else:
            console = make_console()
            console.print(report_view(report, console))
    except BrokenPipeError:  # the exit code is that of the batch, whoever reads
        abandon_stdout()
    stopped = None if interrupted else report.stopped
    for trouble in (report.input_error, report.journal_error, stopped, unwritten):
        if trouble is not None and not was_told(str(trouble)):
            say(f"refold: {clean(trouble)}")
    if out is not None and not unwritten:
        say(f"The results are in {out}.")
    if resume is not None and report.unsent + report.unknown:
        say(f"What is left can be sent later: {resume}")
    elif resume is not None and _unread(report):
        say(f"The outputs that are missing can be read later: {resume}")
    return not unwritten


def _summary(report: BatchReport) -> dict[str, Any]:
    outcomes = ("succeeded", "failed", "unknown", "rejected", "unsent")
    return {
        "total": report.total,
        **{outcome: getattr(report, outcome) for outcome in outcomes},
        "resumed": report.resumed,
        "seconds": round(report.duration, 3),
        "requests": dict(report.requests),
        "failures": [
            {
                "outcome": str(group.outcome),
                "error": group.error,
                "node": group.node,
                "count": group.count,
                "first_key": group.example.key,
            }
            for group in report.failures
        ],
        "stopped": report.stopped,
        "input_error": None if report.input_error is None else str(report.input_error),
        "journal_error": None if report.journal_error is None else str(report.journal_error),
    }


def reported(batch: Batch, settings: Settings, out: str | None) -> Callable[[Job], Awaitable[int]]:
    """Give what runs a batch, shows what it came to, and gives the exit code."""

    async def work(job: Job) -> int:
        report = await batch.run(job)
        interrupted = job.interrupts.count > 0
        kept = _show(report, settings, out=out, resume=batch.resume, interrupted=interrupted)
        return exit_code(report, interrupted=interrupted) or (OK if kept else SERVICE_OR_NETWORK)

    return work
