"""The commands in this process: what they refuse, and with which exit code they end."""

from __future__ import annotations

import logging
import runpy
import sys
from typing import Any, NoReturn

import pytest
from typer.testing import CliRunner

from refold_async import (
    AuthenticationError,
    BadRequestError,
    ClientClosedError,
    ConfigError,
    ConnectionFailedError,
    ExecutionFailedError,
    ExecutionOutcomeUnknownError,
    ExecutionResult,
    ExecutionStatus,
    ExecutionStoppedError,
    NotFoundError,
    PayloadError,
    PermissionDeniedError,
    RateLimitError,
    RefoldError,
    RequestTimeoutError,
    ServerError,
    UnexpectedReplyError,
    WaitTimeoutError,
    __version__,
)
from refold_async.cli import _app, main
from refold_async.cli._endings import advice, exit_code
from refold_async.cli._options import Settings
from refold_async.cli._performing import told

ENDED = ExecutionResult(execution_id="e1", status=ExecutionStatus.ERRORED, output=None)
LIVE = ("demo", "--live", "wf_1", "crm")


def invoke(*arguments: str) -> Any:
    """Run the command here."""
    return CliRunner().invoke(_app.app, arguments)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("no"), 2),
        (PayloadError("no"), 2),
        (ExecutionFailedError("failed", result=ENDED), 1),
        (ExecutionStoppedError("stopped", result=ENDED), 1),
        (WaitTimeoutError("waited"), 124),
        (ExecutionOutcomeUnknownError("unknown"), 4),
        (AuthenticationError("no", status=401), 3),
        (PermissionDeniedError("no", status=403), 3),
        (NotFoundError("no", status=404), 3),
        (BadRequestError("no", status=400), 3),
        (RateLimitError("no", status=429), 3),
        (ServerError("no", status=500), 3),
        (ConnectionFailedError("no"), 3),
        (RequestTimeoutError("no"), 3),
        (UnexpectedReplyError("no"), 3),
        (ClientClosedError("no"), 3),
        (RefoldError("no"), 3),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, RefoldError) else str(value),
)
def test_every_failure_has_an_exit_code_and_advice(error: RefoldError, code: int) -> None:
    """The exit code tells a script what is known about the run."""
    assert exit_code(error) == code
    assert advice(error).endswith(".")


def test_credential_is_asked_for() -> None:
    """Without settings the message names them all."""
    result = invoke(*LIVE)

    assert result.exit_code == 2
    assert "--live needs REFOLD_API_KEY with REFOLD_LINKED_ACCOUNT_ID, or" in result.stderr


def test_linked_account_is_asked_for_with_an_api_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """An API key alone does not say for whom."""
    monkeypatch.setenv("REFOLD_API_KEY", "tk_1")
    result = invoke(*LIVE)

    assert result.exit_code == 2
    assert "--live needs REFOLD_LINKED_ACCOUNT_ID" in result.stderr


def test_wrong_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A base URL that is none ends before anything is said to start."""
    monkeypatch.setenv("REFOLD_SESSION_TOKEN", "token")
    monkeypatch.setenv("REFOLD_BASE_URL", "ftp://refold.example")
    result = invoke(*LIVE)

    assert result.exit_code == 2
    assert result.stdout == ""
    assert "base_url: must begin with https://" in result.stderr


@pytest.mark.parametrize("payload", ["{", "[1]"])
def test_payload_must_be_a_json_object(payload: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A payload that can't be one is bad usage."""
    monkeypatch.setenv("REFOLD_SESSION_TOKEN", "token")
    result = invoke(*LIVE, "--payload", payload)

    assert result.exit_code == 2
    assert "Traceback" not in result.stderr


def test_live_takes_a_workflow_and_its_slug() -> None:
    """One of the two is bad usage."""
    assert invoke("demo", "--live", "wf_1").exit_code == 2


def test_interrupt_is_exit_code_130(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C says that runs go on."""

    async def interrupted(*_: Any) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr("refold_async.cli.demo.play_local", interrupted)
    result = invoke("demo")

    assert result.exit_code == 130
    assert "runs that were started go on" in result.stderr


def test_exit_code_of_the_demo_is_the_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the demo gives is what the shell sees."""

    async def failed(*_: Any) -> int:
        return 4

    monkeypatch.setattr("refold_async.cli.demo.play_local", failed)

    assert invoke("demo").exit_code == 4


def test_live_reaches_the_demo_as_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """Options become the work that is started."""
    seen = []

    async def played(_: Any, live: Any) -> int:
        seen.append((live.work.workflow_id, live.work.payload, live.work.timeout, live.fan_out))
        return 0

    monkeypatch.setattr("refold_async.cli.demo.play_live", played)
    monkeypatch.setenv("REFOLD_SESSION_TOKEN", "token")
    result = invoke(*LIVE, "--payload", '{"n": 1}', "--fan-out", "0", "--timeout", "9")

    assert result.exit_code == 0
    assert seen == [("wf_1", {"n": 1}, 9.0, 0)]


def test_emulator_command_has_the_emulators_own_options() -> None:
    """`refold emulator` is `python -m refold_async.emulator`."""
    result = invoke("emulator", "--help")

    assert result.exit_code == 0
    assert "--faulty SHARE" in result.stdout


def test_missing_extra_is_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without typer the command says what to install."""
    monkeypatch.delitem(sys.modules, "refold_async.cli._app")
    monkeypatch.setitem(sys.modules, "typer", None)

    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "pip install 'refold-async[cli]'" in capsys.readouterr().err


def test_other_missing_modules_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken installation is not taken for a missing extra."""
    monkeypatch.setitem(sys.modules, "refold_async.cli._app", None)

    with pytest.raises(ModuleNotFoundError):
        main()


def test_module_is_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """`python -m refold_async.cli` takes the arguments of the process."""
    monkeypatch.setattr(sys, "argv", ["refold", "emulator", "--help"])

    with pytest.raises(SystemExit) as ended:
        runpy.run_module("refold_async.cli", run_name="__main__")
    assert ended.value.code == 0


def test_version_is_said() -> None:
    """With the name of the package, as it is to be reported."""
    result = invoke("--version")
    assert (result.exit_code, result.stdout) == (0, f"refold-async {__version__}\n")


def test_flags_are_shown_plainly() -> None:
    """A flag takes no value, and its help names none."""
    for command in (("batch",), ("batch", "stop"), ("webhooks", "create"), ("execute",)):
        lines = invoke(*command, "--help").stdout.splitlines()
        flags = [line for line in lines if "<bool>" in line and "--help" not in line]
        assert flags == []


def test_the_same_complaint_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    """How many were like it comes in the end; a new command begins anew."""
    logger = logging.getLogger("refold_async")
    handlers = logger.handlers[:]
    try:
        for _ in range(2):
            with told(Settings()):
                for number in range(4):
                    logger.warning("item %s is odd", number)
                logger.warning("the disk is slow")
    finally:
        logger.handlers[:] = handlers

    assert capsys.readouterr().err.splitlines() == 2 * [
        "refold: item 0 is odd",
        "refold: the disk is slow",
        "refold: 3 times more, about others: item 0 is odd",
    ]
