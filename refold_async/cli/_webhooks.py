"""`refold webhooks`: where Refold delivers what happens, and what it delivers."""

from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from refold_async import ConnectionFailedError, ServerError, TransportError, Webhook
from refold_async.cli import _documents as documents
from refold_async.cli._commands import Commands
from refold_async.cli._endings import OK
from refold_async.cli._listening import Listener, listening
from refold_async.cli._options import AsJson, BaseUrl, InsecureHttp, Settings
from refold_async.cli._performing import Job, perform, told
from refold_async.cli._terminal import clean, clipped, emit, make_console, say
from refold_async.webhooks import WORKFLOW_EVENTS, WebhookEventKind

_URL_WIDTH = 60
"""Columns that a URL has at least before it is folded."""

webhooks = typer.Typer(
    cls=Commands,
    help="Make, find and remove webhooks, and see what they deliver.",
    no_args_is_help=True,
)

Url = Annotated[
    str, typer.Argument(metavar="URL", help="Where Refold delivers to, https:// or http://.")
]
EventNames = Annotated[
    list[str] | None,
    typer.Option(
        "--event",
        metavar="EVENT",
        help="What is delivered, as workflow-completed or connection-expired; may be repeated."
        " Without it the four ends of a run.",
        show_default=False,
    ),
]
WorkflowIds = Annotated[
    list[str] | None,
    typer.Option(
        "--workflow",
        metavar="WORKFLOW_ID",
        help="Only runs of this workflow; may be repeated. Without it those of all.",
        show_default=False,
    ),
]


@webhooks.command(name="list")
def list_webhooks(
    base_url: BaseUrl = None,
    allow_insecure_http: InsecureHttp = False,
    as_json: AsJson = False,
) -> None:
    """List the webhooks of the key's environment, test or production."""
    settings = Settings(None, base_url, allow_insecure_http, as_json)

    async def work(job: Job) -> int:
        found = await job.refold.webhooks.list()
        if as_json:
            for hook in found:
                emit(documents.of_webhook(hook))
        elif found:
            make_console().print(webhooks_table(found))
        else:
            say("No webhooks.")
        return OK

    with told(settings):
        perform(settings, work, needs_account=False)


@webhooks.command()
def create(
    url: Url,
    events: EventNames = None,
    workflows: WorkflowIds = None,
    slug: Annotated[
        str | None,
        typer.Option("--slug", metavar="SLUG", help="Only workflows of this application."),
    ] = None,
    method: Annotated[
        str, typer.Option("--method", metavar="POST|PUT|PATCH", help="How it is delivered.")
    ] = "POST",
    description: Annotated[
        str | None,
        typer.Option("--description", metavar="TEXT", help="For whoever finds it."),
    ] = None,
    disabled: Annotated[
        bool, typer.Option("--disabled", help="Make it, and don't deliver anything yet.")
    ] = False,
    base_url: BaseUrl = None,
    allow_insecure_http: InsecureHttp = False,
    as_json: AsJson = False,
) -> None:
    """Make a webhook. Twice makes two, and each event then comes twice: see `ensure`."""
    settings = Settings(None, base_url, allow_insecure_http, as_json)

    async def work(job: Job) -> int:
        look = settings.line("webhooks", "list", of_account=False)
        job.interrupted = f"interrupted; a webhook may have been made. Look for it: {look}"
        try:
            made = await job.refold.webhooks.create(
                url,
                events=_kinds(events),
                method=method,  # type: ignore[arg-type]
                description=description,
                workflow_ids=workflows or None,
                slug=slug,
                is_enabled=not disabled,
            )
        except (TransportError, ServerError) as error:
            if not isinstance(error, ConnectionFailedError):
                say(f"A webhook may have been made all the same. Look for it: {look}")
            raise
        return _show(made, as_json=as_json)

    with told(settings):
        perform(settings, work, needs_account=False)


@webhooks.command()
def ensure(
    url: Url,
    events: EventNames = None,
    workflows: WorkflowIds = None,
    outputs: Annotated[
        bool,
        typer.Option("--outputs", help="Have the outputs come along, too (experimental)."),
    ] = False,
    base_url: BaseUrl = None,
    allow_insecure_http: InsecureHttp = False,
    as_json: AsJson = False,
) -> None:
    """See to it that a webhook delivers there: the one found, or a new one. Safe to repeat."""
    settings = Settings(None, base_url, allow_insecure_http, as_json)

    async def work(job: Job) -> int:
        job.interrupted = "interrupted; a webhook may have been made. Say it again to be sure"
        hook = await job.refold.webhooks.ensure(
            url, events=_kinds(events), workflows=workflows or None, outputs=outputs
        )
        return _show(hook, as_json=as_json)

    with told(settings):
        perform(settings, work, needs_account=False)


@webhooks.command()
def delete(
    webhook_id: Annotated[str, typer.Argument(metavar="WEBHOOK_ID", help="The webhook.")],
    base_url: BaseUrl = None,
    allow_insecure_http: InsecureHttp = False,
    as_json: AsJson = False,
) -> None:
    """Remove a webhook: it delivers nothing any more."""
    settings = Settings(None, base_url, allow_insecure_http, as_json)

    async def work(job: Job) -> int:
        job.interrupted = "interrupted; the webhook may have been removed"
        await job.refold.webhooks.delete(webhook_id)
        if as_json:
            emit({"webhook_id": webhook_id, "deleted": True})
        else:
            print(f"{clean(webhook_id)} was removed")
        return OK

    with told(settings):
        perform(settings, work, needs_account=False)


@webhooks.command()
def listen(
    port: Annotated[
        int, typer.Option("--port", metavar="N", min=0, max=65535, help="0 takes a free one.")
    ],
    host: Annotated[
        str,
        typer.Option(
            "--host", metavar="ADDRESS", help="Where to listen; 0.0.0.0 to be reached from outside."
        ),
    ] = "127.0.0.1",
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit", metavar="N", min=1, help="End after so many events.", show_default=False
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Take deliveries, on any path, and print each event as it comes. Ctrl-C ends it.

    Only what is signed with REFOLD_API_KEY is taken. `refold webhooks ensure` has Refold deliver.
    """
    # Nothing is sent anywhere: where Refold is plays no part.
    settings = Settings(allow_insecure_http=True, as_json=as_json)

    async def work(job: Job) -> int:
        listener = Listener(job)
        async with listening(listener, host, port) as url:
            say(f"listening at {url}")
            await listener.show(limit)
        return OK

    with told(settings):
        perform(settings, work, needs_account=False)


def _kinds(names: list[str] | None) -> list[WebhookEventKind | str]:
    """Read the events' names, also as a shell likes them; a new one is the service's to know."""
    if not names:
        return [*WORKFLOW_EVENTS]
    known = {kind.casefold(): kind for kind in WebhookEventKind}
    return [known.get(name.replace("-", " ").casefold(), name) for name in names]


def _show(hook: Webhook, *, as_json: bool) -> int:
    if as_json:
        emit(documents.of_webhook(hook))
        return OK
    facts = {
        "webhook": hook.webhook_id,
        "URL": hook.url,
        "events": ", ".join(hook.events),
        "only for": ", ".join(filter(None, [*hook.workflow_ids, hook.slug])),
        "state": _state(hook),
    }
    for name, fact in facts.items():
        if fact:
            print(f"{name:<10}{clean(fact)}")
    return OK


def _state(hook: Webhook) -> str:
    return "on" if hook.is_enabled else "switched off"


def webhooks_table(found: list[Webhook]) -> Table:
    """Draw the webhooks there are; ids and URLs are never cut."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("Webhook", no_wrap=True, overflow="fold", min_width=24)
    table.add_column("State", no_wrap=True)
    longest = max((len(hook.url) for hook in found), default=0)
    table.add_column("URL", overflow="fold", min_width=min(longest, _URL_WIDTH))
    table.add_column("Events", overflow="fold")
    for hook in found:
        only = [*hook.workflow_ids, *([hook.slug] if hook.slug else [])]
        what = ", ".join(hook.events) + (f"; only {', '.join(only)}" if only else "")
        table.add_row(
            Text(clean(hook.webhook_id)),
            Text(_state(hook), "" if hook.is_enabled else "yellow"),
            Text(clean(hook.url)),
            Text(clipped(what, 300), "dim"),
        )
    return table
