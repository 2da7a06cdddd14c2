"""The tables on the pages that are made of tests' tables.

`python -m tests.docs.tables` writes them anew.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from refold_async.probe._findings import NOT_ASKED, QUESTIONS
from tests.docs.conftest import DOCS
from tests.support.contract import DELIVERIES, EXAMPLES, Each, Example
from tests.support.probed import told_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from refold_async.probe import Question

FIDELITY = DOCS / "explanation/fidelity.md"
PROBE = DOCS / "how-to/probe.md"


def table(*rows: Iterable[str]) -> str:
    """Write a table in Markdown; the first row is its head."""
    head, *others = [[cell.replace("|", r"\|") for cell in row] for row in rows]
    lines = [head, ["---"] * len(head), *others]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def examples() -> str:
    """Give the documented requests, and the fields of their answers."""
    rows = [(each.page, _asked(each), str(each.status), _fields(each.body)) for each in EXAMPLES]
    return table(("documented on", "request", "status", "fields of the answer"), *rows)


def deliveries() -> str:
    """Give what is pushed, by event."""
    return table(
        ("event", "fields of its body"),
        *((event, _fields(body)) for event, body in DELIVERIES.items()),
    )


def questions() -> str:
    """Give what a probe finds out, and the answers that it was seen to tell."""
    return table(
        ("asked", "switch of `Behaviour`", "told by", "told in tests"),
        *((each.text, f"`{each.name}`", each.how, _told(each)) for each in QUESTIONS.values()),
    )


def not_asked() -> str:
    """Give what a probe does not find out."""
    return table(
        ("switch of `Behaviour`", "why not"),
        *((f"`{name}`", why) for name, why in NOT_ASKED.items()),
    )


TABLES: dict[tuple[Path, str], Callable[[], str]] = {
    (FIDELITY, "examples"): examples,
    (FIDELITY, "deliveries"): deliveries,
    (PROBE, "questions"): questions,
    (PROBE, "not asked"): not_asked,
}


def shown(page: Path, name: str) -> re.Match[str]:
    """Find a table on its page, between two comments."""
    mark = re.compile(rf"(?<=<!-- {name} -->\n)(.*?)(?=\n\n<!-- end -->)", re.DOTALL)
    found = mark.search(page.read_text(encoding="utf-8"))
    assert found is not None, f"{page} has no place for the table {name!r}"
    return found


def _told(question: Question) -> str:
    answers = [question.usual, *told_of(question.name)]
    return ", ".join(f"`{_plain(each)}`" for each in dict.fromkeys(answers))


def _plain(answer: Any) -> str:
    return ", ".join(sorted(answer)) or "none" if isinstance(answer, frozenset) else str(answer)


def _asked(example: Example) -> str:
    method, path = example.asked.split(" ")
    path = path.replace("/api/v2/public/", "").replace("0" * 24, "000…")
    return f"`{method} {path}`" + (f" ({example.case})" if example.case else "")


def _fields(body: Any) -> str:
    if isinstance(body, Each):
        return f"a list of {_fields(body.entry)}"
    if not isinstance(body, dict):
        return "objects"
    names = [f"`{name}`" for name in body]
    if isinstance(docs := body.get("docs"), Each):
        return f"{', '.join(names)}; each of `docs`: {_fields(docs.entry)}"
    return ", ".join(names)


def main() -> None:
    """Write all tables anew."""
    for (page, name), make in TABLES.items():
        place, text = shown(page, name), page.read_text(encoding="utf-8")
        page.write_text(text[: place.start()] + make() + text[place.end() :], encoding="utf-8")


if __name__ == "__main__":
    main()
