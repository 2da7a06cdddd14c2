"""Refusals by chance and refusals by load, told apart by how their share changes with the rate."""

from __future__ import annotations

import random

import pytest

from refold_async._pacing.chance import Chance


def ask(chance: Chance, rate: float, share: float, times: int, seed: int = 3) -> list[float]:
    """Make requests at a rate, of which a share is refused; give the rates found to be as good."""
    draw = random.Random(seed)
    told = [chance.note(rate, refused=draw.random() < share) for _ in range(times)]
    return [rate for rate in told if rate is not None]


@pytest.mark.parametrize("share", [0.1, 0.2, 0.4])
def test_a_share_that_stays_at_a_quarter_of_the_rate_is_chance(share: float) -> None:
    """The rate it had before was no worse."""
    chance = Chance()
    assert ask(chance, 100.0, share, 200) == []
    assert ask(chance, 20.0, share, 200) == [100.0]
    assert chance.share == pytest.approx(share, abs=0.08)


@pytest.mark.parametrize(
    ("then", "now"),
    [
        pytest.param(0.4, 0.1, id="less is refused of less"),
        pytest.param(0.02, 0.02, id="next to nothing is refused"),
        pytest.param(0.1, 0.4, id="the capacity has fallen"),
        pytest.param(0.9, 0.9, id="an outage"),
    ],
)
def test_load_and_outages_are_no_chance(then: float, now: float) -> None:
    """There slowing down is right."""
    chance = Chance()
    assert ask(chance, 100.0, then, 200) + ask(chance, 20.0, now, 200) == []
    assert chance.share is None


def test_half_the_rate_tells_nothing() -> None:
    """A service that is full may refuse nearly as much of it."""
    chance = Chance()
    assert ask(chance, 100.0, 0.3, 200) + ask(chance, 50.0, 0.3, 200) == []


@pytest.mark.parametrize("share", [0.0, 0.6])
def test_another_share_ends_it(share: float) -> None:
    """None refused: the trouble is over. Many more: it is load after all."""
    chance = Chance()
    ask(chance, 100.0, 0.2, 200)
    ask(chance, 20.0, 0.2, 200)
    assert chance.share is not None
    ask(chance, 100.0, share, 100)
    assert chance.share is None
