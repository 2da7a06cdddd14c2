"""Which of the runs with the tag of a key is the one that was started under it."""

from __future__ import annotations

import pytest

from refold_async._protocol import read_execution
from refold_async._starting.by_key import original_of

STARTED = {"_id": "e1", "name": "Execution for workflow w"}
SECOND = {"_id": "e2", "name": "Execution for workflow w"}
RERUN = {"_id": "e3", "name": "Retry for workflow w"}
AGAIN = {"_id": "e4", "name": "Retry for workflow w"}


@pytest.mark.parametrize(
    ("listed", "found"),
    [
        pytest.param([STARTED], "e1", id="one"),
        pytest.param([AGAIN, RERUN, STARTED], "e1", id="its reruns are left out"),
        pytest.param([RERUN], "e3", id="a rerun alone, its original is on no page"),
        pytest.param([RERUN, AGAIN], None, id="two reruns"),
        pytest.param([STARTED, SECOND], None, id="two runs: nobody knows which"),
        pytest.param([{"name": "Execution for workflow w"}], None, id="no id"),
    ],
)
def test_the_run_of_a_key_is_the_one_that_was_started(
    listed: list[dict[str, str]], found: str | None
) -> None:
    """The service calls a rerun by another name."""
    original = original_of([read_execution(document) for document in listed])
    assert (None if original is None else original.execution_id) == found
