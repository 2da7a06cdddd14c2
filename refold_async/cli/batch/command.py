"""`refold batch`: many runs from a file, with a journal that survives a crash."""

from typing import Annotated

import typer

from refold_async.cli._endings import BadUsageError
from refold_async.cli._options import Account, AsJson, BaseUrl, InsecureHttp, Mode, Settings
from refold_async.cli._performing import perform, told
from refold_async.cli._terminal import say
from refold_async.cli.batch import options as given
from refold_async.cli.batch.checks import (
    check_journal,
    check_out,
    check_same,
    input_of,
    policies,
    resume_line,
)
from refold_async.cli.batch.ending import reported
from refold_async.cli.batch.running import Batch


def batch(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE", help="JSON lines or CSV (by its name); - for standard input."
        ),
    ],
    workflow: given.Workflow = None,
    slug: given.ItsSlug = None,
    key_field: given.KeyField = None,
    kind: given.Kind = None,
    delimiter: given.Delimiter = None,
    journal: Annotated[
        str | None,
        typer.Option("--journal", metavar="PATH", help="Remembers the batch across crashes."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with what the journal remembers.")
    ] = False,
    keep_payloads: Annotated[
        bool,
        typer.Option(
            "--keep-payloads", help="Have the journal keep them: retry needs no file then."
        ),
    ] = False,
    out: given.Out = None,
    concurrency: given.Concurrency = None,
    rate: given.Rate = None,
    mode: Mode = "transient",
    validate: Annotated[
        bool,
        typer.Option("--validate", help="Check all payloads against their workflows first."),
    ] = False,
    stop_after_failures: given.StopAfterFailures = None,
    no_wait: given.NoWait = False,
    timeout: given.Limit = None,
    drain: given.Drain = None,
    every: given.Every = 5.0,
    account: Account = None,
    base_url: BaseUrl = None,
    allow_insecure_http: InsecureHttp = False,
    as_json: AsJson = False,
) -> None:
    """Run a workflow for every line of a file, and report what became of each.

    `refold batch status`, `stop` and `retry` look after one by its journal.
    """
    settings = Settings(account, base_url, allow_insecure_http, as_json)
    with told(settings):
        source = input_of(
            file,
            kind,
            workflow=workflow,
            slug=slug,
            key_field=key_field,
            delimiter=delimiter,
        )
        check_journal(journal, resume=resume)
        if keep_payloads and journal is None:
            raise BadUsageError("--keep-payloads needs the --journal that is to keep them")
        client = policies(mode, rate)
        requests = source.read()
        if not requests:
            say(f"refold: {source.name} has no items; nothing is sent")
        check_out(out, file, journal)
        if journal is not None and resume:
            check_same(journal, requests)
        work = Batch(
            name=source.name,
            requests=requests,
            total=len(requests),
            options={
                "journal": journal,
                "concurrency": concurrency,
                "wait": not no_wait,
                "stop_after_failures": stop_after_failures,
                "validate": validate,
                "timeout": timeout,
                "drain": drain,
                "keep_payloads": keep_payloads,
            },
            resume=None if journal is None else resume_line(),
            every=every,
        )
        everyone = all(request.linked_account_id for request in requests)
        perform(settings, reported(work, settings, out), needs_account=not everyone, **client)
