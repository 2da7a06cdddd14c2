"""Runs that settle by the output that came with their push, and those that are read all the same.

Imported when webhooks are mounted: other clients are never told an output.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from refold_async._logs import Log, about
from refold_async._waiting.claims import Claims, imprint

if TYPE_CHECKING:
    from refold_async._models import ExecutionResult
    from refold_async._protocol import Output
    from refold_async._waiting.watch import Watch

logger = Log("waiting")


class Unread:
    """Says which runs need no read, and holds what is read of the others against what was told."""

    def __init__(self) -> None:
        self._claims = Claims()
        self.settled = 0  # runs that needed none

    def takes(self, watch: Watch, workflow: str, output: Output) -> bool:
        """Tell whether a run is settled by the output its push brought; else it is compared."""
        if watch.claim is not None or self._claims.is_over(workflow):
            return False
        if output.value is None:
            self._end(watch, workflow, "can't be read, or is no object or list")
            return False
        progress = watch.progress
        is_read = watch.looking or watch.document or watch.wants_document or progress.ended
        ended_otherwise = progress.told is not None and progress.told.status != output.status
        if is_read or ended_otherwise or not self._claims.believes(workflow, output.value):
            watch.claim = imprint(output.value)
            return False
        self.settled += 1
        return True

    def compare(self, watch: Watch, claim: bytes, result: ExecutionResult[Any]) -> None:
        """Hold what was read of a run against the output that its push had brought."""
        workflow = watch.workflow
        if workflow is None or not result.output_is_read:
            return
        watch.claim = None
        if self._claims.is_over(workflow) or self._claims.compare(workflow, claim, result.output):
            return
        self._end(watch, workflow, "is not what was read")

    def _end(self, watch: Watch, workflow: str, why: str) -> None:
        self._claims.end(workflow)
        logger.warning(
            "the output that a webhook brought for execution %s of workflow %s %s: runs of this"
            " workflow are all read from now on. Let ensure() make a webhook without outputs, and"
            " delete the one that brings them",
            watch.execution_id,
            workflow,
            why,
            extra=about(
                execution_id=watch.execution_id,
                workflow_id=workflow,
                linked_account_id=watch.account,
            ),
        )
