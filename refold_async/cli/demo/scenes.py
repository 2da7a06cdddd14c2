"""The demo's scenes: each does one thing with the SDK and says in a few lines what happened."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from refold_async import (
    ExecutionFailedError,
    ExecutionHandle,
    ExecutionResult,
    RefoldClient,
    WaitTimeoutError,
)

if TYPE_CHECKING:
    from refold_async.cli.demo.stage import Stage

Handles = Sequence[ExecutionHandle[Any]]


@attrs.frozen(kw_only=True)
class Work:
    """What a scene starts.

    Attributes:
        workflow_id: id or alias of the workflow.
        slug: its application.
        payload: its input.
        timeout: seconds a wait may take, None for no limit.
    """

    workflow_id: str
    slug: str
    payload: dict[str, Any]
    timeout: float | None = None

    async def start(self, refold: RefoldClient, *, sync: bool = False) -> ExecutionHandle[Any]:
        """Start one run."""
        return await refold.execute(
            self.workflow_id, slug=self.slug, payload=self.payload, sync=sync
        )


async def async_run(refold: RefoldClient, work: Work) -> str:
    """Start a run and await its handle."""
    handle = await work.start(refold)
    result = await handle.result(timeout=work.timeout)
    return f"{handle.execution_id} ended {result.status}.\nIts output: {_shown(result)}"


async def sync_run(refold: RefoldClient, work: Work) -> str:
    """Start a run whose reply brings the result."""
    handle = await work.start(refold, sync=True)
    at_once = handle.done()
    result = await handle.result(timeout=work.timeout)
    how = (
        "One request held open until the run ended"
        if at_once
        else "The service answered with an id alone, so the result was waited for"
    )
    status = "" if result.status_code is None else f", Response node {result.status_code}"
    return f"{how}: {result.status}{status}.\nIts output: {_shown(result)}"


async def fan_out(
    stage: Stage,
    work: Work,
    count: int,
    *,
    witness: Callable[[Handles], str] | None = None,
) -> str:
    """Start many runs at once and await them all.

    Args:
        stage: makes the client, shows how far it is.
        work: what to start.
        count: how often.
        witness: says what really started, if somebody knows.

    Raises:
        RefoldError: the first failure, once all have ended.
    """
    ended = 0

    async def one() -> ExecutionHandle[Any]:
        nonlocal ended
        handle = await work.start(refold)
        await handle.result(timeout=work.timeout)
        ended += 1
        stage.note(f"{ended} of {count} runs have ended well")
        return handle

    async with stage.client() as refold:
        outcomes = await asyncio.gather(*(one() for _ in range(count)), return_exceptions=True)
        retries, ceiling = refold.stats.retries, refold.stats.budget.ceiling
    handles = [outcome for outcome in outcomes if isinstance(outcome, ExecutionHandle)]
    duplicates = sum(handle.possible_duplicate for handle in handles)
    said = [
        f"{len(handles)} of {count} runs from one asyncio.gather ended well,",
        f"after {retries} retries, with {duplicates} possible duplicates.",
    ]
    if witness is not None:
        said.append(witness(handles))
    said.append(f"Paced at {ceiling:g} requests/s at most.")
    _raise_first(outcomes, "\n".join(said))
    return "\n".join(said)


async def failing_run(refold: RefoldClient, work: Work) -> str:
    """Await a run that fails."""
    handle = await work.start(refold)
    try:
        result = await handle
    except ExecutionFailedError as error:
        node = error.failed_node
        name = None if node is None else node.name
        return f"ExecutionFailedError, failed node {name!r}:\n{error}"
    return f"{handle.execution_id} ended {result.status}, though it was made to fail."


async def picked_up_again(stage: Stage, work: Work, patience: float) -> str:
    """Stop waiting after `patience` seconds, and wait again in another client, by the id alone."""
    async with stage.client() as refold:
        handle = await work.start(refold)
        try:
            result = await handle.result(timeout=patience)
        except WaitTimeoutError as error:
            seen = "no look yet" if error.last_status is None else f"last seen {error.last_status}"
        else:
            return f"{handle.execution_id} ended {result.status} within {patience:g} s already."
    stage.note(f"gave up after {patience:g} s, picking it up again")
    async with stage.client() as another:
        result = await another.handle(str(handle.execution_id)).result(timeout=work.timeout)
    return (
        f"WaitTimeoutError after {patience:g} s ({seen}); the run went on.\nA second client knew"
        f" only the id {result.execution_id}\nand awaited it: {result.status}."
    )


def _raise_first(outcomes: Sequence[object], said: str) -> None:
    """Raise the first error among the outcomes, with what is known of the others."""
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            outcome.add_note(said)
            raise outcome


def _shown(result: ExecutionResult[Any], limit: int = 120) -> str:
    text = repr(result.output)
    return text if len(text) <= limit else f"{text[:limit]}..."
