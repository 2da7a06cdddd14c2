"""A payload, from an argument, a file or standard input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from refold_async.cli._endings import BadUsageError
from refold_async.cli._terminal import read_stdin


def read_payload(given: str | None) -> dict[str, Any]:
    """Read what `--payload` names: JSON itself, `@file`, or `-` for standard input.

    Raises:
        BadUsageError: it can't be read, or is no JSON object.
    """
    if given is None:
        return {}
    where, text = _text(given)
    try:
        payload = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadUsageError(f"{where} is no JSON: {error}") from None
    if not isinstance(payload, dict):
        raise BadUsageError(f"{where} must be a JSON object, as '{{\"email\": ...}}'")
    return payload


def _text(given: str) -> tuple[str, str]:
    try:
        if given == "-":
            return "the payload on standard input", read_stdin().decode("utf-8-sig")
        if given.startswith("@"):
            return given[1:], Path(given[1:]).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise BadUsageError(f"can't read {given[1:]}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise BadUsageError(f"the payload of {given} is no UTF-8: {error.reason}") from None
    return "--payload", given
