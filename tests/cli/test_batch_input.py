"""What is wrong with a batch's input is said before anything is sent."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from refold_async.cli._endings import BadUsageError
from refold_async.cli.batch.source import BatchInput
from tests.cli.conftest import FAST, PAYLOADS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from refold_async.emulator import Emulator
    from tests.cli.conftest import Ended

    Refold = Callable[..., Awaitable[Ended]]
    Settings = dict[str, str]

CSV = ("a.csv", "--workflow", "wf_1", "--slug", "crm")
GOOD = '{"workflow_id": "wf_1", "slug": "crm"'


def complaints(path: Path, data: str | bytes, **options: str) -> list[str]:
    """Read an input; give what is said about it."""
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    options.setdefault("kind", "jsonl")
    with pytest.raises(BadUsageError) as raised:
        BatchInput(file=str(path), **options).read()
    return str(raised.value).splitlines()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        pytest.param("{", "is no JSON: Expecting property name", id="json"),
        pytest.param("[]", "must be a JSON object, not an array", id="array"),
        pytest.param('{"n": NaN}', "is no JSON: NaN is no JSON number", id="nan"),
        pytest.param("[" * 100_000, "is nested too deeply", id="nesting"),
        pytest.param("{}", "has no workflow_id and no slug; for lines that are", id="bare"),
        pytest.param('{"slug": "crm"}', "has no workflow_id; ", id="workflow"),
        pytest.param(GOOD + ', "pay": {}}', "has the unknown field 'pay'", id="unknown"),
        pytest.param(GOOD + ', "payload": 3}', "payload: must be an object, not a n", id="payload"),
        pytest.param(GOOD + ', "sync": "yes"}', "sync: must be true or false", id="switch"),
        pytest.param(GOOD + ', "timeout": true}', "timeout: must be a number", id="timeout"),
        pytest.param(GOOD + ', "key": 1.5}', "key: a key is a text or a whole number", id="key"),
        pytest.param(GOOD + ', "instance_tag": "\\n"}', "instance_tag: '\\n' must be", id="tag"),
        pytest.param('{"workflow_id": "a/b", "slug": "x"}', "workflow_id: 'a/b' can't", id="id"),
        pytest.param('{"workflow_id": "..", "slug": "x"}', "workflow_id: '..' can't", id="dots"),
    ],
)
def test_line_is_named_with_what_is_wrong(line: str, said: str, tmp_path: Path) -> None:
    """Counted as an editor counts, empty lines too."""
    head, *wrong = complaints(tmp_path / "in.jsonl", f"{GOOD}}}\n\n{line}\n")

    assert head == "in.jsonl: 1 line is wrong; nothing was sent"
    assert len(wrong) == 1
    assert wrong[0].startswith(f"  line 3: {said}")


def test_keys_must_differ(tmp_path: Path) -> None:
    """A second line with a key is named with the first one's number."""
    text = '{"id": 7}\n{"id": 8}\n{"id": "7"}\n{}\n'
    said = complaints(tmp_path / "in.jsonl", text, workflow_id="wf_1", slug="crm", key_field="id")

    assert said == [
        "in.jsonl: 2 lines are wrong; nothing was sent",
        "  line 3: its key '7' is that of line 1",
        "  line 4: has no 'id', which is to be its key",
    ]


def test_many_bad_lines_are_counted(tmp_path: Path) -> None:
    """Twenty are shown."""
    head, *lines, last = complaints(tmp_path / "in.jsonl", "x\n" * 1234)

    assert head.startswith("in.jsonl: 1,234 lines are wrong")
    assert len(lines) == 20
    assert last == "  and 1,214 more"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("a,b\n1,2\n1\n", "  line 3: has 1 fields, not 2", id="few"),
        pytest.param('a,b\n"1\n2",3\n1,2,3\n', "  line 4: has 3 fields, not 2", id="many"),
        pytest.param("a,a\n1,2\n", "the first line must name the columns", id="twice"),
        pytest.param("a,\n1,2\n", "the first line must name the columns", id="unnamed"),
        pytest.param('a\n1\n"2"3\n', "line 3 is no CSV", id="quotes"),
        pytest.param("a;b,c\n1;2,3\n", "hold ',' and ';'; say which of them", id="separators"),
    ],
)
def test_row_is_named_with_what_is_wrong(text: str, said: str, tmp_path: Path) -> None:
    """By the line it begins at."""
    told = complaints(tmp_path / "in.csv", text, kind="csv", workflow_id="wf_1", slug="crm")

    assert said in told[-1]


@pytest.mark.parametrize(
    ("text", "delimiter"),
    [
        pytest.param("name,n\nA;B,1\n", None, id="comma"),
        pytest.param("name;n\nA;1\n", None, id="semicolon"),
        pytest.param("name\tn\nA,B\t1\n", None, id="tab"),
        pytest.param('name|"a;b|c,d"\nA|1\n', None, id="bar, and quoted others"),
        pytest.param("name:n\nA:1\n", ":", id="as said"),
        pytest.param("name,x;n\nA;1\n", ";", id="as said, of several"),
    ],
)
def test_columns_are_separated_as_the_line_that_names_them_tells(
    text: str, delimiter: str | None, tmp_path: Path
) -> None:
    """Never by what the rows hold."""
    path = tmp_path / "in.csv"
    path.write_text(text)
    source = BatchInput(
        file=str(path), kind="csv", workflow_id="wf_1", slug="crm", delimiter=delimiter
    )
    (request,) = source.read()
    assert [*request.payload.values()][1] == "1"
    assert len(request.payload) == 2


def test_encoding_is_checked(tmp_path: Path) -> None:
    """Latin-1 from a spreadsheet is not taken for text."""
    said = complaints(tmp_path / "in.jsonl", b'{"a": 1}\n{"a": "\xfc"}\n')

    assert said == ["in.jsonl: line 2 is no UTF-8"]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        pytest.param(("nowhere.jsonl",), "can't read nowhere.jsonl: No such file", id="no-file"),
        pytest.param(("-", "--workflow", "w"), "--workflow and --slug go together", id="no-slug"),
        pytest.param(("a.csv",), "give --workflow and --slug", id="csv-alone"),
        pytest.param(("-", "--key-field", "n"), "a request has its 'key'", id="key-field"),
        pytest.param(("-", "--resume"), "--resume needs the --journal", id="resume-alone"),
        pytest.param(
            ("a.csv", "--workflow", "w", "--slug", "s", "--delimiter", ";;"),
            "is one char",
            id="delimiter",
        ),
        pytest.param(("-", "--format", "xml"), "--format is one of jsonl, csv", id="format"),
        pytest.param(("-", "--mode", "fast"), "--mode is one of transient, safe", id="mode"),
        pytest.param(("-", "--out", "/nowhere/x"), "can't write /nowhere/x", id="out"),
        pytest.param(("-", "--out", "a", "--journal", "a"), "--out would overwrite", id="same"),
    ],
)
async def test_wrong_options_are_exit_code_2(
    call: tuple[str, ...], said: str, here: Refold, emulator: Emulator, service: Settings
) -> None:
    """Nothing is sent."""
    ended = await here("batch", *call, **service)

    assert (ended.code, ended.out) == (2, "")
    assert said in ended.err
    assert not emulator.requests


@pytest.mark.skipif(sys.platform == "win32", reason="symbolic links")
@pytest.mark.parametrize("victim", ["in.jsonl", "journal"])
@pytest.mark.parametrize("spelt", ["link", "sub/../{}"])
async def test_out_under_another_name_overwrites_nothing(
    victim: str, spelt: str, here: Refold, emulator: Emulator, service: Settings, tmp_path: Path
) -> None:
    """Neither the input nor the journal, whatever leads there."""
    (tmp_path / "in.jsonl").write_text('{"n": 1}\n', encoding="utf-8")
    (tmp_path / "sub").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / victim)
    journal = ("--journal", str(tmp_path / "journal"))
    out = ("--out", str(tmp_path / spelt.format(victim)))

    ended = await here("batch", str(tmp_path / "in.jsonl"), *PAYLOADS, *journal, *out, **service)

    assert (ended.code, ended.out) == (2, "")
    assert "--out would overwrite" in ended.err
    assert not emulator.requests


@pytest.mark.parametrize("before", ["\n", "\n\r\n", "  \n"])
async def test_blank_lines_before_the_names_of_columns_are_left_out(
    here: Refold, emulator: Emulator, service: Settings, before: str
) -> None:
    """Spreadsheets put them there."""
    call = ("batch", "-", *PAYLOADS, *FAST, "--format", "csv")
    ended = await here(*call, stdin=f"{before}n;name\n1;Jo\n".encode(), **service)

    assert ended.code == 0
    assert [run.payload for run in emulator.runs] == [{"n": "1", "name": "Jo"}]
