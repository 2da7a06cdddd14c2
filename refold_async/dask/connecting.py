"""How each process of a batch makes its client: by the name of a function, never by a value.

A function that is pickled by value (a lambda, a closure) takes the API key along, through the
scheduler and onto the dashboard. So only a name travels, and the secret stays in the environment of
each worker.
"""

from __future__ import annotations

import hashlib
import hmac
import importlib
import inspect
import re
from typing import TYPE_CHECKING, Any

from refold_async._client import RefoldClient
from refold_async._errors import ConfigError
from refold_async._version import __version__
from refold_async.dask.messages import Profile

if TYPE_CHECKING:
    from collections.abc import Callable

_NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")

_LIKE_THIS = (
    "put `def connect(): return RefoldClient()` into a module that the workers have, and give"
    ' "module:connect" or that function; keys belong into the environment of the workers'
)


def name_of(connect: object) -> str:
    """Give the name by which other processes import a function.

    Raises:
        ConfigError: it has none.
    """
    if isinstance(connect, str):
        if not _NAME.fullmatch(connect):
            raise ConfigError(
                f'must look like "module:function", not {connect!r:.80}; {_LIKE_THIS}',
                field="connect",
            )
        name = connect
    else:
        name = f"{getattr(connect, '__module__', '')}:{getattr(connect, '__qualname__', '')}"
        if name.startswith("__main__:"):
            raise ConfigError(
                "is a function of the script itself, which workers can't import and Dask would"
                f" pickle with all it knows; {_LIKE_THIS}",
                field="connect",
            )
        if not _NAME.fullmatch(name):
            raise ConfigError(
                "must be a function at the top of a module: a lambda, a partial or a function"
                f" within another would be pickled with the key in it; {_LIKE_THIS}",
                field="connect",
            )
    found = _imported(name)
    if not isinstance(connect, str) and found is not connect:
        raise ConfigError(
            f"{name} is another function than this one; {_LIKE_THIS}", field="connect"
        )
    return name


def _imported(name: str) -> Callable[[], Any]:
    module, _, function = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError):
        raise ConfigError(f"{name} can't be imported; {_LIKE_THIS}", field="connect") from None
    if not callable(found):
        raise ConfigError(f"{name} is no function; {_LIKE_THIS}", field="connect")
    return found  # type: ignore[no-any-return]


def connected(name: str) -> RefoldClient:
    """Make the client of this process.

    Raises:
        ConfigError: the function gives none; and whatever it raises.
    """
    client: object = _imported(name)()
    if not isinstance(client, RefoldClient):
        if inspect.iscoroutine(client):
            client.close()
        raise ConfigError(
            f"{name}() must return a RefoldClient, and returned {type(client).__name__}; an async"
            " function can't be used",
            field="connect",
        )
    return client


def profile_of(client: RefoldClient, batch: str) -> Profile:
    """Give what has to be alike in all processes."""
    caller = client._caller  # noqa: SLF001 - as `RefoldClient` itself puts it together
    parts = caller.parts
    keys = parts.transport.auth.signs
    told = (hmac.new(key.encode(), batch.encode(), hashlib.sha256).hexdigest() for key in keys)
    return Profile(
        release=__version__,
        base_url=parts.transport.wire.base_url,
        linked_account_id=caller.account,
        credential=next(told, "a session token"),
        timeouts=repr(parts.services.api.timeouts),
    )
