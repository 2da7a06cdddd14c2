"""What a Refold service does where its documentation is silent: asked for, once.

`await probe(Target(...), Work(...))` starts a few runs of one workflow, looks at what comes back,
and says which settings suit the service. `refold probe` is the same for people.
"""

from refold_async._checks import name_after
from refold_async.probe._asking import Target
from refold_async.probe._findings import Finding, ProbeReport, Question
from refold_async.probe._probing import probe
from refold_async.probe._scene import Work

__all__ = [
    "Finding",
    "ProbeReport",
    "Question",
    "Target",
    "Work",
    "probe",
]

name_after(__name__, *(globals()[name] for name in __all__))
