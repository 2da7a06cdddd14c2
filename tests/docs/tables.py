"""The tables on the pages that are made of tests' tables.

`python -m tests.docs.tables` writes them anew.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from tests.docs.conftest import DOCS
from tests.support.contract import DELIVERIES, EXAMPLES, Each, Example

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

FIDELITY = DOCS / "explanation/fidelity.md"


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


TABLES: dict[tuple[Path, str], Callable[[], str]] = {
    (FIDELITY, "examples"): examples,
    (FIDELITY, "deliveries"): deliveries,
}


def shown(page: Path, name: str) -> re.Match[str]:
    """Find a table on its page, between two comments."""
    mark = re.compile(rf"(?<=<!-- {name} -->\n)(.*?)(?=\n\n<!-- end -->)", re.DOTALL)
    found = mark.search(page.read_text(encoding="utf-8"))
    assert found is not None, f"{page} has no place for the table {name!r}"
    return found


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
