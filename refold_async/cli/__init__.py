"""The command `refold`. It needs the extra `cli`: `pip install 'refold-async[cli]'`."""

from __future__ import annotations

import signal
import sys

_EXTRA = frozenset({"typer", "rich"})
_INTERRUPTED = 130


def main() -> None:
    """Run the command, and exit.

    Exit codes: 0 success, 1 a run failed, 2 bad usage or settings, 3 service or network, 4 outcome
    unknown, 124 a wait timed out, 130 interrupted.
    """
    try:
        _start()
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        print("refold: interrupted", file=sys.stderr)
        sys.exit(_INTERRUPTED)
    finally:
        # All is done and said: an interrupt while Python winds up would print a traceback.
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _start() -> None:
    try:
        # Here, since `pip install refold-async` brings this module without typer and rich.
        from refold_async.cli._app import app  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _EXTRA:
            raise
        print("The refold command needs: pip install 'refold-async[cli]'", file=sys.stderr)
        sys.exit(2)
    app(prog_name="refold")
