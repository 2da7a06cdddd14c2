"""Policies: their defaults, what they accept, and what they refuse."""

from __future__ import annotations

import pickle
from datetime import timedelta
from typing import Any

import attrs
import pytest

from refold_async import ConfigError, PollPolicy, RateLimit, RetryPolicy, Timeouts

POLICIES = [Timeouts, RetryPolicy, PollPolicy, RateLimit]
SECONDS_ABOVE_ZERO = [
    (Timeouts, "connect"),
    (Timeouts, "read"),
    (Timeouts, "sync"),
    (Timeouts, "abandoned"),
    (Timeouts, "call"),
    (PollPolicy, "first"),
    (PollPolicy, "max_interval"),
    (PollPolicy, "push_sweep"),
]
SECONDS_FROM_ZERO = [
    (RetryPolicy, "wait"),
    (RetryPolicy, "max_wait"),
    (RetryPolicy, "patience"),
    (RetryPolicy, "settle"),
    (PollPolicy, "not_found_grace"),
    (PollPolicy, "failure_budget"),
]
COUNTS = [(RetryPolicy, "attempts"), (PollPolicy, "page_size"), (RateLimit, "burst")]


def _each(pairs: list[tuple[type, str]]) -> pytest.MarkDecorator:
    cases = [pytest.param(cls, name, id=f"{cls.__name__}.{name}") for cls, name in pairs]
    return pytest.mark.parametrize(("cls", "name"), cases)


def test_defaults_are_the_documented_ones() -> None:
    """The defaults are those of the public design."""
    assert attrs.asdict(Timeouts()) == {
        "connect": 10,
        "read": 30,
        "sync": 330,
        "abandoned": 10,
        "call": None,
    }
    assert attrs.asdict(RateLimit()) == {"per_second": 20, "burst": 5}
    assert attrs.asdict(RetryPolicy()) == {
        "mode": "transient",
        "attempts": 4,
        "wait": 0.5,
        "max_wait": 8,
        "patience": 120,
        "settle": 1.0,
    }
    defaults = attrs.asdict(PollPolicy())
    assert {**defaults, "first": 0.5, "max_interval": 60, "page_size": 100} == defaults
    assert defaults["sweep"] is True
    assert (defaults["push"], defaults["push_sweep"]) == ("auto", 60)
    assert (defaults["not_found_grace"], defaults["failure_budget"]) == (5, 60)


def test_every_duration_and_count_is_tested_here() -> None:
    """The tables above name every field but the four that are neither."""
    fields = {(cls, field.name) for cls in POLICIES for field in attrs.fields(cls)}
    rest = {(RetryPolicy, "mode"), (RateLimit, "per_second")}
    rest |= {(PollPolicy, "sweep"), (PollPolicy, "push")}
    assert {*SECONDS_ABOVE_ZERO, *SECONDS_FROM_ZERO, *COUNTS} == fields - rest


@pytest.mark.parametrize("push", ["auto", True, False])
def test_webhooks_are_relied_on_as_far_as_is_said(push: Any) -> None:
    """As they prove, from the start, or never."""
    assert PollPolicy(push=push).push is push


@pytest.mark.parametrize("push", ["never", "", 1, 0, None, 0.5])
def test_another_word_on_webhooks_is_refused(push: Any) -> None:
    """The error names the field and the three that are meant."""
    with pytest.raises(ConfigError, match=r'PollPolicy\.push: must be "auto", True or False'):
        PollPolicy(push=push)


@_each(SECONDS_ABOVE_ZERO + SECONDS_FROM_ZERO)
def test_duration_may_be_a_timedelta(cls: type, name: str) -> None:
    """A timedelta is kept as seconds."""
    assert getattr(cls(**{name: timedelta(milliseconds=1500)}), name) == 1.5


@_each(SECONDS_FROM_ZERO)
def test_duration_may_be_zero_where_that_means_at_once(cls: type, name: str) -> None:
    """A pause or a grace of nothing is a pause or a grace."""
    assert getattr(cls(**{name: 0}), name) == 0


@_each(SECONDS_ABOVE_ZERO)
@pytest.mark.parametrize("value", [0, timedelta(0)])
def test_zero_is_refused_where_nothing_could_succeed(cls: type, name: str, value: Any) -> None:
    """A timeout of nothing would always be over."""
    with pytest.raises(ConfigError, match="above 0") as caught:
        cls(**{name: value})
    assert caught.value.field == f"{cls.__name__}.{name}"


@_each(SECONDS_ABOVE_ZERO + SECONDS_FROM_ZERO)
@pytest.mark.parametrize(
    "value", [-1, float("nan"), float("inf"), pytest.param(10**400, id="beyond-floats")]
)
def test_duration_must_be_finite(cls: type, name: str, value: Any) -> None:
    """A duration that is negative or without end is refused, and the field named."""
    with pytest.raises(ConfigError, match="finite number of seconds") as caught:
        cls(**{name: value})
    assert caught.value.field == f"{cls.__name__}.{name}"


@_each(SECONDS_ABOVE_ZERO + SECONDS_FROM_ZERO)
@pytest.mark.parametrize("value", ["5", True, b"5"])
def test_duration_must_be_a_number(cls: type, name: str, value: Any) -> None:
    """A duration of another type is refused, and the field named."""
    with pytest.raises(ConfigError, match="seconds as a number") as caught:
        cls(**{name: value})
    assert caught.value.field == f"{cls.__name__}.{name}"


@_each(COUNTS)
@pytest.mark.parametrize("value", [0, -1, 2.5, "3", True, None])
def test_count_must_be_whole(cls: type, name: str, value: Any) -> None:
    """A count is a whole number from 1, and the field is named."""
    with pytest.raises(ConfigError, match="whole number from 1") as caught:
        cls(**{name: value})
    assert caught.value.field == f"{cls.__name__}.{name}"


@pytest.mark.parametrize("value", [0.001, 20, 1e6])
def test_rate_is_accepted(value: float) -> None:
    """Any positive rate will do."""
    assert RateLimit(per_second=value).per_second == value


@pytest.mark.parametrize(
    "value",
    [
        0,
        -1,
        float("nan"),
        float("inf"),
        pytest.param(10**400, id="beyond-floats"),
        "5",
        True,
        None,
        timedelta(1),
    ],
)
def test_rate_must_be_a_positive_number(value: Any) -> None:
    """A rate that is no finite number above zero is refused, with the way to have no ceiling."""
    with pytest.raises(ConfigError, match="rate_limit=None for no ceiling") as caught:
        RateLimit(per_second=value)
    assert caught.value.field == "RateLimit.per_second"


@pytest.mark.parametrize("mode", ["transient", "safe", "never"])
def test_mode_is_one_of_three(mode: Any) -> None:
    """Each documented mode is accepted."""
    assert RetryPolicy(mode=mode).mode == mode


@pytest.mark.parametrize("mode", ["always", "", None, ["safe"]])
def test_other_modes_are_refused(mode: Any) -> None:
    """A mode nobody knows is refused, and the known ones are listed."""
    with pytest.raises(ConfigError, match="one of transient, safe, never") as caught:
        RetryPolicy(mode=mode)
    assert caught.value.field == "RetryPolicy.mode"


@pytest.mark.parametrize("cls", POLICIES)
def test_policy_is_a_value(cls: type) -> None:
    """Policies are equal by value, hashable, picklable and frozen."""
    policy = cls()
    assert pickle.loads(pickle.dumps(policy)) == policy  # noqa: S301
    assert {policy, cls()} == {policy}
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(policy, attrs.fields(cls)[0].name, 1)


@pytest.mark.parametrize("cls", POLICIES)
def test_policy_takes_keywords_only(cls: type) -> None:
    """A bare number would not say what it means."""
    with pytest.raises(TypeError):
        cls(1)


@pytest.mark.parametrize("value", [1, 0, None, "yes"])
def test_sweep_is_a_truth_value(value: Any) -> None:
    """Anything else is refused by name."""
    with pytest.raises(ConfigError, match=r"PollPolicy\.sweep"):
        PollPolicy(sweep=value)
