"""Types as they are named: what can be told as JSON, and what is refused before any run."""

from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Annotated, Any, Generic, Literal, NotRequired, TypedDict, TypeVar
from uuid import UUID

import attrs
import msgspec
import pydantic
import pytest

from refold_async import ConfigError, ExecutionResult, ExecutionStatus, OutputError, workflow
from refold_async._errors import PayloadError

T = TypeVar("T")


class Stage(Enum):
    """A choice."""

    LEAD = "lead"


class Priority(IntEnum):
    """A choice by number."""

    HIGH = 2


class Address(pydantic.BaseModel):
    """A model whose keys are not Python's."""

    model_config = pydantic.ConfigDict(populate_by_name=True)

    zip_code: str = pydantic.Field(alias="zip-code")
    since: date | None = None


@attrs.frozen
class Item:
    """Something with a price."""

    name: str
    price: Decimal = Decimal(0)


@attrs.frozen
class Order:
    """What a workflow takes or gives, of all kinds."""

    items: list[Item]
    stage: Stage = Stage.LEAD
    priority: Priority = Priority.HIGH
    at: datetime | None = None
    lasts: timedelta | None = None
    token: UUID | None = None
    data: bytes = b""
    to: Address | None = None
    counts: dict[int, int] = attrs.field(factory=dict)


@dataclass
class Person:
    """A dataclass."""

    name: str
    tags: set[str] = field(default_factory=set)


Row = TypedDict("Row", {"first-name": str, "_id": NotRequired[int]})


class Renamed(msgspec.Struct, rename="camel"):
    """A struct whose keys are renamed."""

    first_name: str


@attrs.frozen
class Box(Generic[T]):
    """A generic class."""

    value: T


class Plain:
    """A class that says nothing of itself."""


@attrs.frozen
class WithPlain:
    """One of them deep inside."""

    parts: dict[str, list[Plain]]


@attrs.define
class Private:
    """A field that would be dropped."""

    name: str
    _secret: int = 0


@attrs.define
class Aliased:
    """A name that would be ignored."""

    name: str = attrs.field(alias="Name")


@attrs.define
class Converting:
    """A converter, which does not run on what is read."""

    n: int = attrs.field(converter=int)


def typed(kind: Any) -> Any:
    """A workflow that takes and gives one type."""
    return workflow("wf_1", slug="s", input=kind, output=kind)


def result(output: Any, **fields: Any) -> ExecutionResult[Any]:
    """A run that returned something."""
    return ExecutionResult(
        execution_id="e1", **({"status": ExecutionStatus.COMPLETED, "output": output} | fields)
    )


WRONG = Order(items=[Item(3)])  # type: ignore[arg-type]
WHOLE = Order(
    items=[Item("pen", Decimal("1.50"))],
    at=datetime(2026, 6, 16, 13, 15, tzinfo=UTC),
    lasts=timedelta(seconds=90),
    token=UUID(int=1),
    data=b"abc",
    to=Address.model_validate({"zip-code": "10115", "since": "2026-01-01"}),
    counts={7: 1},
)
AS_JSON = {
    "items": [{"name": "pen", "price": "1.50"}],
    "stage": "lead",
    "priority": 2,
    "at": "2026-06-16T13:15:00Z",
    "lasts": "PT90S",
    "token": "00000000-0000-0000-0000-000000000001",
    "data": "YWJj",
    "to": {"zip-code": "10115", "since": "2026-01-01"},
    "counts": {"7": 1},
}


@pytest.mark.parametrize(
    ("kind", "value", "written"),
    [
        pytest.param(Order, WHOLE, AS_JSON, id="attrs"),
        pytest.param(Person, Person("a", {"x"}), {"name": "a", "tags": ["x"]}, id="dataclass"),
        pytest.param(Row, {"first-name": "a", "_id": 1}, {"first-name": "a", "_id": 1}, id="dict"),
        pytest.param(Renamed, Renamed("a"), {"firstName": "a"}, id="struct"),
        pytest.param(
            Address,
            Address.model_validate({"zip-code": "1", "since": "2026-01-01"}),
            {"zip-code": "1", "since": "2026-01-01"},
            id="pydantic",
        ),
        pytest.param(Box[Item], Box(Item("a")), {"value": {"name": "a", "price": "0"}}, id="box"),
        pytest.param(Order | None, None, None, id="union"),
        pytest.param(None, None, None, id="nothing"),
        pytest.param(dict[str, Decimal], {"a": Decimal("0.10")}, {"a": "0.10"}, id="mapping"),
        pytest.param(Box[int], Box(2**70), {"value": 2**70}, id="large"),
    ],
)
def test_each_kind_goes_out_and_comes_back(kind: Any, value: Any, written: Any) -> None:
    """Keys and values are those of the page, and what is read equals what was written."""
    spec = typed(kind)

    assert spec.payload(value) == written
    assert spec.read(result(written)).output == value


@pytest.mark.parametrize(
    ("kind", "output", "says", "path"),
    [
        (list[Item], [{"name": "a"}, {"name": 3}], "Expected `str`, got `int`", "$[1].name"),
        (int, "3", "Expected `int`, got `str`", "$"),
        (Order, {"items": [], "stage": "x"}, "Invalid enum value (a `str`)", "$.stage"),
        (Order, {}, "Object missing required field `items`", "$"),
        (Address, {"since": "x"}, "Field required", "$.zip-code"),
        (list[Address], [{"zip-code": 3}], "Input should be a valid string", "$[0].zip-code"),
        (Annotated[int, msgspec.Meta(gt=3)], 3, "Expected `int` >= 4", "$"),
        (Literal["a"], "b", "Invalid enum value (a `str`)", "$"),
        (Converting, {"n": "3"}, "Expected `int`, got `str`", "$.n"),
    ],
)
def test_output_that_does_not_fit_says_where(kind: Any, output: Any, says: str, path: str) -> None:
    """The error names run, type, place and remedy, and has the result as it came."""
    spec = workflow("wf_1", slug="s", output=kind)

    with pytest.raises(OutputError) as raised:
        spec.read(result(output))

    error = raised.value
    assert str(error).startswith("the output of execution e1 does not fit ")
    assert f"{says} (at {path})" in str(error)
    assert "don't start it again" in str(error)
    assert (error.path, error.execution_id, error.result.output) == (path, "e1", output)
    assert (error.workflow_id, error.slug) == ("wf_1", "s")


@pytest.mark.parametrize(
    ("kind", "value", "says"),
    [
        (
            Order,
            WRONG,
            "does not fit Order: Expected `str`, got `int`; give what its annotation says",
        ),
        (Row, {"first_name": "a"}, "does not fit Row: Object missing required field `first-name`"),
        (dict[str, Any], {"a": [1, Plain()]}, "is a Plain, which JSON can't say; send plain"),
        (dict[str, Any], {"a": [1, Plain()]}, "(at $.a[1])"),
        (Order, WRONG, "mend the annotation (at $.items[0].name)"),
        (Address, {"zip-code": 1}, "Input should be a valid string (at $.zip-code)"),
        (Address, Order([]), "Input should be a valid dictionary or instance of Address"),
    ],
)
def test_payload_that_does_not_fit_says_where(kind: Any, value: Any, says: str) -> None:
    """Nothing that the type refuses is sent, whatever the type checker was told."""
    with pytest.raises(PayloadError) as raised:
        typed(kind).payload(value)

    assert says in str(raised.value)


def test_model_that_is_written_otherwise_than_read_is_sent() -> None:
    """What goes out of a model is its own business, inside another type too."""

    class Sent(pydantic.BaseModel):
        first_name: str = pydantic.Field(serialization_alias="first-name")

    outer: Any = attrs.make_class("Outer", {"inner": attrs.field(type=Sent)})

    value = outer(Sent(first_name="a"))
    assert typed(outer).payload(value) == {"inner": {"first-name": "a"}}


def test_payload_that_contains_itself_is_refused() -> None:
    """An endless value is an error, and not the interpreter's."""
    loop: dict[str, Any] = {}
    loop["again"] = loop

    with pytest.raises(PayloadError, match="nested too deep, or contains itself"):
        typed(dict[str, Any]).payload(loop)


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        (Plain, "Plain is no type that can be told as JSON; use an attrs class"),
        (WithPlain, "Plain is no type that can be told as JSON"),
        (object, "object is no type that can be told as JSON"),
        (Private, r"Private\._secret would not be sent.*msgspec\.Struct or pydantic"),
        (list[Aliased], r"Aliased\.name has the alias 'Name', which is not sent"),
        (list["Nowhere"], "can't be read from JSON: .*importable where it is defined"),  # type: ignore[name-defined]  # noqa: F821
        (Item | Person, "can't be read from JSON: Type unions may not contain more than one"),
        ("Item", "can't be read from JSON"),
    ],
)
def test_type_that_would_go_wrong_is_refused_when_it_is_named(kind: Any, says: str) -> None:
    """What could not be read, or would be sent otherwise than it looks, is known before a run."""
    with pytest.raises(ConfigError, match=f"^output: .*{says}"):
        workflow("wf_1", slug="s", output=kind)


@pytest.mark.parametrize("kind", [int, list[Item], Item | int, Annotated[str, "x"]])
def test_input_that_is_no_object_is_refused_when_it_is_named(kind: Any) -> None:
    """A workflow takes a JSON object, and the error says how to make one."""
    with pytest.raises(ConfigError, match=r'^input: .* is no JSON object.*\{"items": \[...\]\}'):
        workflow("wf_1", slug="s", input=kind)


@pytest.mark.parametrize(
    ("arguments", "field"),
    [(("../x", "s"), "workflow_id"), (("wf_1", " s"), "slug")],
)
def test_ids_are_checked_when_the_workflow_is_made(arguments: tuple[str, str], field: str) -> None:
    """A module that is imported says what is wrong in it."""
    with pytest.raises(ConfigError, match=f"^{field}: "):
        workflow(arguments[0], slug=arguments[1])


@pytest.mark.parametrize(
    "fields",
    [
        {"status": ExecutionStatus.ERRORED},
        {"status_code": 422},
        {"status": ExecutionStatus("HOVERING")},
    ],
)
def test_only_the_output_of_a_run_that_went_well_is_read(fields: dict[str, Any]) -> None:
    """What a failed run left is no `Item`, and hides no failure behind another error."""
    ended = result({"reason": "taken"}, **fields)

    assert typed(Item).read(ended) is ended


def test_what_was_read_keeps_what_came() -> None:
    """Fields the type does not know are not lost."""
    read = typed(Item).read(result({"name": "a", "extra": 1}))

    assert read.output == Item("a")
    assert read.json_output == {"name": "a", "extra": 1}
    assert typed(Item).read(read).output == Item("a")


def test_errors_are_for_a_line_of_a_log() -> None:
    """What came from elsewhere neither fills the screen nor acts on it."""
    with pytest.raises(OutputError) as raised:
        workflow("wf_1", slug="s", output=Stage).read(result("\x1b[2J" + "x" * 10_000))

    assert len(str(raised.value)) < 700
    assert str(raised.value).isprintable()


def test_failing_validator_is_an_error_of_ours() -> None:
    """Whatever a user's own code raises while an output is read, the run is not lost with it."""

    def explode(*_: Any) -> None:
        raise ZeroDivisionError("by design")

    fragile: Any = attrs.make_class(
        "Fragile", {"n": attrs.field(type=int, validator=explode)}, frozen=True
    )
    with pytest.raises(OutputError, match=r"explode raised ZeroDivisionError"):
        workflow("wf_1", slug="s", output=fragile).read(result({"n": 1}))


def test_workflow_is_a_value() -> None:
    """It can be compared, pickled for another process, and shows no types nobody can read."""
    spec = typed(Order)

    assert pickle.loads(pickle.dumps(spec)) == spec == typed(Order)  # noqa: S301 - our own
    assert repr(spec) == "TypedWorkflow(workflow_id='wf_1', slug='s')"


def test_untyped_workflow_takes_and_gives_json() -> None:
    """Without types nothing is checked but that it is JSON."""
    spec = workflow("wf_1", slug="s")
    ended = result([1, "x"])

    assert spec.payload({"a": (1,)}) == {"a": (1,)}
    assert spec.read(ended) is ended


_WITHOUT_MSGSPEC = """
import sys
sys.modules["msgspec"] = None
import pydantic
from refold_async import ConfigError, workflow

class Model(pydantic.BaseModel):
    n: int

print(workflow("wf_1", slug="s", input=Model).payload(Model(n=1)))
try:
    workflow("wf_1", slug="s", input=dict)
except ConfigError as error:
    print(error)
"""


def test_missing_extra_is_named() -> None:
    """Without msgspec the error is a line to copy; pydantic models go without."""
    ended = subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-c", _WITHOUT_MSGSPEC], capture_output=True, text=True, check=True
    )
    written, missing = ended.stdout.splitlines()
    assert written == "{'n': 1}"
    assert missing == "input: types need msgspec: pip install 'refold-async[typed]'"
