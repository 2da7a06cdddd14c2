"""`refold probe`: what a service does where its documentation is silent."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated, Any

import attrs
import typer
from rich.table import Table

from refold_async.cli._endings import (
    OK,
    OUTCOME_UNKNOWN,
    SERVICE_OR_NETWORK,
    BadUsageError,
)
from refold_async.cli._interrupts import Interrupts
from refold_async.cli._options import Account, AsJson, BaseUrl, InsecureHttp, Settings, Slug
from refold_async.cli._payload import read_payload
from refold_async.cli._performing import told
from refold_async.cli._terminal import clean, clipped, emit, make_console, say

if TYPE_CHECKING:
    from refold_async.probe import Finding, ProbeReport, Target, Work

_PRODUCTION = "pk"
_SEEN = 200
"""Characters of what was seen."""


def probe(
    workflow_id: Annotated[
        str,
        typer.Argument(
            metavar="WORKFLOW_ID",
            help="The workflow whose runs are started: one that does no harm, and ends soon.",
        ),
    ],
    slug: Slug,
    payload: Annotated[
        str | None,
        typer.Option(
            "--payload",
            metavar="JSON",
            help="Input of the runs: JSON, @FILE, or - for standard input. Without it one made up.",
            show_default=False,
        ),
    ] = None,
    sync: Annotated[bool, typer.Option("--sync", help="Start a sync run as well.")] = False,
    rerun: Annotated[bool, typer.Option("--rerun", help="Start a run again as well.")] = False,
    max_requests: Annotated[
        int, typer.Option("--max-requests", metavar="N", min=1, help="Requests at most.")
    ] = 60,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask before runs are started.")] = False,
    production: Annotated[
        bool, typer.Option("--production", help="Allow a production key, which begins with pk.")
    ] = False,
    account: Account = None,
    base_url: BaseUrl = None,
    allow_insecure_http: InsecureHttp = False,
    as_json: AsJson = False,
) -> None:
    """Ask a service what its documentation leaves open; without a key, an emulator made for it."""
    from refold_async.probe import Work  # noqa: PLC0415 - other commands need none

    settings = Settings(account, base_url, allow_insecure_http, as_json)
    with told(settings):
        work = Work(
            workflow_id=workflow_id,
            slug=slug,
            sync=sync,
            rerun=rerun,
            max_requests=max_requests,
        )
        if payload is not None:
            work = attrs.evolve(work, payload=read_payload(payload))
        target = _target(settings, production=production)
        if target is not None:
            _ask_first(target, work, yes=yes)
        try:
            report = Interrupts().run(_asked(target, work))
        except KeyboardInterrupt:
            look = settings.line("list", "--workflow", workflow_id)
            text = f"interrupted; runs that were started go on. Look for them: {look}"
            raise KeyboardInterrupt(text) from None
        _show(report, as_json=as_json)
        raise typer.Exit(_code(report, work))


def _target(settings: Settings, *, production: bool) -> Target | None:
    """Give the service that was named; None if none was."""
    from refold_async.probe import Target  # noqa: PLC0415 - as above

    key = os.environ.get("REFOLD_API_KEY")
    url = settings.base_url or os.environ.get("REFOLD_BASE_URL")
    if not key:
        if url or os.environ.get("REFOLD_SESSION_TOKEN"):
            raise BadUsageError("a probe needs an API key, best a test key: set REFOLD_API_KEY")
        return None
    account = settings.account or os.environ.get("REFOLD_LINKED_ACCOUNT_ID")
    if not account:
        raise BadUsageError("whose runs are they? Give --account ID, or REFOLD_LINKED_ACCOUNT_ID")
    if key.startswith(_PRODUCTION) and not production:
        raise BadUsageError(
            "this is a production key: its runs are real. Use a test key, or say --production"
        )
    if not url:
        return Target(api_key=key, account=account)
    insecure = settings.allow_insecure_http
    return Target(api_key=key, account=account, base_url=url, allow_insecure_http=insecure)


def _ask_first(target: Target, work: Work, *, yes: bool) -> None:
    """Say what is about to happen, and go on only if that is wanted."""
    say(clean(plan(target, work)))
    if yes:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise BadUsageError("nobody can be asked here: say --yes to start them")
    print("Go on? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        raise BadUsageError("nothing was sent")


def plan(target: Target, work: Work) -> str:
    """Say what a probe is about to do."""
    return (
        f"This asks {target.url} for account {target.account}. It starts up to {work.runs} runs of"
        f" workflow {work.workflow_id} (application {work.slug}), which are not stopped, and makes"
        f" up to {work.max_requests} requests, five a second at most. It also asks for a session"
        " token and triggers an event that nobody has."
    )


async def _asked(target: Target | None, work: Work) -> ProbeReport:
    import refold_async.probe as asking  # noqa: PLC0415 - as above
    from refold_async.emulator import Emulator  # noqa: PLC0415
    from refold_async.emulator.__main__ import add_samples  # noqa: PLC0415

    if target is not None:
        return await asking.probe(target, work)
    async with Emulator(skip_time=True) as emulator:  # so that nobody waits
        add_samples(emulator)
        say("No key is set (REFOLD_API_KEY): this asks an emulator, made for it on this machine.")
        target = asking.Target(
            base_url=emulator.base_url, api_key=emulator.api_key, account="acct_1"
        )
        return await asking.probe(target, work)


def _code(report: ProbeReport, work: Work) -> int:
    if report.uncertain:
        return OUTCOME_UNKNOWN
    all_spent = report.requests >= work.max_requests
    return OK if report.stopped is None or all_spent else SERVICE_OR_NETWORK


def _show(report: ProbeReport, *, as_json: bool) -> None:
    if as_json:
        emit(_document(report))
        return
    console = make_console()
    table = Table("question", "answer", "seen", box=None, pad_edge=False, show_lines=False)
    for finding in report.findings:
        style = "dim" if not finding.told else None if finding.is_usual else "bold"
        answer = clipped(_answer(finding), 40)
        table.add_row(finding.question.text, answer, clipped(finding.because, _SEEN), style=style)
    console.print(table)
    console.print()
    console.print(clean(report.settings, lines=True), markup=False)
    runs = ", ".join(report.execution_ids) or "none"
    say(clean(f"\n{report.requests} requests; runs: {runs}", lines=True))
    if report.stopped is not None:
        say(clean(f"Not all was asked: {report.stopped}"))


def _answer(finding: Finding) -> str:
    if not finding.told:
        return "?"
    answer = _plain(finding.answer)
    if finding.question.name == "linked_accounts":
        answer = answer is not None
    words = {True: "yes", False: "no"}
    if isinstance(answer, bool):
        return words[answer]
    if answer is None or answer == []:
        return "none"
    return ", ".join(map(str, answer)) if isinstance(answer, list) else str(answer)


def _document(report: ProbeReport) -> dict[str, Any]:
    return {
        "findings": [
            {
                "name": each.question.name,
                "question": each.question.text,
                "told": each.told,
                "answer": _plain(each.answer),
                "usual": each.is_usual,
                "because": each.because,
            }
            for each in report.findings
        ],
        **attrs.asdict(report, filter=lambda field, _: field.name != "findings"),
        "settings": report.settings,
    }


def _plain(value: Any) -> Any:
    return sorted(value) if isinstance(value, frozenset) else value
