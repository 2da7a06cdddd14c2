"""Durations are seconds or a `timedelta`: mypy reads these calls, and they run as well."""

from __future__ import annotations

import inspect
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import attrs
import pytest

import refold_async
from refold_async import (
    ExecutionHandle,
    ExecutionRequest,
    PollPolicy,
    RefoldClient,
    RetryPolicy,
    Timeouts,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

SECOND = timedelta(seconds=1)


def test_policies_take_a_timedelta() -> None:
    """Each field of a policy that is a duration is typed to take one."""
    timeouts = Timeouts(connect=SECOND, read=SECOND, sync=SECOND)
    retry = RetryPolicy(wait=SECOND, max_wait=SECOND, settle=SECOND)
    polling = PollPolicy(
        first=SECOND, max_interval=SECOND, not_found_grace=SECOND, failure_budget=SECOND
    )
    assert (timeouts.read, retry.max_wait, polling.first) == (1.0, 1.0, 1.0)
    assert ExecutionRequest("wf_1", slug="hubspot", timeout=SECOND).timeout == SECOND


def typed_calls(refold: RefoldClient, handle: ExecutionHandle[Any]) -> list[Any]:
    """Hand durations to every call that takes one; for mypy, and never run."""
    return [
        refold.execute("wf_1", slug="hubspot", timeout=SECOND),
        refold.run("wf_1", slug="hubspot", timeout=SECOND),
        handle.result(timeout=SECOND),
        handle.wait(timeout=SECOND),
        handle.snapshots(interval=SECOND),
        handle.events(interval=SECOND),
    ]


def _policies() -> Iterator[Any]:
    for name in refold_async.__all__:
        cls = getattr(refold_async, name)
        if name.endswith("Policy") or name == "Timeouts":
            yield from (
                pytest.param(cls, field.name, id=f"{name}.{field.name}")
                for field in attrs.fields(cls)
                if "float" in str(field.type)
            )


@pytest.mark.parametrize(("cls", "field"), [*_policies()])
def test_each_duration_of_a_policy_converts(cls: Any, field: str) -> None:
    """No field is forgotten: whatever of a policy is a float is a duration."""
    assert getattr(cls(**{field: timedelta(seconds=7)}), field) == 7.0


def _described() -> Iterator[Any]:
    """Find all arguments of public callables that their docstrings call seconds."""
    for name in refold_async.__all__:
        cls = getattr(refold_async, name)
        if not inspect.isclass(cls) or issubclass(cls, Exception) or attrs.has(cls):
            continue
        for method, function in vars(cls).items():
            if method.startswith("_") or not inspect.isfunction(function):
                continue
            for argument, text in re.findall(
                r"^ +(\w+): ((?:.|\n {16})+)", inspect.getdoc(function) or "", re.MULTILINE
            ):
                if "seconds" in text and argument in inspect.signature(function).parameters:
                    yield pytest.param(function, argument, id=f"{name}.{method}.{argument}")


@pytest.mark.parametrize(("function", "argument"), [*_described()])
def test_each_duration_of_a_call_is_typed(function: Any, argument: str) -> None:
    """What is documented in seconds is `Seconds` in the signature."""
    assert "Seconds" in str(inspect.signature(function).parameters[argument].annotation)


def test_durations_are_found() -> None:
    """The search above sees what it is there to see."""
    found = {case.id for case in _described()}
    assert {"RefoldClient.execute.timeout", "ExecutionHandle.wait.timeout"} <= found
