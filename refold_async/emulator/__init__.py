"""A Refold that runs on this machine: for tests, demonstrations and benchmarks.

```python
async with Emulator() as emulator:

    @emulator.workflow("wf_1", slug="hubspot", duration=0.2)
    def create_contact(payload):
        return {"id": 1}

    ...  # point a client at emulator.base_url with emulator.api_key
```

It is a real HTTP server, plays every documented answer, every answer the documentation leaves open
(`Behaviour`), and everything that goes wrong in between (`Faults`). It plays the service without a
line of the client's code, so that one mistake can't cancel out the other.
"""

import attrs

from ._agenda import NothingIsDueError
from ._behaviour import Behaviour
from ._events import Event, Fired
from ._faults import Fault, Faults
from ._pushing import Delivery, Pushes
from ._records import Recorded, Requests
from ._runs import Run
from ._server import Emulator
from ._time import VirtualTime
from ._workflows import NodeFailed, Outcome, Respond, Workflow, WorkflowError

__all__ = [
    "Behaviour",
    "Delivery",
    "Emulator",
    "Event",
    "Fault",
    "Faults",
    "Fired",
    "NodeFailed",
    "NothingIsDueError",
    "Outcome",
    "Pushes",
    "Recorded",
    "Requests",
    "Respond",
    "Run",
    "VirtualTime",
    "Workflow",
    "WorkflowError",
]

# As in `refold_async`: a class names the place it is imported from.
for _name in __all__:
    _class = globals()[_name]
    if attrs.has(_class):
        attrs.resolve_types(_class)
        _class.__annotations__ = {f.name: f.type for f in attrs.fields(_class) if not f.inherited}
    _class.__module__ = __name__
