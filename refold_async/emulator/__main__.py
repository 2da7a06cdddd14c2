"""`python -m refold_async.emulator`: a local Refold to point a client at."""

import argparse
import asyncio
import math
import re
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any

from ._behaviour import Behaviour
from ._faults import Fault
from ._server import Emulator
from ._workflows import NodeFailed, Respond

_SLUG = "demo"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run an emulator until SIGINT or SIGTERM; gives the exit code."""
    options = _parser().parse_args(arguments)
    try:
        asyncio.run(serve(options))
    except (OSError, UnicodeError) as error:  # taken, forbidden, or no host at all
        where = f"{options.host} port {options.port}"
        print(f"refold emulator: can't listen at {where}: {error}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


async def serve(options: argparse.Namespace) -> None:
    """Listen, say where, and wait for a signal."""
    emulator = Emulator(
        api_key=options.api_key,
        host=options.host,
        port=options.port,
        prefix=options.prefix,
        behaviour=Behaviour(rate_limit=options.rate_limit, capacity=options.capacity),
    )
    emulator.recording = options.record
    if options.faulty:
        fault = Fault(status=502, html=True, perform=True)
        emulator.faults.share("execute", fault, share=options.faulty)
    add_samples(emulator)
    stopped = asyncio.Event()
    restore = _on_signals(asyncio.get_running_loop(), stopped.set)
    try:
        async with emulator:
            print(_welcome(emulator), flush=True)  # noqa: T201
            await stopped.wait()
    finally:
        restore()


def add_samples(emulator: Emulator) -> None:
    """Give an emulator the sample workflows, all under the slug `demo`."""

    @emulator.workflow("wf_echo", slug=_SLUG)
    def echo(payload: dict[str, Any]) -> Any:
        """COMPLETED at once; the output is the payload."""
        return payload

    @emulator.workflow("wf_contact", slug=_SLUG, alias="create-contact", duration=2.0)
    def create_contact(payload: dict[str, Any]) -> Any:
        """COMPLETED after 2 s; the output is a contact."""
        return {"id": 1, "email": payload.get("email", "jane@example.com")}

    stages = ("Start", "Extract", "Transform", "Load", "Response")

    @emulator.workflow("wf_slow", slug=_SLUG, duration=20.0, nodes=stages)
    def migrate(payload: dict[str, Any]) -> Any:
        """COMPLETED after 20 s in five nodes."""
        return {"rows": len(payload)}

    @emulator.workflow("wf_rejects", slug=_SLUG, duration=0.5)
    def reject(_: dict[str, Any]) -> Any:
        """COMPLETED after 0.5 s; the Response node sets status 422."""
        return Respond(status=422, data={"reason": "email is taken"})

    @emulator.workflow("wf_fails", slug=_SLUG, duration=0.5)
    def fail(_: dict[str, Any]) -> Any:
        """ERRORED after 0.5 s at node Work."""
        raise NodeFailed(node="Work", message="the CRM said no")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m refold_async.emulator", description="A Refold that runs on this machine."
    )
    parser.add_argument("--host", default="127.0.0.1", help="address (default: %(default)s)")
    parser.add_argument(
        "--port", type=_port, default=8080, help="0: any free (default: %(default)s)"
    )
    parser.add_argument(
        "--prefix", type=_prefix, default="", help="path in front of every endpoint"
    )
    parser.add_argument("--api-key", type=_key, default="tk_emulator", help="default: %(default)s")
    parser.add_argument(
        "--rate-limit", type=_rate, metavar="N/BURST", help="refuse more per second with 429"
    )
    parser.add_argument(
        "--capacity", type=_capacity, metavar="N", help="shed more starts per second with 503"
    )
    parser.add_argument(
        "--faulty",
        type=_share,
        default=0.0,
        metavar="SHARE",
        help="share (0 to 1) of starts that happen and are answered 502 by a proxy",
    )
    parser.add_argument(
        "--no-record", dest="record", action="store_false", help="keep no requests: for benchmarks"
    )
    return parser


def _rate(text: str) -> tuple[float, int]:
    wants = "N/BURST, as 20/5"
    per_second, _, burst = text.partition("/")
    try:
        rate = _number(per_second, wants, lambda number: 0 < number < math.inf)
        return rate, int(_number(burst or per_second, wants, lambda number: 1 <= number < math.inf))
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"must be {wants}, not {text!r}") from None


def _capacity(text: str) -> float:
    return _number(text, "a number above 0", lambda number: 0 < number < math.inf)


def _share(text: str) -> float:
    return _number(text, "a share from 0 to 1", lambda number: 0 <= number <= 1)


def _port(text: str) -> int:
    return int(_number(text, "a port from 0 to 65535", lambda number: number in range(65536)))


def _prefix(text: str) -> str:
    return _matching(text, r"(/?(?!\.{1,2}(/|$))[A-Za-z0-9._~-]+)*/?", "a path, as /refold")


def _key(text: str) -> str:
    return _matching(text, r"[!-~]+", "visible ASCII characters")


def _matching(text: str, pattern: str, wants: str) -> str:
    if not re.fullmatch(pattern, text):
        raise argparse.ArgumentTypeError(f"must be {wants}, not {text!a}")
    return text


def _number(text: str, wants: str, fits: Callable[[float], bool]) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not fits(number):
        raise argparse.ArgumentTypeError(f"must be {wants}, not {text!r}")
    return number


def _welcome(emulator: Emulator) -> str:
    samples = "\n".join(
        f"  {workflow.workflow_id:<12}{workflow.function.__doc__}"
        for workflow in emulator.workflows
    )
    return f"""Refold emulator, local and in memory. Stop it with Ctrl-C.

  base URL    {emulator.base_url}
  API key     {emulator.api_key}
  account     any linked_account_id
  page        {emulator.page_url}

Workflows of the application "{_SLUG}":
{samples}

  curl -X POST {emulator.base_url}/api/v2/public/workflow/wf_contact/execute \\
    -H 'x-api-key: {emulator.api_key}' -H 'linked_account_id: acct_1' -H 'slug: {_SLUG}' \\
    -H 'Content-Type: application/json' -d '{{"payload": {{"email": "jane@example.com"}}}}'
"""


def _on_signals(loop: asyncio.AbstractEventLoop, stop: Callable[[], None]) -> Callable[[], None]:
    def wake(*_: object) -> None:
        loop.call_soon_threadsafe(stop)

    # signal.signal, since loop.add_signal_handler does not exist on Windows.
    kinds = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(kind, wake) for kind in kinds]

    def restore() -> None:
        for kind, handler in zip(kinds, before, strict=True):
            signal.signal(kind, handler)

    return restore


if __name__ == "__main__":
    sys.exit(main())
