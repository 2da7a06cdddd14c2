"""`refold batch status` and `refold batch stop`: what a journal is enough for."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import attrs
import typer

from refold_async import ApiError, JournalReport, RefoldError, StopReport, read_journal
from refold_async.cli._endings import OK, OUTCOME_UNKNOWN, SERVICE_OR_NETWORK, BadUsageError
from refold_async.cli._options import Account, AsJson, BaseUrl, InsecureHttp, Settings
from refold_async.cli._performing import Job, perform, told
from refold_async.cli._terminal import clean, emit, make_console, say
from refold_async.cli.batch.journal_view import journal_view

JournalPath = Annotated[
    str, typer.Argument(metavar="JOURNAL", help="What --journal was for the batch.")
]
_SHOWN = 20
"""Items that are named one by one."""
_OVER = frozenset({400, 404, 409, 422})
"""What the service answers for a run that is over, or gone."""


def batch_status(journal: JournalPath, as_json: AsJson = False) -> None:
    """Show how a batch stands, from its journal alone: no input, no request."""
    with told(Settings(as_json=as_json)):
        report = read_journal(journal)
        if as_json:
            emit(_document(report))
        else:
            console = make_console()
            console.print(journal_view(report, console))


def batch_stop(
    journal: JournalPath,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask first.")] = False,
    account: Account = None,
    base_url: BaseUrl = None,
    allow_insecure_http: InsecureHttp = False,
    as_json: AsJson = False,
) -> None:
    """Stop a batch: nothing more is sent, and what runs is asked to stop."""
    settings = Settings(account, base_url, allow_insecure_http, as_json)
    with told(settings):
        report = read_journal(journal)
        if not yes:
            _confirm(report)
        # Whose runs they are the journal says; where the key is sent it does not.
        whose = attrs.evolve(settings, account=account or report.linked_account_id)

        async def work(job: Job) -> int:
            job.interrupted = "interrupted; some runs may have been asked to stop. Say it again"
            stopped = await job.refold.stop_batch(journal)
            _show(stopped, as_json=as_json)
            return _exit_code(stopped)

        perform(whose, work, needs_account=False)


def _confirm(report: JournalReport) -> None:
    runs = report.counts.get("running", 0) + report.counts.get("starting", 0)
    what = f"{_runs(runs)} of {clean(report.path)}"
    what += ", and the batch that is at it" if report.in_use else ""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise BadUsageError(f"this would stop {what}: say --yes. Nothing was stopped")
    if not typer.confirm(f"Stop {what}?", err=True):
        raise BadUsageError("nothing was stopped")


def _runs(count: int) -> str:
    return "1 run" if count == 1 else f"{count:,} runs"


def _show(stopped: StopReport, *, as_json: bool) -> None:
    if as_json:
        emit(
            {
                "journal": stopped.path,
                "heard": stopped.heard,
                "asked": list(stopped.asked),
                "refused": {run: str(error) for run, error in stopped.refused.items()},
                "uncertain": list(stopped.uncertain),
            }
        )
    else:
        over = sum(map(_is_over, stopped.refused.values()))
        print(f"{_runs(len(stopped.asked))} asked to stop")
        if over:
            print(f"{_runs(over)} had ended by now")
    if stopped.heard is False:
        say("refold: the batch that is at it did not answer, and may send more: end its process")
    elif stopped.heard:
        say("The batch sends nothing more, and ends when its runs have.")
    failed = {run: e for run, e in stopped.refused.items() if not _is_over(e)}
    for run, error in [*failed.items()][:_SHOWN]:
        say(f"refold: {clean(run)} could not be asked to stop: {clean(error)}")
    if len(failed) > _SHOWN:
        say(f"refold: and {_runs(len(failed) - _SHOWN)} more")
    if stopped.uncertain:
        keys = ", ".join(map(clean, stopped.uncertain[:_SHOWN]))
        more = "" if len(stopped.uncertain) <= _SHOWN else ", ..."
        say(f"refold: {len(stopped.uncertain):,} may run, and were not found: {keys}{more}")


def _is_over(error: RefoldError) -> bool:
    return isinstance(error, ApiError) and error.status in _OVER


def _exit_code(stopped: StopReport) -> int:
    if stopped.uncertain:
        return OUTCOME_UNKNOWN
    failed = stopped.heard is False or not all(map(_is_over, stopped.refused.values()))
    return SERVICE_OR_NETWORK if failed else OK


def _document(report: JournalReport) -> dict[str, Any]:
    return {
        "journal": report.path,
        "in_use": report.in_use,
        "is_exact": report.is_exact,
        "created_at": None if report.created_at is None else report.created_at.isoformat(),
        "base_url": report.base_url,
        "linked_account_id": report.linked_account_id,
        "total": report.total,
        "counts": dict(report.counts),
        "failures": [
            {
                "outcome": group.outcome,
                "error": group.error,
                "node": group.node,
                "count": group.count,
                "first_key": group.example.key,
                "message": group.example.message,
            }
            for group in report.failures
        ],
        "slowest": [item.document() for item in report.slowest],
        "running": [item.document() for item in report.running],
    }
