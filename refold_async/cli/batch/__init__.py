"""`refold batch`: a file is checked first, every row ends once, and it can be resumed."""

from refold_async.cli.batch.command import batch

__all__ = [
    "batch",
]
