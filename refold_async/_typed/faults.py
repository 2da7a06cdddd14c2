"""What did not fit, in words that hold no value: what a payload or an output says is its owner's.

So texts of others are never passed on as they are. msgspec's are known, and lose the value some of
them quote; pydantic's are made anew from the kind of fault; of what a validator raises only its
name and the kind of the exception are told. A path may hold keys of mappings.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from refold_async._errors import clip

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_T = TypeVar("_T")

_SAID = 300
"""Characters of what was wrong, and of where, in a message: both may hold text from elsewhere."""

_AT = re.compile(r" - at (?P<key>`key` in )?`\$(?P<path>[^`]*)`\Z")
_QUOTING = re.compile(r"(?P<words>Invalid (?:enum )?value) (?P<quote>['\"])?")
_KNOWN = re.compile(
    r"Expected `|Object (?:missing|contains) |Invalid [A-Z\d]|Invalid (?:base64|decimal|epoch) "
    r"|(?:Integer value|Number|Duration is|Timestamp is) out of range|Only units "
)
"""How the texts of msgspec begin that hold names of fields and kinds, and no value."""

_KEYS = "Only dicts with str-like or number-like keys are supported"
_LIBRARIES = {"refold_async", "msgspec", "pydantic", "attr", "attrs"}


class MisfitError(ValueError):
    """A value that does not fit its type.

    It is a `ValueError` for msgspec to add where in the whole it was raised.

    Attributes:
        words: what is wrong.
        path: where, as `$.items[0].price`.
    """

    def __init__(self, words: str, path: str = "$") -> None:
        super().__init__(words, path)
        self.words = clip(words, _SAID)
        self.path = clip(path, _SAID)

    def below(self, path: str) -> MisfitError:
        """Give the same, of a value that stands at a path."""
        return MisfitError(self.words, path + self.path.removeprefix("$"))


def guarded(work: Callable[[], _T]) -> _T:
    """Do what calls the user's own code, whatever that raises.

    Raises:
        MisfitError: it did; without the other error behind it, which may hold values.
    """
    try:
        return work()
    except RecursionError:
        misfit = MisfitError("is nested too deep, or contains itself; send it flatter")
    except Exception as error:  # noqa: BLE001 - validators of the user's may raise anything
        misfit = told(error)
    raise misfit


def told(error: BaseException) -> MisfitError:
    """Tell what an exception says of a value, without the value."""
    if isinstance(error, MisfitError):
        return error
    kind = type(error)
    if (kind.__module__, kind.__name__) == ("msgspec", "ValidationError"):
        return _told_by_msgspec(error)
    if (kind.__module__, kind.__name__) == ("pydantic_core._pydantic_core", "ValidationError"):
        return _told_by_pydantic(error)
    if isinstance(error, TypeError) and str(error) == _KEYS:
        return MisfitError("has a key that is neither text nor a number; JSON keys are strings")
    return _raised(error)


def _told_by_msgspec(error: BaseException) -> MisfitError:
    text, cause = str(error), error.__cause__
    if cause is not None:  # raised by a validator, or by us: msgspec has added where
        found = _AT.fullmatch(text.removeprefix(str(cause)))
        return told(cause).below(_path(found))
    found = _AT.search(text)
    words = text[: found.start()] if found else text
    if quoting := _QUOTING.match(words):
        words = f"{quoting['words']} (a `{'str' if quoting['quote'] else 'int'}`)"
    elif not _KNOWN.match(words):
        words = "is of another kind"
    return MisfitError(words, _path(found))


def _path(found: re.Match[str] | None) -> str:
    return f"${found['path']}{'[key]' if found['key'] else ''}" if found else "$"


def _told_by_pydantic(error: Any) -> MisfitError:
    first = error.errors(include_url=False, include_input=False)[0]
    path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in first["loc"])
    return MisfitError(_words(first["type"], first.get("ctx", {})), f"${path}")


def _words(kind: str, context: Mapping[str, Any]) -> str:
    from pydantic_core import PydanticKnownError  # noqa: PLC0415 - there are models, so it is there

    if isinstance(context.get("error"), Exception):
        return f"its validator raised {type(context['error']).__name__}"
    try:
        if not {"error", "tag"} & context.keys():  # these quote what was found
            return PydanticKnownError(kind, {**context} or None).message()  # type: ignore[arg-type]
    except (KeyError, TypeError, ValueError):
        pass  # a kind of the user's own
    return f"is refused ({kind})"


def _raised(error: BaseException) -> MisfitError:
    """Tell of an exception whose text may hold anything."""
    trace, who = error.__traceback__, ""
    while trace and not who:
        module = str(trace.tb_frame.f_globals.get("__name__", "")).partition(".")[0]
        who = "" if module in _LIBRARIES else trace.tb_frame.f_code.co_qualname
        trace = trace.tb_next
    # What the validators of attrs raise has the field with it.
    field = next((part.name for part in error.args if isinstance(part, attrs.Attribute)), None)
    who = who or ("it" if field is None else "its validator")
    return MisfitError(
        f"{who} raised {type(error).__name__}", "$" if field is None else f"$.{field}"
    )
