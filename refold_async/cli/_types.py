"""`refold types`: a module of types from what a workflow says it expects."""

from pathlib import Path
from typing import Annotated

import typer

from refold_async.cli._endings import OK, BadUsageError
from refold_async.cli._modules import STYLES, module_of
from refold_async.cli._options import Account, AsJson, BaseUrl, InsecureHttp, Settings, Slug
from refold_async.cli._performing import Job, perform, told
from refold_async.cli._terminal import emit, say


def types(
    workflow_id: Annotated[
        str, typer.Argument(metavar="WORKFLOW_ID", help="The workflow, by its id or alias.")
    ],
    slug: Slug,
    style: Annotated[
        str,
        typer.Option("--style", metavar="|".join(STYLES), help="What the types are made of."),
    ] = "typeddict",
    name: Annotated[
        str | None,
        typer.Option(
            "--name",
            metavar="NAME",
            help="What the workflow is called in the module; without it a name made of its id.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Where to write it; without it standard output.",
            show_default=False,
        ),
    ] = None,
    account: Account = None,
    base_url: BaseUrl = None,
    allow_insecure_http: InsecureHttp = False,
    as_json: AsJson = False,
) -> None:
    """Write a module of types from a workflow's request structure, with the workflow at its end."""
    settings = Settings(account, base_url, allow_insecure_http, as_json)

    async def work(job: Job) -> int:
        structure = await job.refold.workflows.request_structure(workflow_id)
        module = module_of(structure, workflow_id=workflow_id, slug=slug, style=style, name=name)
        if output is not None:
            try:
                output.write_text(module, encoding="utf-8")
            except OSError as error:
                raise BadUsageError(f"can't write the module: {error}") from None
            say(f"{output} written")
        elif as_json:
            emit({"module": module})
        else:
            print(module, end="")
        return OK

    with told(settings):
        if style not in STYLES:
            raise BadUsageError(f"--style is one of {', '.join(STYLES)}, not {style!r}")
        perform(settings, work, needs_account=False)
