"""Which credential is used, and that it shows nowhere."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from refold_async import ConfigError
from refold_async._config import Credential, Secret, choose_credential, from_environment

KEY = "tk_very_secret"


async def _source() -> str:
    return "jwt"


def test_api_key_argument_is_taken() -> None:
    """An API key is kept as a secret, and nothing beside it."""
    chosen = choose_credential(KEY, None)
    assert chosen.api_key is not None
    assert chosen.api_key.reveal() == KEY
    assert (chosen.session_token, chosen.token_source) == (None, None)


def test_session_token_argument_is_taken() -> None:
    """A session token is kept as a secret, and nothing beside it."""
    chosen = choose_credential(None, "jwt")
    assert chosen.session_token is not None
    assert chosen.session_token.reveal() == "jwt"
    assert (chosen.api_key, chosen.token_source) == (None, None)


def test_token_callable_is_taken_and_not_called() -> None:
    """A source of tokens is asked later, when a token is needed."""
    assert choose_credential(None, _source) == Credential(token_source=_source)


@pytest.mark.parametrize("kind", ["api_key", "session_token"])
def test_environment_is_read(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an argument the environment's one credential is used."""
    monkeypatch.setenv(f"REFOLD_{kind.upper()}", "from-env")
    assert getattr(choose_credential(None, None), kind).reveal() == "from-env"


@pytest.mark.parametrize("variable", ["REFOLD_API_KEY", "REFOLD_SESSION_TOKEN"])
def test_argument_of_either_kind_switches_the_environment_off(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An argument wins over the variable of its own kind and over the other's."""
    monkeypatch.setenv(variable, "from-env")
    by_key, by_token = choose_credential("mine", None), choose_credential(None, "mine")
    assert by_key.api_key is not None
    assert by_token.session_token is not None
    assert (by_key.api_key.reveal(), by_key.session_token) == ("mine", None)
    assert (by_token.session_token.reveal(), by_token.api_key) == ("mine", None)


def test_two_arguments_are_refused() -> None:
    """Two credentials leave open which is meant."""
    with pytest.raises(ConfigError, match="one of api_key and session_token, not both"):
        choose_credential("a", "b")


def test_two_variables_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two variables leave open which is meant, and both are named."""
    monkeypatch.setenv("REFOLD_API_KEY", "a")
    monkeypatch.setenv("REFOLD_SESSION_TOKEN", "b")
    with pytest.raises(ConfigError, match="REFOLD_API_KEY and REFOLD_SESSION_TOKEN are both set"):
        choose_credential(None, None)


def test_no_credential_is_refused_with_all_the_ways_to_give_one() -> None:
    """The message names the arguments and the variables."""
    with pytest.raises(ConfigError, match="pass api_key or session_token, or set REFOLD_API_KEY"):
        choose_credential(None, None)


def test_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    """`REFOLD_API_KEY=` in a file of settings means no key."""
    monkeypatch.setenv("REFOLD_API_KEY", "")
    monkeypatch.setenv("REFOLD_SESSION_TOKEN", "jwt")
    assert choose_credential(None, None).session_token is not None


@pytest.mark.parametrize(
    ("environ", "value"),
    [({"X": "1"}, "1"), ({"X": ""}, None), ({}, None)],
)
def test_variable_is_read_from_a_mapping(environ: dict[str, str], value: str | None) -> None:
    """A mapping may stand in for the process's environment."""
    assert from_environment("X", environ) == value


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        pytest.param(("", None), "api_key", id="empty-key"),
        pytest.param(("a\nb", None), "api_key", id="key-with-newline"),
        pytest.param((b"key", None), "api_key", id="key-of-bytes"),
        pytest.param((None, ""), "session_token", id="empty-token"),
        pytest.param((None, "é"), "session_token", id="token-not-ascii"),
        pytest.param((None, 5), "session_token", id="token-no-text"),
    ],
)
def test_credential_must_fit_a_header(arguments: tuple[Any, Any], field: str) -> None:
    """A credential that can't be sent is refused at once, without being quoted."""
    with pytest.raises(ConfigError) as caught:
        choose_credential(*arguments)
    assert caught.value.field == field


def test_variable_at_fault_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable with a stray newline is named, not an argument nobody gave."""
    monkeypatch.setenv("REFOLD_API_KEY", KEY + "\n")
    with pytest.raises(ConfigError) as caught:
        choose_credential(None, None)
    assert caught.value.field == "REFOLD_API_KEY"
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("show", [repr, str, "{}".format, "{!r}".format, "%s".__mod__])
@pytest.mark.parametrize(
    "holder",
    [
        pytest.param(Secret(KEY), id="secret"),
        pytest.param(choose_credential(KEY, None), id="key"),
        pytest.param(choose_credential(None, KEY), id="token"),
    ],
)
def test_secret_shows_nowhere(show: Any, holder: object) -> None:
    """No way of printing shows the credential."""
    assert KEY not in show(holder)


@pytest.mark.parametrize("take", [pickle.dumps, copy.copy, copy.deepcopy])
def test_secret_is_not_pickled(take: Any) -> None:
    """A credential does not leave the process by accident."""
    with pytest.raises(TypeError, match="Make the client where it is used"):
        take(Secret(KEY))
