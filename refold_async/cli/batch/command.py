"""`refold batch`: many runs from a file, with a journal that survives a crash."""

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from refold_async import BatchReport, FailureGroup, RateLimit, WaitTimeoutError
from refold_async.cli._endings import (
    INTERRUPTED,
    OK,
    OUTCOME_UNKNOWN,
    RUN_FAILED,
    SERVICE_OR_NETWORK,
    WAIT_TIMEOUT,
    BadUsageError,
)
from refold_async.cli._options import (
    Account,
    AsJson,
    BaseUrl,
    InsecureHttp,
    Mode,
    Settings,
    retry_policy,
)
from refold_async.cli._performing import Job, perform, told
from refold_async.cli._terminal import abandon_stdout, clean, emit, make_console, say
from refold_async.cli.batch.running import Batch
from refold_async.cli.batch.source import BatchInput, is_header
from refold_async.cli.batch.view import report_view

_BURST = 5
_KINDS = ("jsonl", "csv")


def batch(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE", help="JSON lines or CSV (by its name); - for standard input."
        ),
    ],
    workflow: Annotated[
        str | None,
        typer.Option(
            "--workflow",
            metavar="WORKFLOW_ID",
            help="Each line is a payload for this workflow. Without it each line is a request:"
            ' {"workflow_id": ..., "slug": ..., "payload": ..., "key": ...}.',
        ),
    ] = None,
    slug: Annotated[
        str | None, typer.Option("--slug", metavar="SLUG", help="Its application.")
    ] = None,
    key_field: Annotated[
        str | None,
        typer.Option("--key-field", metavar="NAME", help="The field of a payload that is its key."),
    ] = None,
    kind: Annotated[
        str | None, typer.Option("--format", metavar="jsonl|csv", help="If the name doesn't tell.")
    ] = None,
    delimiter: Annotated[
        str | None,
        typer.Option(
            "--delimiter", metavar="CHARACTER", help="What separates the columns of a CSV."
        ),
    ] = None,
    journal: Annotated[
        str | None,
        typer.Option("--journal", metavar="PATH", help="Remembers the batch across crashes."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with what the journal remembers.")
    ] = False,
    out: Annotated[
        str | None,
        typer.Option("--out", metavar="PATH", help="Where the results go, as JSON lines."),
    ] = None,
    concurrency: Annotated[
        int | None, typer.Option("--concurrency", metavar="N", min=1, help="Items under way.")
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option("--rate", metavar="R", min=0.001, help="Requests per second at most."),
    ] = None,
    mode: Mode = "transient",
    validate: Annotated[
        bool,
        typer.Option("--validate", help="Check all payloads against their workflows first."),
    ] = False,
    stop_after_failures: Annotated[
        int | None,
        typer.Option(
            "--stop-after-failures", metavar="N", min=1, help="Send no more after so many."
        ),
    ] = None,
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="Start the runs, and don't wait for their ends.")
    ] = False,
    timeout: Annotated[
        float | None,
        typer.Option(
            "--timeout", metavar="SECONDS", min=0.001, help="Send nothing more after so long."
        ),
    ] = None,
    drain: Annotated[
        float | None,
        typer.Option(
            "--drain",
            metavar="SECONDS",
            min=0,
            help="Once nothing more is sent, wait so long for what runs, and leave the rest.",
        ),
    ] = None,
    every: Annotated[
        float,
        typer.Option(
            "--every", metavar="SECONDS", min=0.1, help="Time between lines of progress in a pipe."
        ),
    ] = 5.0,
    account: Account = None,
    base_url: BaseUrl = None,
    allow_insecure_http: InsecureHttp = False,
    as_json: AsJson = False,
) -> None:
    """Run a workflow for every line of a file, and report what became of each."""
    settings = Settings(account, base_url, allow_insecure_http, as_json)
    with told(settings):
        kind = _kind(kind, file)
        _check_lines(workflow, slug, key_field, kind)
        source = BatchInput(
            file=file,
            kind=kind,
            workflow_id=workflow,
            slug=slug,
            key_field=key_field,
            delimiter=_delimiter(delimiter),
        )
        _check_journal(journal, resume=resume)
        policies: dict[str, Any] = {"retry": retry_policy(mode)}
        requests = source.read()
        if not requests:
            say(f"refold: {source.name} has no items; nothing is sent")
        _check_out(out, file, journal)
        if rate is not None:
            burst = max(1, min(_BURST, int(rate)))
            policies["rate_limit"] = RateLimit(per_second=rate, burst=burst)
        options = {
            "journal": journal,
            "concurrency": concurrency,
            "wait": not no_wait,
            "stop_after_failures": stop_after_failures,
            "validate": validate,
            "timeout": timeout,
            "drain": drain,
        }

        async def work(job: Job) -> int:
            batch = Batch(
                name=source.name,
                requests=requests,
                options=options,
                resume=None if journal is None else _resume_line(),
                every=every,
            )
            report = await batch.run(job)
            interrupted = job.interrupts.count > 0
            kept = _show(report, settings, out=out, resume=batch.resume, interrupted=interrupted)
            return exit_code(report, interrupted=interrupted) or (
                OK if kept else SERVICE_OR_NETWORK
            )

        everyone = all(request.linked_account_id for request in requests)
        perform(settings, work, needs_account=not everyone, **policies)


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
    if report.unsent or report.input_error or report.journal_error:
        return SERVICE_OR_NETWORK
    return OK


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
        if trouble is not None:
            say(f"refold: {clean(trouble)}")
    if out is not None and not unwritten:
        say(f"The results are in {out}.")
    if resume is not None and report.unsent + report.unknown:
        say(f"What is left can be sent later: {resume}")
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


# -- what is checked before anything is sent -------------------------------------------------


def _delimiter(given: str | None) -> str | None:
    """Take a tab as a shell gives it: as one, or as a backslash and a t."""
    delimiter = "\t" if given == "\\t" else given
    if delimiter is not None and (len(delimiter) != 1 or delimiter in '"\r\n'):
        raise BadUsageError(f"--delimiter is one character, as ';' or '\\t', not {given!r}")
    return delimiter


def _kind(given: str | None, file: str) -> str:
    if given is None:
        return "csv" if file.lower().endswith(".csv") else "jsonl"
    if given not in _KINDS:
        raise BadUsageError(f"--format is one of {', '.join(_KINDS)}, not {given!r}")
    return given


def _check_lines(workflow: str | None, slug: str | None, key_field: str | None, kind: str) -> None:
    if (workflow is None) != (slug is None):
        raise BadUsageError("--workflow and --slug go together: both, or neither")
    if workflow is None and kind == "csv":
        raise BadUsageError("the rows of a CSV file are payloads: give --workflow and --slug")
    if workflow is None and key_field is not None:
        raise BadUsageError("--key-field is for lines that are payloads; a request has its 'key'")
    if slug is not None and not is_header(slug):
        raise BadUsageError("--slug must be a text in plain ASCII")


def _check_journal(journal: str | None, *, resume: bool) -> None:
    if journal is None:
        if resume:
            raise BadUsageError("--resume needs the --journal of the batch that is to go on")
        return
    path = Path(journal)
    there = path.exists() and path.stat().st_size > 0
    if there and not resume:
        raise BadUsageError(
            f"{journal} remembers a batch already: go on with it by --resume, or name another file"
        )
    if resume and not there:
        raise BadUsageError(
            f"there is no journal {journal}: without --resume a new batch is begun there"
        )


def _check_out(out: str | None, file: str, journal: str | None) -> None:
    if out is None:
        return
    if any(other and _same(out, other) for other in (file, journal)):
        raise BadUsageError("--out would overwrite what the batch needs: name another file")
    try:
        with Path(out).open("a", encoding="utf-8"):
            pass
    except OSError as error:
        raise BadUsageError(f"can't write {out}: {error.strerror}") from None


def _same(one: str, other: str) -> bool:
    return Path(one).resolve() == Path(other).resolve()


def _resume_line() -> str:
    """Give the command line of this batch, to go on later. It holds no secret."""
    words = sys.argv[1:]
    return shlex.join(["refold", *words, *([] if "--resume" in words else ["--resume"])])
