"""`refold batch`: a file is checked first, every row ends once, and it can be resumed."""

from refold_async.cli.batch.command import batch
from refold_async.cli.batch.operations import batch_status, batch_stop

__all__ = [
    "batch",
    "batch_status",
    "batch_stop",
]
