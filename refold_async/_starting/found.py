"""What a look at the list of runs came to."""

from __future__ import annotations

import attrs

from refold_async._transport import Finding
from refold_async._value import Value


@attrs.frozen(eq=False, repr=False)
class Found(Value):
    """What a look at the list came to.

    Attributes:
        finding: what it proves.
        execution_id: of the run that was found.
        age: seconds since that run was created, or fewer; known where a key's run is looked for.
    """

    finding: Finding
    execution_id: str | None = None
    age: float = 0.0
