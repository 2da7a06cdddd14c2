"""What a Refold service does where its documentation is silent: asked for, once.

`await probe(Target(...), Work(...))` starts a few runs of one workflow, looks at what comes back,
and says which settings suit the service. `refold probe` is the same for people.
"""

import attrs

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

# As in `refold_async`: a class names the place it is imported from.
for _name in __all__:
    _class = globals()[_name]
    if isinstance(_class, type):
        attrs.resolve_types(_class)
        _class.__annotations__ = {f.name: f.type for f in attrs.fields(_class) if not f.inherited}
        _class.__module__ = __name__
