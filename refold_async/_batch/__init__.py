"""One outcome per item, a crash at any instant included."""

from refold_async._batch.batches import Batches
from refold_async._batch.fanout import FanOut
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

__all__ = [
    "BatchItem",
    "BatchOutcome",
    "BatchProgress",
    "BatchReport",
    "Batches",
    "ExecutionRequest",
    "FailureGroup",
    "FanOut",
    "JournalFailures",
    "JournalItem",
    "JournalReport",
    "StopReport",
    "read_journal",
]
