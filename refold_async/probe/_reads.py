"""Questions that start nothing: unknown ids, events and accounts, session tokens."""

from __future__ import annotations

import math
import secrets
from typing import TYPE_CHECKING

from refold_async.probe._asking import V2, NoAnswerError

if TYPE_CHECKING:
    from refold_async.probe._scene import Scene

_LONGEST_HANG = 10.0
_LATE = 5.0
_OK = 200
_NOT_FOUND = 404
_REFUSALS = {400, 401, 403, 404}
_LONGEST = 1e9


async def find_unknown(scene: Scene) -> None:
    """Read an execution that nobody has."""
    path = f"{V2}/execution/{secrets.token_hex(12)}"
    try:
        answer = await scene.asker.read(path, patience=_LONGEST_HANG)
    except NoAnswerError as error:
        scene.notes.tell("unknown_execution", "hangs", str(error))
        return
    if answer.status == _NOT_FOUND:
        scene.notes.tell("unknown_execution", "404", str(answer))
    else:
        scene.notes.leave("unknown_execution", f"it was answered {answer}")


async def find_event(scene: Scene) -> None:
    """Trigger an event that nobody knows."""
    sent = {"event": scene.nobody, "payload": {}}
    answer = await scene.asker.post(f"{V2}/event/trigger", sent)
    if answer.status in {400, 404}:
        scene.notes.tell("unknown_event_status", answer.status, str(answer))
    else:
        scene.notes.leave("unknown_event_status", f"it was answered {answer}")


async def find_accounts(scene: Scene) -> None:
    """List the runs of an account that nobody has."""
    headers = {"linked_account_id": scene.nobody}
    answer = await scene.asker.read(f"{V2}/execution", {"limit": "1"}, headers=headers)
    if answer.status == _OK:
        scene.notes.tell("linked_accounts", None, str(answer))
    elif answer.status in _REFUSALS:
        known = frozenset({scene.asker.target.account})
        scene.notes.tell("linked_accounts", known, str(answer))
    else:
        scene.notes.leave("linked_accounts", f"it was answered {answer}")


async def find_tokens(scene: Scene) -> None:
    """Ask for a session token of the account."""
    sent = {"linked_account_id": scene.asker.target.account}
    answer = await scene.asker.post(f"{V2}/session-token", sent)
    token = answer.field("token")
    if not isinstance(token, str) or not (token.isascii() and token.isprintable() and token):
        why = f"no session token was to be had: {answer}"
        for name in ("token_lifetime", "refresh_lifetime", "response_accepts_session_token"):
            scene.notes.leave(name, why)
        return
    scene.token = token
    for name, field in (
        ("token_lifetime", "expires_in"),
        ("refresh_lifetime", "refresh_expires_in"),
    ):
        seconds = answer.field(field)
        if (
            isinstance(seconds, int | float)
            and not isinstance(seconds, bool)
            and 0 <= seconds < _LONGEST
        ):
            because = "a token that was made before may have been given again"
            scene.notes.tell(name, _whole(seconds), because)


def _whole(seconds: float) -> float:
    """Take a time that was told a moment late for what it was: nobody grants 604,799 s."""
    minutes = math.ceil(seconds / 60) * 60.0
    return minutes if minutes - seconds < _LATE else float(seconds)
