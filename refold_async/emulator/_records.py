"""What was asked of the emulator, the latest requests in bounded memory."""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, overload

import attrs

from ._strict_json import load

_MAX_REQUESTS = 100_000
_MAX_BYTES = 64 * 1024 * 1024
_SHOWN_RUNS = 20
_SHOWN = 200
"""Bytes of a body that are shown."""


@attrs.frozen(repr=False)
class Recorded:
    """One request as it arrived.

    Attributes:
        operation: The operation it asked for, `unknown` for a path that is none.
        method: The HTTP method.
        path: The path, prefix included.
        query: The query parameters.
        headers: The headers, whatever their case.
        raw: The body as bytes; empty for one that was refused before it was read to its end.
        at: When it arrived, epoch seconds.
    """

    operation: str
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    raw: bytes = attrs.field(repr=False)
    at: float

    def __repr__(self) -> str:
        text = self.raw[:_SHOWN].decode(errors="replace")
        more = "..." if len(self.raw) > _SHOWN else ""
        return f"<{self.operation}: {self.method} {self.path} {text}{more}".rstrip() + ">"

    @property
    def body(self) -> Any:
        """The body as JSON, as bytes if it is none, None without one."""
        try:
            return load(self.raw) if self.raw else None
        except ValueError:
            return self.raw


class Requests(Sequence[Recorded]):
    """The latest requests in order of arrival: at most 100,000, with bodies of at most 64 MiB."""

    def __init__(self) -> None:
        self._kept: deque[Recorded] = deque(maxlen=_MAX_REQUESTS)
        self._bytes = 0

    def append(self, request: Recorded) -> None:
        """Keep a request, and drop the oldest ones for it if need be."""
        if len(self._kept) == _MAX_REQUESTS:
            self._bytes -= len(self._kept[0].raw)
        self._kept.append(request)
        self._bytes += len(request.raw)
        while self._bytes > _MAX_BYTES:
            self._bytes -= len(self._kept.popleft().raw)

    def clear(self) -> None:
        """Forget all of them."""
        self._kept.clear()
        self._bytes = 0

    def __repr__(self) -> str:
        """Say what was asked, in order: `<7 requests: execute, 3 x list_executions, ...>`."""
        runs = [(name, len([*same])) for name, same in groupby(each.operation for each in self)]
        shown = [name if times == 1 else f"{times} x {name}" for name, times in runs[-_SHOWN_RUNS:]]
        earlier = ["..."] if len(runs) > len(shown) else []
        return f"<{len(self)} requests: {', '.join([*earlier, *shown]) or 'none'}>"

    def __str__(self) -> str:
        """List them, one a line, with the seconds since the first."""
        return "\n".join(f"{each.at - self[0].at:12.3f} s  {each!r}" for each in self)

    def __len__(self) -> int:
        return len(self._kept)

    def __iter__(self) -> Iterator[Recorded]:
        return iter(self._kept)

    @overload
    def __getitem__(self, at: int) -> Recorded: ...
    @overload
    def __getitem__(self, at: slice) -> list[Recorded]: ...
    def __getitem__(self, at: int | slice) -> Recorded | list[Recorded]:
        return list(self._kept)[at] if isinstance(at, slice) else self._kept[at]
