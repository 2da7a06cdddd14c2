"""How processes name the function that makes their client."""

from __future__ import annotations

import functools
from typing import Any

import pytest

from refold_async import ConfigError, RefoldClient
from refold_async.dask import run_batch
from refold_async.dask.connecting import name_of
from tests.support.dasking import connect, requests

NAME = "tests.support.dasking:connect"


def in_a_script() -> None:
    """Look as if it stood in the script that runs."""


in_a_script.__module__ = "__main__"


@pytest.mark.parametrize("given", [NAME, connect], ids=["by name", "the function"])
def test_a_function_at_the_top_of_a_module_is_known_by_its_name(given: Any) -> None:
    """Only the name is sent to workers."""
    assert name_of(given) == NAME


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        pytest.param(lambda: RefoldClient(api_key="tk_1"), "a lambda, a partial", id="lambda"),
        pytest.param(functools.partial(connect), "a lambda, a partial", id="partial"),
        pytest.param(in_a_script, "the script itself", id="of the script"),
        pytest.param("connect", 'look like "module:function"', id="no module"),
        pytest.param("tests.support.nowhere:connect", "can't be imported", id="no such module"),
        pytest.param("tests.support.dasking:nothing", "can't be imported", id="no such function"),
        pytest.param("tests.support.dasking:LEASE", "is no function", id="no function"),
        pytest.param(None, "a lambda, a partial", id="nothing"),
    ],
)
def test_what_would_be_pickled_with_the_key_in_it_is_refused(given: Any, problem: str) -> None:
    """The error says what to write instead, and holds no key."""
    with pytest.raises(ConfigError, match=problem) as caught:
        name_of(given)
    assert caught.value.field == "connect"
    assert "tk_1" not in str(caught.value)


async def test_arguments_are_checked_before_any_io() -> None:
    """What is no asynchronous client of a cluster is named."""
    with pytest.raises(ConfigError, match="cluster: ") as caught:
        await run_batch(requests(1), cluster="tcp://127.0.0.1:8786", connect=connect)
    assert caught.value.field == "cluster"
