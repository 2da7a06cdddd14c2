"""`refold batch`: a file is checked first, every row ends once, and it can be resumed."""

from refold_async.cli.batch.command import batch
from refold_async.cli.batch.operations import batch_status, batch_stop
from refold_async.cli.batch.retrying import batch_retry

__all__ = [
    "batch",
    "batch_retry",
    "batch_status",
    "batch_stop",
]
