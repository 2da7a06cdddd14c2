"""The input of a batch: every line is read and checked before anything is sent."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import attrs

from refold_async import ExecutionRequest
from refold_async.cli._endings import BadUsageError
from refold_async.cli._terminal import read_stdin

if TYPE_CHECKING:
    from collections.abc import Iterator

_SHOWN = 20
"""Bad lines that are reported one by one."""
_MOST_IN_A_FIELD = 16 * 1024 * 1024
_ID = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._~-]{1,128}")
_LONGEST_HEADER = 1024
DELIMITERS = (",", ";", "\t", "|")
_QUOTED = re.compile(r'"[^"]*"')
_REQUIRED = ("workflow_id", "slug")
_TEXTS = ("slug", "linked_account_id", "config_id", "instance_tag")
_SWITCHES = ("sync", "unique_tag", "include_headers")
_FIELDS = frozenset({"workflow_id", "payload", "key", "timeout", *_TEXTS, *_SWITCHES})


class _BadLineError(Exception):
    """What is wrong with one line."""


@attrs.frozen(kw_only=True)
class BatchInput:
    """Where the items of a batch come from, and how a line becomes one.

    Attributes:
        file: a path, or `-` for standard input.
        kind: `jsonl` or `csv`.
        workflow_id: what all lines are payloads for; None: each line is a whole request.
        slug: the application of that workflow.
        key_field: the field of a payload that is the item's key.
        delimiter: what separates the columns of a CSV; None: the line that names them tells.
    """

    file: str
    kind: str
    workflow_id: str | None = None
    slug: str | None = None
    key_field: str | None = None
    delimiter: str | None = None

    @property
    def name(self) -> str:
        """What people call it."""
        return "standard input" if self.file == "-" else Path(self.file).name

    def read(self) -> list[ExecutionRequest]:
        """Read all of it.

        Raises:
            BadUsageError: it can't be read, or names each bad line and what is wrong with it.
        """
        requests: list[ExecutionRequest] = []
        wrong: list[str] = []
        bad = 0
        keys: dict[str, int] = {}
        for number, line in self._lines():
            try:
                request = self._request(line)
                _check_key(request.key, keys, number)
            except _BadLineError as error:
                bad += 1
                if bad <= _SHOWN:
                    wrong.append(f"  line {number}: {error}")
            else:
                requests.append(request)
        if bad > _SHOWN:
            wrong.append(f"  and {bad - _SHOWN:,} more")
        if wrong:
            lines = "1 line is" if bad == 1 else f"{bad:,} lines are"
            raise BadUsageError(
                "\n".join([f"{self.name}: {lines} wrong; nothing was sent", *wrong])
            )
        return requests

    def _lines(self) -> Iterator[tuple[int, Any]]:
        """Give each line with its number: a text that should be JSON, or a row."""
        try:
            data = read_stdin() if self.file == "-" else Path(self.file).read_bytes()
        except OSError as error:
            raise BadUsageError(f"can't read {self.file}: {error.strerror}") from None
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            number = data.count(b"\n", 0, error.start) + 1
            raise BadUsageError(f"{self.name}: line {number} is no UTF-8") from None
        if self.kind == "csv":
            yield from self._rows(text)
        else:
            lines = enumerate(text.split("\n"), 1)
            yield from ((number, line) for number, line in lines if line.strip())

    def _rows(self, text: str) -> Iterator[tuple[int, Any]]:
        csv.field_size_limit(_MOST_IN_A_FIELD)
        delimiter = self.delimiter or self._delimiter(text)
        reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=delimiter)
        begin = 1
        try:
            header = next((row for row in reader if not _is_blank(row)), [])
            if not all(header) or len(set(header)) < len(header):
                raise BadUsageError(
                    f"{self.name}: the first line must name the columns, each differently"
                )
            begin = reader.line_num + 1
            for row in reader:
                if row:
                    yield begin, _Row(header, row)
                begin = reader.line_num + 1
        except csv.Error as error:
            raise BadUsageError(f"{self.name}: line {begin} is no CSV: {error}") from None

    def _delimiter(self, text: str) -> str:
        """Tell by the names of the columns what separates them; rows may hold anything."""
        names = _QUOTED.sub("", text.lstrip().partition("\n")[0])
        found = [each for each in DELIMITERS if each in names]
        if len(found) > 1:
            several = " and ".join(repr(each) for each in found)
            raise BadUsageError(
                f"{self.name}: the names of the columns hold {several}; say which of them separates"
                " columns, with --delimiter. Nothing was sent"
            )
        return found[0] if found else ","

    def _request(self, line: Any) -> ExecutionRequest:
        document = line.payload() if isinstance(line, _Row) else _object(line)
        if self.workflow_id is None or self.slug is None:
            return _whole_request(document)
        key = None
        if self.key_field is not None:
            if self.key_field not in document:
                raise _BadLineError(f"has no {self.key_field!r}, which is to be its key")
            key = _key(document[self.key_field], self.key_field)
        return ExecutionRequest(self.workflow_id, slug=self.slug, payload=document, key=key)


def _is_blank(row: list[str]) -> bool:
    return len(row) <= 1 and not "".join(row).strip()


@attrs.frozen
class _Row:
    header: list[str]
    cells: list[str]

    def payload(self) -> dict[str, Any]:
        """Give the row by the names of its columns."""
        if len(self.cells) != len(self.header):
            raise _BadLineError(f"has {len(self.cells)} fields, not {len(self.header)}")
        return dict(zip(self.header, self.cells, strict=True))


def _object(text: str) -> dict[str, Any]:
    try:
        document = json.loads(text, parse_constant=_refuse)
    except RecursionError:
        raise _BadLineError("is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise _BadLineError(f"is no JSON: {error.msg}, at column {error.colno}") from None
    except ValueError as error:
        raise _BadLineError(f"is no JSON: {error}") from None
    if not isinstance(document, dict):
        raise _BadLineError(f"must be a JSON object, not {_called(document)}")
    return document


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON number")


def _called(value: Any) -> str:
    kinds = {list: "an array", str: "a text", bool: "a boolean", type(None): "null"}
    return kinds.get(type(value), "a number")


def _whole_request(document: dict[str, Any]) -> ExecutionRequest:
    missing = [field for field in _REQUIRED if field not in document]
    if missing:
        raise _BadLineError(
            f"has no {' and no '.join(missing)}; for lines that are payloads, give --workflow and"
            " --slug"
        )
    if unknown := sorted(document.keys() - _FIELDS):
        raise _BadLineError(f"has the unknown field {unknown[0]!r}")
    _check_fields(document)
    if "key" in document:
        document["key"] = _key(document["key"], "key")
    return ExecutionRequest(**document)


def _check_fields(document: dict[str, Any]) -> None:
    workflow_id = document["workflow_id"]
    if not (isinstance(workflow_id, str) and _ID.fullmatch(workflow_id)):
        raise _BadLineError(f"workflow_id: {workflow_id!r:.80} can't be one")
    for field in _TEXTS:
        if field in document and not is_header(document[field]):
            raise _BadLineError(f"{field}: {document[field]!r:.80} must be a text in plain ASCII")
    for field in _SWITCHES:
        if not isinstance(document.get(field, False), bool):
            raise _BadLineError(f"{field}: must be true or false")
    if not isinstance(document.get("payload", {}), dict):
        raise _BadLineError(f"payload: must be an object, not {_called(document['payload'])}")
    timeout = document.get("timeout", 1)
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or timeout <= 0:
        raise _BadLineError("timeout: must be a number of seconds above 0")


def is_header(value: Any) -> bool:
    """Tell whether a text can be sent as the value of a header."""
    fits = isinstance(value, str) and 0 < len(value) <= _LONGEST_HEADER
    return fits and value.isascii() and value.isprintable() and value == value.strip()


def _key(value: Any, field: str) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise _BadLineError(f"{field}: a key is a text or a whole number, not {value!r:.80}")
    return str(value)


def _check_key(key: str | None, keys: dict[str, int], number: int) -> None:
    if key is None:
        return
    if key in keys:
        raise _BadLineError(f"its key {key!r:.80} is that of line {keys[key]}")
    keys[key] = number
