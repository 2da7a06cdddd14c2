"""`refold batch retry`: what failed is started anew, and nothing that may have gone well."""

from pathlib import Path
from typing import Annotated

import attrs
import typer

from refold_async import BatchOutcome, read_journal
from refold_async.cli._endings import BadUsageError
from refold_async.cli._options import Account, AsJson, BaseUrl, InsecureHttp, Mode, Settings
from refold_async.cli._performing import perform, told
from refold_async.cli._terminal import say
from refold_async.cli.batch import options as given
from refold_async.cli.batch.checks import (
    check_out,
    check_same,
    input_of,
    policies,
)
from refold_async.cli.batch.ending import reported
from refold_async.cli.batch.operations import JournalPath
from refold_async.cli.batch.running import Batch

_RETRIED = ("starting", *(each for each in BatchOutcome if each != BatchOutcome.SUCCEEDED))


def batch_retry(
    journal: JournalPath,
    file: Annotated[
        str | None,
        typer.Option(
            "--input",
            metavar="FILE",
            help="The file of the batch; not needed if it was run with --keep-payloads.",
        ),
    ] = None,
    workflow: given.Workflow = None,
    slug: given.ItsSlug = None,
    key_field: given.KeyField = None,
    kind: given.Kind = None,
    delimiter: given.Delimiter = None,
    out: given.Out = None,
    concurrency: given.Concurrency = None,
    rate: given.Rate = None,
    mode: Mode = "transient",
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
    """Start again what failed in a batch; what may have run is looked for first."""
    settings = Settings(account, base_url, allow_insecure_http, as_json)
    with told(settings):
        source = None
        if file is not None:
            source = input_of(
                file,
                kind,
                workflow=workflow,
                slug=slug,
                key_field=key_field,
                delimiter=delimiter,
            )
        elif workflow or slug or key_field or kind or delimiter:
            raise BadUsageError("these options say what the lines of a file are: give its --input")
        client = policies(mode, rate)
        requests = None if source is None else source.read()
        remembered = read_journal(journal)
        left = sum(remembered.counts.get(state, 0) for state in _RETRIED)
        if requests is not None:
            check_same(journal, requests)
        if requests is None and not remembered.keeps_payloads:
            raise BadUsageError(
                f"{journal} does not keep what its items asked for: give the --input of the batch"
            )
        if not left:
            say("refold: nothing in it has failed; nothing is sent")
        if out is not None and Path(out).is_file() and Path(out).stat().st_size:
            raise BadUsageError(
                f"{out} has results already, and a retry writes those of what it retries alone:"
                " name another file"
            )
        check_out(out, file or journal, journal)
        work = Batch(
            name=journal,
            requests=requests,
            total=left if requests is None else len(requests),
            options={
                "journal": journal,
                "concurrency": concurrency,
                "wait": not no_wait,
                "stop_after_failures": stop_after_failures,
                "timeout": timeout,
                "drain": drain,
            },
            resume=None,
            every=every,
            retries=True,
        )
        whose = attrs.evolve(settings, account=account or remembered.linked_account_id)
        perform(whose, reported(work, settings, out), needs_account=False, **client)
