"""One outcome per item, a crash at any instant included."""

from refold_async._batch.batches import Batches
from refold_async._batch.journal_report import (
    JournalFailures,
    JournalItem,
    JournalReport,
    read_journal,
)
from refold_async._batch.models import (
    BatchItem,
    BatchOutcome,
    BatchProgress,
    ExecutionRequest,
)
from refold_async._batch.report import BatchReport, FailureGroup
from refold_async._batch.stopping import StopReport
from refold_async._batch.wishes import Wishes
from refold_async._checks import name_after

__all__ = [
    "BatchItem",
    "BatchOutcome",
    "BatchProgress",
    "BatchReport",
    "Batches",
    "ExecutionRequest",
    "FailureGroup",
    "JournalFailures",
    "JournalItem",
    "JournalReport",
    "StopReport",
    "Wishes",
    "read_journal",
]

name_after(
    "refold_async",
    BatchItem,
    BatchOutcome,
    BatchProgress,
    BatchReport,
    ExecutionRequest,
    FailureGroup,
    JournalFailures,
    JournalItem,
    JournalReport,
    StopReport,
)
