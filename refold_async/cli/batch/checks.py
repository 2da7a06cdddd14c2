"""What is checked before a batch sends anything."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from refold_async import ExecutionRequest, RateLimit, read_journal
from refold_async.cli._endings import BadUsageError
from refold_async.cli._options import retry_policy
from refold_async.cli.batch.source import BatchInput, is_header

_BURST = 5
_KINDS = ("jsonl", "csv")


def _delimiter_of(given: str | None) -> str | None:
    """Take a tab as a shell gives it: as one, or as a backslash and a t."""
    delimiter = "\t" if given == "\\t" else given
    if delimiter is not None and (len(delimiter) != 1 or delimiter in '"\r\n'):
        raise BadUsageError(f"--delimiter is one character, as ';' or '\\t', not {given!r}")
    return delimiter


def _kind_of(given: str | None, file: str) -> str:
    """Say what a file is: its name tells, unless `--format` does."""
    if given is None:
        return "csv" if file.lower().endswith(".csv") else "jsonl"
    if given not in _KINDS:
        raise BadUsageError(f"--format is one of {', '.join(_KINDS)}, not {given!r}")
    return given


def input_of(
    file: str,
    kind: str | None,
    *,
    workflow: str | None,
    slug: str | None,
    key_field: str | None,
    delimiter: str | None,
) -> BatchInput:
    """Say where the items of a batch come from, if what is said of the lines goes together."""
    kind = _kind_of(kind, file)
    _check_lines(workflow, slug, key_field, kind)
    return BatchInput(
        file=file,
        kind=kind,
        workflow_id=workflow,
        slug=slug,
        key_field=key_field,
        delimiter=_delimiter_of(delimiter),
    )


def _check_lines(workflow: str | None, slug: str | None, key_field: str | None, kind: str) -> None:
    if (workflow is None) != (slug is None):
        raise BadUsageError("--workflow and --slug go together: both, or neither")
    if workflow is None and kind == "csv":
        raise BadUsageError("the rows of a CSV file are payloads: give --workflow and --slug")
    if workflow is None and key_field is not None:
        raise BadUsageError("--key-field is for lines that are payloads; a request has its 'key'")
    if slug is not None and not is_header(slug):
        raise BadUsageError("--slug must be a text in plain ASCII")


def check_journal(journal: str | None, *, resume: bool) -> None:
    """See to it that no batch is begun twice, or gone on with by accident."""
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


def check_same(journal: str, requests: list[ExecutionRequest]) -> None:
    """Refuse to go on with the journal of another workflow's batch."""
    remembered = set(read_journal(journal).workflow_ids)
    asked = {request.workflow_id for request in requests}
    if remembered and asked and not remembered & asked:
        raise BadUsageError(
            f"{journal} is the journal of a batch of {_some(remembered)}, and this is one of"
            f" {_some(asked)}: give the workflow of that batch, or another --journal"
        )


def _some(workflow_ids: set[str]) -> str:
    return f"workflow {min(workflow_ids)}" + (" and others" if len(workflow_ids) > 1 else "")


def check_out(out: str | None, file: str, journal: str | None) -> None:
    """See whether the results can be written where they are to go."""
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


def resume_line() -> str:
    """Give the command line of this batch, to go on later. It holds no secret."""
    words = sys.argv[1:]
    return shlex.join(["refold", *words, *([] if "--resume" in words else ["--resume"])])


def policies(mode: str, rate: float | None) -> dict[str, object]:
    """Give the settings of the client that the options of a batch are about."""
    settings: dict[str, object] = {"retry": retry_policy(mode)}
    if rate is not None:
        burst = max(1, min(_BURST, int(rate)))
        settings["rate_limit"] = RateLimit(per_second=rate, burst=burst)
    return settings
