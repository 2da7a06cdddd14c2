"""Options that commands share, and the one place where a client is made from them."""

import getpass
import os
import shlex
import sys
from typing import Annotated, Any

import attrs
import typer

from refold_async import ExecutionHandle, RefoldClient, RetryPolicy
from refold_async.cli._endings import BadUsageError

Account = Annotated[
    str | None,
    typer.Option(
        "--account",
        metavar="ID",
        help="The linked account; without it REFOLD_LINKED_ACCOUNT_ID.",
        show_default=False,
    ),
]
BaseUrl = Annotated[
    str | None,
    typer.Option(
        "--base-url",
        metavar="URL",
        help="Where Refold is; without it REFOLD_BASE_URL, or https://app.refold.ai.",
        show_default=False,
    ),
]
InsecureHttp = Annotated[
    bool,
    typer.Option(
        "--allow-insecure-http", help="Allow http:// beyond this machine, in a private network."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on standard output, for machines.")]
Slug = Annotated[
    str, typer.Option("--slug", metavar="SLUG", help="The application the workflow belongs to.")
]
ExecutionId = Annotated[str, typer.Argument(metavar="EXECUTION_ID", help="The run.")]
WaitTimeout = Annotated[
    float | None,
    typer.Option(
        "--timeout",
        metavar="SECONDS",
        min=0.001,
        help="Give up waiting after this long (exit code 124); the run goes on.",
        show_default=False,
    ),
]
Mode = Annotated[
    str,
    typer.Option(
        "--mode",
        metavar="transient|safe|never",
        help="Whether a start whose answer was lost may be sent again; safe never does.",
    ),
]

_MODES = ("transient", "safe", "never")


@attrs.frozen
class Settings:
    """What a command was told about the service and its output."""

    account: str | None = None
    base_url: str | None = None
    allow_insecure_http: bool = False
    as_json: bool = False

    def client(self, *, needs_account: bool = True, **policies: Any) -> RefoldClient:
        """Make the client of a command; a key that is missing is asked for on a terminal.

        Raises:
            BadUsageError: no credential, or no linked account.
            ConfigError: a setting is wrong.
        """
        key = os.environ.get("REFOLD_API_KEY") or None
        token = os.environ.get("REFOLD_SESSION_TOKEN") or None
        if key is None and token is None:
            key = _ask_for_key()
            policies["api_key"] = key
        refold = RefoldClient(
            linked_account_id=self.account,
            base_url=self.base_url,
            allow_insecure_http=self.allow_insecure_http,
            **policies,
        )
        if needs_account and key is not None and refold.linked_account_id is None:
            raise BadUsageError(
                "whose run is it? Give --account ID, or set REFOLD_LINKED_ACCOUNT_ID"
            )
        return refold

    def line(self, *words: str, account: str | None = None, of_account: bool = True) -> str:
        """Give the command line that does something about the same service and account."""
        line = ["refold", *words]
        account = account or self.account or os.environ.get("REFOLD_LINKED_ACCOUNT_ID")
        if account and of_account:
            line += ["--account", account]
        if self.base_url:
            line += ["--base-url", self.base_url]
        if self.allow_insecure_http:
            line.append("--allow-insecure-http")
        return shlex.join(line)

    def watch_line(self, handle: ExecutionHandle[Any]) -> str:
        """Give the command line that waits for a run."""
        return self.line("watch", str(handle.execution_id), account=handle.linked_account_id)


def retry_policy(mode: str) -> RetryPolicy:
    """Make the policy of `--mode`."""
    if mode not in _MODES:
        raise BadUsageError(f"--mode is one of {', '.join(_MODES)}, not {mode!r}")
    return RetryPolicy(mode=mode)  # type: ignore[arg-type]


def _ask_for_key() -> str:
    missing = "no credential: set REFOLD_API_KEY or REFOLD_SESSION_TOKEN"
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise BadUsageError(missing)
    try:
        key = getpass.getpass("Refold API key (not shown): ", stream=sys.stderr).strip()
    except EOFError:
        key = ""
    except KeyboardInterrupt:
        print(file=sys.stderr)  # leaves the prompt's line
        raise
    if not key:
        raise BadUsageError(missing)
    return key
