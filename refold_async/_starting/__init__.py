"""A run is started once, or it is said that nobody knows."""

from refold_async._starting.by_key import KeyLooks
from refold_async._starting.found import Found
from refold_async._starting.listed import Listed
from refold_async._starting.reconcile import Reconciler, Sightings
from refold_async._starting.starter import Care, Orphans, Starter, Submission, new_tag

__all__ = [
    "Care",
    "Found",
    "KeyLooks",
    "Listed",
    "Orphans",
    "Reconciler",
    "Sightings",
    "Starter",
    "Submission",
    "new_tag",
]
