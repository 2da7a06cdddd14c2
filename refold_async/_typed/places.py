"""Which key of a mapping a fault stands at: msgspec says `[...]` in its place."""

from __future__ import annotations

import re
from bisect import bisect_left
from typing import TYPE_CHECKING, Any

from refold_async._typed.faults import MisfitError, guarded

if TYPE_CHECKING:
    from collections.abc import Callable

_ANY = "[...]"
_AT = re.compile(r"\[(\d+)\]", re.ASCII)


def converted(value: Any, convert: Callable[[Any], Any]) -> Any:
    """Convert JSON values by what msgspec does, and say exactly where one does not fit.

    Raises:
        MisfitError: one does not; its path has keys of mappings as far as they can be told.
    """
    try:
        return guarded(lambda: convert(value))
    except MisfitError as error:
        misfit = error if _ANY not in error.path else _Search(value, convert, error).located()
    raise misfit


class _Search:
    """Finds keys by halving: what is wrong is that of the first key with which it is wrong.

    After each key that was found, what came behind it is left out, so that nothing else that is
    wrong in the same way is taken for it.
    """

    def __init__(self, value: Any, convert: Callable[[Any], Any], misfit: MisfitError) -> None:
        self._value = value
        self._convert = convert
        self._misfit = misfit
        self._steps: list[Any] = []  # keys and places that lead to the part that is looked at

    def located(self) -> MisfitError:
        """Give the fault with its keys."""
        told, rest, part = "$", self._misfit.path.removeprefix("$"), self._value
        while _ANY in rest:
            if rest.startswith(_ANY):
                step = self._key(part, len(rest))
                text, said = _ANY, f".{step}"
            else:
                step, text = _next(part, rest)
                said = text
            if step is None:
                break
            told, rest, part = told + said, rest.removeprefix(text), part[step]
            self._steps.append(step)
        return MisfitError(self._misfit.words, told + rest)

    def _key(self, mapping: Any, left: int) -> str | None:
        """Find the key of a mapping whose value is wrong, and leave out all behind it.

        Args:
            mapping: what has the key.
            left: characters of the path from here on.
        """
        if not isinstance(mapping, dict):
            return None
        keys = [*mapping]

        def shortened(many: int) -> Any:
            return _put(self._value, self._steps, {key: mapping[key] for key in keys[:many]})

        many = bisect_left(range(len(keys)), 1, lo=1, key=lambda few: self._is_it(shortened(few)))
        before = self._fault(shortened(many - 1))
        if before is not None and before.path in (self._misfit.path[:-left], self._misfit.path):
            return None  # a mapping with a bound on its length may not be shortened
        self._value = shortened(many)
        return keys[many - 1] if self._is_it(self._value) else None

    def _is_it(self, value: Any) -> bool:
        found = self._fault(value)
        return found is not None and found.args == self._misfit.args

    def _fault(self, value: Any) -> MisfitError | None:
        try:
            guarded(lambda: self._convert(value))
        except MisfitError as error:
            return error
        return None


def _next(part: Any, rest: str) -> tuple[Any, str]:
    """Read a step of a path: what it leads to, and its text; None where that can't be told."""
    if isinstance(part, list | tuple) and (found := _AT.match(rest)) and int(found[1]) < len(part):
        return int(found[1]), found[0]
    if isinstance(part, dict):
        fitting = [key for key in part if rest.startswith((f".{key}.", f".{key}["))]
        if fitting:
            longest = max(fitting, key=len)
            return longest, f".{longest}"
    return None, ""


def _put(whole: Any, steps: list[Any], part: Any) -> Any:
    """Copy a value as far as needed to have another part in it."""
    if not steps:
        return part
    step, *further = steps
    copy = {**whole} if isinstance(whole, dict) else [*whole]
    copy[step] = _put(whole[step], further, part)
    return copy
