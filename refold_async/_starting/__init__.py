"""A run is started once, or it is said that nobody knows."""

from refold_async._starting.reconcile import Found, Reconciler, Sightings
from refold_async._starting.starter import Care, Orphans, Starter, Submission, new_tag

__all__ = [
    "Care",
    "Found",
    "Orphans",
    "Reconciler",
    "Sightings",
    "Starter",
    "Submission",
    "new_tag",
]
