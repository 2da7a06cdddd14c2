"""What the pages say about the code is so."""

from __future__ import annotations

import configparser
import re
import subprocess
import sys
import tomllib
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from refold_async import (
    PollPolicy,
    RateLimit,
    RefoldClient,
    RetryPolicy,
    Timeouts,
)
from tests.docs.conftest import DOCS, EXAMPLES, ROOT

if TYPE_CHECKING:
    from pathlib import Path

PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]


def read(path: Path) -> str:
    """The text of a file."""
    return path.read_text(encoding="utf-8")


def test_readme_shows_the_quickstart() -> None:
    """The README's program is the example, letter for letter."""
    shown = re.search(r"```python\n(.*?)```", read(ROOT / "README.md"), re.DOTALL)

    assert shown is not None
    assert shown[1] == read(EXAMPLES / "quickstart.py")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_local_links_lead_somewhere(page: Path) -> None:
    """Links, included files and entries of the contents exist."""
    text = read(page)
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    targets = re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", prose)
    targets += re.findall(r"{(?:literalinclude|image)} (\S+)", text)
    for contents in re.findall(r"```{toctree}\n(.*?)```", text, re.DOTALL):
        lines = filter(None, contents.splitlines())
        targets += [f"{line}.md" for line in lines if not line.startswith(":")]
    local = [target for target in targets if "://" not in target]

    missing = [target for target in local if not (page.parent / target).exists()]
    assert not missing


def test_every_example_is_on_a_page() -> None:
    """An example nobody is shown is none."""
    text = "".join(map(read, PAGES))

    names = [str(path.relative_to(EXAMPLES)) for path in EXAMPLES.rglob("*.py")]
    assert not [name for name in names if f"examples/{name}" not in text]


def test_extras_that_are_named_exist() -> None:
    """What a page or an error says to install is there, and the README knows every extra."""
    project = tomllib.loads(read(ROOT / "pyproject.toml"))["project"]
    extras = project["optional-dependencies"]
    texts = [*map(read, PAGES), *map(read, (ROOT / "refold_async").rglob("*.py"))]
    lines = re.findall(r"install '?\"?(?:refold-async|\.)\[([\w,]+)\]", "".join(texts))
    install = read(ROOT / "README.md").partition("## Install")[2].partition("\n## ")[0]

    assert len(lines) > 10
    assert {name for line in lines for name in line.split(",")} <= {*extras}
    assert [
        name for name in extras if f"`{name}`" not in install and f"[{name}]" not in install
    ] == []


def test_what_a_user_needs_for_tests_is_what_the_examples_are_tested_with() -> None:
    """The pages name packages and settings; those are ours, so they suffice."""
    page = read(DOCS / "how-to" / "testing.md")
    both = page + read(DOCS / "how-to" / "fastapi.md")
    needed = " ".join(re.findall(r"^\$ python -m pip install (.+)", both, re.MULTILINE)).split()
    shown = re.search(r"```toml\n(.*?)```", page, re.DOTALL)
    assert shown is not None
    settings = tomllib.loads(shown[1])["tool"]["pytest"]["ini_options"]
    project = tomllib.loads(read(ROOT / "pyproject.toml"))
    groups = str(project["dependency-groups"]["tests"])
    examples = configparser.ConfigParser()
    examples.read(EXAMPLES / "testing" / "pytest.ini", encoding="utf-8")

    assert len(needed) == 5
    assert [name for name in needed if name not in groups and f"'{name}>=" not in groups] == []
    assert settings.items() <= dict(examples["pytest"]).items()


def defaults() -> list[tuple[str, str]]:
    """Every setting with its default, as the tutorial writes them."""
    policies = (Timeouts, RetryPolicy, PollPolicy, RateLimit)
    fields = [(kind.__name__, field) for kind in policies for field in attrs.fields(kind)]
    listed = [(f"{kind}.{field.name}", written(field.default)) for kind, field in fields]
    arguments = RefoldClient.__init__.__kwdefaults__ or {}
    others = ("max_connections", "max_payload_bytes", "max_reply_bytes", "allow_insecure_http")
    return listed + [(name, written(arguments[name])) for name in others]


def written(value: Any) -> str:
    """A default as the tutorial writes it."""
    return f"{value:g}" if isinstance(value, float) else str(value)


@pytest.mark.parametrize(("setting", "default"), defaults())
def test_tutorial_knows_every_default(setting: str, default: str) -> None:
    """The table of settings has the code's own defaults."""
    row = re.search(
        rf"^\| `{re.escape(setting)}` \| (\S*) \|", read(DOCS / "tutorial.md"), re.MULTILINE
    )

    assert row is not None
    assert row[1] == default


def test_reliability_names_tests_that_exist_with_as_many_cases() -> None:
    """A promise whose test was renamed or thinned out is found here."""
    page = read(DOCS / "explanation" / "reliability.md")
    said = {name: int(cases) for name, cases in re.findall(r"\| `(\S+::\w+)` \| (\d+) \|", page)}
    files = sorted({f"tests/{name.partition('::')[0]}" for name in said})
    collected = subprocess.run(  # noqa: S603 - our own tests
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *files],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    names = re.findall(r"^tests/(\S+?::\w+)", collected.stdout, re.MULTILINE)
    assert len(said) > 25
    assert said == {name: names.count(name) for name in said}


def test_every_attack_names_tests_that_exist() -> None:
    """What once broke stays held: each line of the table has its tests."""
    page = read(DOCS / "explanation" / "reliability.md")
    rows = re.findall(r"^\| [SWBEP]\d+ \|.*$", page, re.MULTILINE)
    assert len(rows) > 40
    for row in rows:
        named = re.findall(r"`(\S+?\.py)(?:::(\w+))?`", row)
        assert named, row
        for file, test in named:
            assert f"def {test}(" in read(ROOT / "tests" / file) or not test, (file, test)
