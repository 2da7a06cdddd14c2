"""The emulator against the description of its endpoints, by requests that are made from it."""

from __future__ import annotations

import asyncio
import os
import re
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from refold_async.emulator import Emulator, Event, NodeFailed
from refold_async.emulator._app import _ROUTES
from tests.docs.conftest import DOCS
from tests.support.contract import EXAMPLES, Each, Example

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = DOCS / "emulator-openapi.yaml"
CASES = int(os.environ.get("REFOLD_TEST_CASES", "110"))
"""How many requests are made in all; `make openapi` makes 2,000."""
CREDENTIALS = {"x-api-key", "authorization"}
GATE = settings(
    deadline=None,
    derandomize=CASES < 1000,  # the gate is the same each time, the long run is another one
    database=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    """The description as a document."""
    found: dict[str, Any] = yaml.safe_load(PAGE.read_text(encoding="utf-8"))
    return found


def test_every_endpoint_is_described(described: dict[str, Any]) -> None:
    """No endpoint is left out of the description, and none is invented."""
    operations = {
        (method.upper(), path)
        for path, item in described["paths"].items()
        for method in item
        if method != "parameters"
    }
    assert operations == {(method, path) for method, path, _ in _ROUTES}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda each: f"{each.asked} {each.case}")
def test_examples_are_as_described(described: dict[str, Any], example: Example) -> None:
    """The table of examples and the description were written apart, and say the same."""
    method, path = example.asked.partition("?")[0].split(" ")
    template = next(
        each for each in described["paths"] if re.fullmatch(re.sub(r"{\w+}", "[^/]+", each), path)
    )
    responses = described["paths"][template][method.lower()]["responses"]
    response = responses.get(str(example.status), responses.get("default"))
    name = response.get("$ref", "").rpartition("/")[2]
    response = described["components"]["responses"][name] if name else response
    schema = response["content"]["application/json"]["schema"]

    assert {*_required(described, schema)} <= {*_shown(example.body)}


def _required(described: dict[str, Any], schema: dict[str, Any]) -> Iterator[str]:
    """Give the fields that a schema wants; of several forms those of all."""
    if "$ref" in schema:
        schema = described["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    yield from schema.get("required", ())
    for part in schema.get("allOf", ()):
        yield from _required(described, part)
    forms = [{*_required(described, each)} for each in schema.get("anyOf", ())]
    yield from set.intersection(*forms) if forms else ()
    if schema.get("type") == "array":
        yield from _required(described, schema["items"])


def _shown(body: Any) -> Iterator[str]:
    yield from body.entry if isinstance(body, Each) else body


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """An emulator in a thread of its own, with one of everything."""
    loop = asyncio.new_event_loop()
    loop.set_debug(False)  # the origins of all futures take most of the time
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    made = Emulator()
    made.pushes.lost = 1.0  # the webhooks' addresses are anybody's
    schema = {"type": "object", "properties": {"email": {"type": "string"}}}
    made.workflow("wf", slug="hubspot", schema=schema, batches={"Work": [{"n": 1}]})(dict)
    made.workflow("endless", slug="hubspot", duration=None)(dict)
    made.event(Event(name="Created", starts=["wf"]))

    @made.workflow("failing", slug="hubspot")
    def fail(_: Any) -> Any:
        raise NodeFailed(node="Work", message="no")

    asyncio.run_coroutine_threadsafe(made.start(), loop).result()
    yield made
    asyncio.run_coroutine_threadsafe(made.aclose(), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.mark.long
def test_answers_are_as_described(emulator: Emulator) -> None:
    """Whatever is asked, no answer is a 5xx but a documented one, and each has a described shape.

    The requests are those the description allows, and some that it does not; half of them ask for
    what is there.
    """
    import requests
    import schemathesis
    from schemathesis import GenerationMode
    from schemathesis.specs.openapi.checks import (
        content_type_conformance,
        response_schema_conformance,
        status_code_conformance,
    )

    checks = [status_code_conformance, content_type_conformance, response_schema_conformance]
    operations: list[Any] = [*schemathesis.openapi.from_path(PAGE).get_all_operations()]
    cases = st.one_of(
        [
            each.ok().as_strategy(generation_mode=mode)
            for each in operations
            for mode in GenerationMode
        ]
    )
    asked: Counter[tuple[str, int]] = Counter()

    @settings(GATE, max_examples=CASES)
    @given(case=cases, known=st.booleans())
    def check(case: Any, known: bool) -> None:
        if known:
            ask_for_what_is_there(case, emulator)
        credentials = {"x-api-key": emulator.api_key}
        if case.operation.label.endswith("/revoke"):
            credentials = {"Authorization": f"Bearer {emulator.issue_token('acct_1')}"}
        answer = case.call(emulator.base_url, session=session, headers=credentials)
        asked[case.operation.label, answer.status_code] += 1
        assert answer.status_code < 500 or answer.status_code == 501, answer.text
        case.validate_response(answer, checks=checks)

    with requests.Session() as session:
        check()
    print(f"{asked.total()} requests: {asked}")  # noqa: T201 - shown with `-s`


def ask_for_what_is_there(case: Any, emulator: Emulator) -> None:
    """Put known names into a request, and leave its credentials to the caller."""
    for name in [name for name in case.headers or {} if name.lower() in CREDENTIALS]:
        del case.headers[name]
    if case.headers is not None:
        case.headers.update(linked_account_id="acct_1", slug="hubspot")
    run = emulator.runs[-1].execution_id if emulator.runs else "1"
    ids = {"workflow_id": "wf", "execution_id": run, "node_id": "2", "slug": "hubspot"}
    for name in ids.keys() & (case.path_parameters or {}).keys():
        case.path_parameters[name] = ids[name]
