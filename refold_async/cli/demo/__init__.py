"""`refold demo`: what the SDK does, acted out against a Refold on this machine or the real one."""

from refold_async.cli.demo.demo import Live, missing_settings, play_live, play_local
from refold_async.cli.demo.scenes import Work

__all__ = [
    "Live",
    "Work",
    "missing_settings",
    "play_live",
    "play_local",
]
