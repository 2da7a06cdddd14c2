"""Outputs that webhooks bring along: which of them may settle a run that nobody has read.

Pure: nothing waits and nothing is sent. Whatever is in doubt is read, and then compared.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable

_PROVEN = 20
"""Outputs of a workflow that are read and are as claimed, before one is believed."""
_SAMPLED = 0.01
"""The share of those that would be believed which is read all the same."""
_WORKFLOWS = 500
"""Workflows of which is known what their outputs are made of, those told of last."""
_PARTS = 200
"""Parts of an output, and of all outputs of a workflow, at most: beyond, they are read."""
_KEY = 100
"""Characters of a member's name at most; with a longer one an output is read."""
_EXACT = 2**53 - 1
"""Beyond it a number may have been rounded on its way, unlike the one that is read."""
_PROVING = frozenset('"\\')
"""Characters that no text can have in JSON but escaped: if these are, so are the others."""
_ESCAPED = _PROVING.union(map(chr, range(32)))
"""Characters that come of escapes, also of one that a text only seemed to have: `C:\\new`."""
_MARKUP = frozenset("&<>")

_Path = tuple[str | None, ...]
"""Where a part stands: names of members, and None for what a list holds."""


@attrs.define(eq=False)
class Form:
    """What an output is made of: kinds of values by place, and how long the longest are."""

    parts: dict[tuple[_Path, str], int] = attrs.field(factory=dict)
    members: dict[_Path, str] = attrs.field(factory=dict)  # of the objects there
    escaped: set[str] = attrs.field(factory=set)  # such characters in its texts
    varies: bool = False  # one place has objects with other members
    lists_texts: bool = False
    doubtful: bool = False  # too large to be known, or has a number that is

    def add(self, value: Any, path: _Path = ()) -> None:
        """Take in a value, and all that is in it."""
        kind, length = self._kind(value, path)
        at = path, kind
        self.parts[at] = max(self.parts.get(at, 0), length)
        if len(self.parts) > _PARTS:
            self.doubtful = True
        elif isinstance(value, dict):
            for name, member in value.items():
                self.add(member, (*path, name))
        elif isinstance(value, list):
            for each in value:
                self.add(each, (*path, None))

    def _kind(self, value: Any, path: _Path) -> tuple[str, int]:
        """Give the kind of a value, and its length where that could have been cut."""
        if value is None or isinstance(value, bool):
            return type(value).__name__, 0
        if isinstance(value, str):
            self.escaped |= _ESCAPED.intersection(value)
            self.lists_texts |= None in path
            # A null that was filled in as nothing, escapes of HTML, and an encoding that was taken
            # for another show as these.
            kind = "no text" if not value else "text" if _MARKUP.isdisjoint(value) else "markup"
            return kind if value.isascii() else f"{kind} beyond ASCII", len(value)
        if isinstance(value, list):
            return ("list" if value else "no list"), len(value)
        if isinstance(value, dict):
            kind = json.dumps(sorted(value))
            self.varies |= self.members.setdefault(path, kind) != kind
            self.doubtful |= any(len(name) > _KEY for name in value)
            return kind, 0
        self.doubtful |= abs(value) > _EXACT
        return ("whole" if isinstance(value, int) else "number"), len(json.dumps(value))

    def has(self, other: Form) -> bool:
        """Tell whether there is nothing in another that is not here as well, nor longer."""
        return all(length <= self.parts.get(at, -1) for at, length in other.parts.items())


@attrs.define(eq=False)
class _Workflow:
    """What has been proven of one workflow."""

    proven: int = 0  # outputs that were as claimed
    form: Form = attrs.field(factory=Form)  # of all of them


class Claims:
    """Judges the outputs that webhooks bring along, for one client.

    One is believed once so many of its workflow were read and found the same, types and all; if it
    has nothing in it that those had not, at the same place and as long; and but for a sample. What
    else could be wrong with it is that texts are filled in without escapes, so that one of them
    passes for members or for more of a list, or that its backslashes are taken for escapes. Until
    texts with both of the characters that need escapes were found as claimed, of any workflow, one
    is believed only if objects of its workflow have always had the same members, so that one more
    is one too many, no list of it has texts, and no text of it a character that an escape brings.

    Args:
        draw: gives a random number from 0 to 1.
    """

    def __init__(self, draw: Callable[[], float] = random.random) -> None:
        self._draw = draw
        self._workflows: OrderedDict[str, _Workflow] = OrderedDict()
        self._ended: set[str] = set()
        self._escaped: set[str] = set()

    def is_over(self, workflow: str) -> bool:
        """Whether no output of a workflow is believed any more, nor compared."""
        return workflow in self._ended or len(self._ended) >= _WORKFLOWS

    def believes(self, workflow: str, output: dict[str, Any] | list[Any]) -> bool:
        """Tell whether an output may settle its run; if not, it is to be compared with the read."""
        known = self._of(workflow)
        if self.is_over(workflow) or known.proven < _PROVEN:
            return False
        form = Form()
        form.add(output)
        if form.doubtful or not known.form.has(form):
            return False
        escapes = self._escaped >= _PROVING
        if not escapes and (known.form.varies or form.lists_texts or form.escaped):
            return False
        return self._draw() >= _SAMPLED

    def compare(self, workflow: str, claim: bytes, output: Any) -> bool:
        """Take what was read where an output had been claimed.

        Args:
            workflow: its workflow.
            claim: the `imprint` of what was claimed.
            output: what was read.

        Returns:
            Whether it is the same; if not, that was the last of this workflow.
        """
        if not claim or imprint(output) != claim:
            self.end(workflow)
            return False
        known = self._of(workflow)
        known.proven += 1
        both = Form(known.form.parts.copy(), known.form.members.copy(), varies=known.form.varies)
        both.add(output)
        if not both.doubtful:
            known.form = both
        self._escaped |= both.escaped
        return True

    def end(self, workflow: str) -> None:
        """Believe no output of a workflow any more."""
        self._ended.add(workflow)
        self._workflows.pop(workflow, None)

    def _of(self, workflow: str) -> _Workflow:
        known = self._workflows.setdefault(workflow, _Workflow())
        self._workflows.move_to_end(workflow)
        if len(self._workflows) > _WORKFLOWS:
            self._workflows.popitem(last=False)
        return known


def imprint(output: Any) -> bytes:
    """Give what two outputs have in common only if they are the same: 1 is not 1.0, nor true.

    Nothing, of one that can't be written down again.
    """
    try:
        text = json.dumps(output, sort_keys=True, separators=(",", ":"))
    except (ValueError, RecursionError):
        return b""
    return hashlib.sha256(text.encode()).digest()
