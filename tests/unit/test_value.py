"""Frozen values are shown, compared and hashed as attrs would do it."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import attrs
import pytest

import refold_async
from refold_async import ExecutionRef, RateLimit, RetryPolicy, SessionToken, Timeouts
from refold_async._value import Value


def _masked(_: object) -> str:
    return "***"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Ours(Value):
    """With all that fields may ask for."""

    name: str
    hidden: str = attrs.field(default="h", repr=False)
    masked: str = attrs.field(default="m", repr=_masked)
    uncounted: int = attrs.field(default=0, eq=False)


@attrs.frozen(kw_only=True)
class Theirs:
    """The same, as attrs writes it."""

    name: str
    hidden: str = attrs.field(default="h", repr=False)
    masked: str = attrs.field(default="m", repr=_masked)
    uncounted: int = attrs.field(default=0, eq=False)


PAIRS = [
    {"name": "a"},
    {"name": "a", "hidden": "other"},
    {"name": "a", "masked": "other"},
    {"name": "a", "uncounted": 1},
    {"name": "b"},
]


@pytest.mark.parametrize("one", PAIRS, ids=str)
@pytest.mark.parametrize("other", PAIRS, ids=str)
def test_a_value_is_like_one_of_attrs(one: dict[str, Any], other: dict[str, Any]) -> None:
    """In its repr, its equality, and its hash."""
    assert repr(Ours(**one)) == repr(Theirs(**one)).replace("Theirs", "Ours")
    assert (Ours(**one) == Ours(**other)) == (Theirs(**one) == Theirs(**other))
    same_hash = hash(Ours(**one)) == hash(Ours(**other))
    assert same_hash == (hash(Theirs(**one)) == hash(Theirs(**other)))


def test_values_of_other_classes_are_others() -> None:
    """A subclass too, as with attrs."""

    @attrs.frozen(kw_only=True, eq=False, repr=False)
    class Narrower(Ours):
        pass

    assert Ours(name="a") != Narrower(name="a")
    assert Ours(name="a") != Theirs(name="a")
    assert Ours(name="a") != "a"


@pytest.mark.parametrize(
    "value",
    [
        Timeouts(read=5),
        RetryPolicy(mode="safe"),
        RateLimit(),
        ExecutionRef(execution_id="e1"),
        SessionToken(token="t", refresh_token="r", expires_in=60),
    ],
    ids=lambda value: type(value).__name__,
)
def test_copies_are_equal(value: Any) -> None:
    """However they were made; and changed they are not."""
    for other in (copy.deepcopy(value), pickle.loads(pickle.dumps(value)), attrs.evolve(value)):  # noqa: S301
        assert (other, hash(other), repr(other)) == (value, hash(value), repr(value))
    assert type(value).__module__ == refold_async.__name__
