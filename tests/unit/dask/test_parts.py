"""The rate limit among the workers of a batch."""

from __future__ import annotations

import pytest

from refold_async.dask.crew import divided


@pytest.mark.parametrize(
    ("others", "part"),
    [
        pytest.param([], 0.6, id="alone"),
        pytest.param([0.2, 0.2], 0.2, id="one of three"),
        pytest.param([0.6], 0.0006, id="the other still has all of it"),
        pytest.param([0.3], 0.3, id="the other has let go of half"),
        pytest.param([0.1, 0.1], 0.2, id="what others don't have is not taken either"),
    ],
)
def test_a_part_grows_into_what_the_others_have_let_go(others: list[float], part: float) -> None:
    """So that all together keep to the limit, whoever comes and goes."""
    assert divided(0.6, others) == pytest.approx(part)
