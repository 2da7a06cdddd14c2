"""Options that `refold batch` and `refold batch retry` share."""

from typing import Annotated

import typer

Workflow = Annotated[
    str | None,
    typer.Option(
        "--workflow",
        metavar="WORKFLOW_ID",
        help="Each line is a payload for this workflow. Without it each line is a request:"
        ' {"workflow_id": ..., "slug": ..., "payload": ..., "key": ...}.',
    ),
]
ItsSlug = Annotated[str | None, typer.Option("--slug", metavar="SLUG", help="Its application.")]
KeyField = Annotated[
    str | None,
    typer.Option("--key-field", metavar="NAME", help="The field of a payload that is its key."),
]
Kind = Annotated[
    str | None, typer.Option("--format", metavar="jsonl|csv", help="If the name doesn't tell.")
]
Delimiter = Annotated[
    str | None,
    typer.Option("--delimiter", metavar="CHARACTER", help="What separates the columns of a CSV."),
]
Out = Annotated[
    str | None,
    typer.Option("--out", metavar="PATH", help="Where the results go, as JSON lines."),
]
Concurrency = Annotated[
    int | None, typer.Option("--concurrency", metavar="N", min=1, help="Items under way.")
]
Rate = Annotated[
    float | None,
    typer.Option("--rate", metavar="R", min=0.001, help="Requests per second at most."),
]
StopAfterFailures = Annotated[
    int | None,
    typer.Option("--stop-after-failures", metavar="N", min=1, help="Send no more after so many."),
]
NoWait = Annotated[
    bool, typer.Option("--no-wait", help="Start the runs, and don't wait for their ends.")
]
Limit = Annotated[
    float | None,
    typer.Option(
        "--timeout", metavar="SECONDS", min=0.001, help="Send nothing more after so long."
    ),
]
Drain = Annotated[
    float | None,
    typer.Option(
        "--drain",
        metavar="SECONDS",
        min=0,
        help="Once nothing more is sent, wait so long for what runs, and leave the rest.",
    ),
]
Every = Annotated[
    float,
    typer.Option(
        "--every", metavar="SECONDS", min=0.1, help="Time between lines of progress in a pipe."
    ),
]
