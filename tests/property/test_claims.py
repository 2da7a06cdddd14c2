"""Outputs of any content, filled in in every way: what is believed is what a read would show.

No sample is drawn here: this holds for all that are believed, not for 99 in 100.
"""

from __future__ import annotations

import json
from typing import Any, get_args, get_type_hints

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from refold_async._protocol import OUTPUTS_BODY, told_output
from refold_async._waiting.claims import Claims, Form, imprint
from refold_async.emulator import Behaviour
from refold_async.emulator._templates import filled
from tests.support.deliveries import workflow_event

pytestmark = pytest.mark.long

FORMS = get_args(get_type_hints(Behaviour)["webhook_response"])
LONG = "z" * 120
"""A text of honest outputs, so that what is told apart is not told by its length alone."""
ENDS = ['x", ', '"a": "y', '"b": true, ', '"b": 1, ', '", "a": "y', '", "b": "y', '"c": {"a": "y']
PIECES = [*ENDS, '"', "x", "y", ": ", ", ", "{", "}", "[", "]", "true", "1", "null", "&amp;", "<"]
TEXT = st.lists(st.sampled_from(PIECES), max_size=8).map("".join) | st.sampled_from(
    ["", "7", "null", LONG, LONG * 2, 'x", "b": true, "a": "y', "a\nb"]
)
"""Texts that a template may break on: they close it, pass for members, or for more of a list."""
SLASHED = TEXT | st.lists(st.sampled_from([*PIECES, "\\"]), max_size=6).map("".join)
BENIGN = st.sampled_from(["x", "xx", "xxx"])
LEAF = st.sampled_from([0, 1, -1, 2**53 - 1, 2**53 + 1, 10**30, 0.5, 1.0, True, False, None])

Kind = tuple[list[Any], Any]
"""Outputs that a workflow gave at first, and a function from texts to those that come later."""


def shaped(text: st.SearchStrategy[str]) -> list[Kind]:
    """Give kinds of workflows."""
    leaf = text | LEAF
    both = st.fixed_dictionaries({"a": leaf}, optional={"b": leaf})
    lists = st.fixed_dictionaries({"a": st.lists(text, max_size=4) | st.lists(leaf, max_size=4)})
    deep = st.fixed_dictionaries(
        {"a": leaf, "c": st.fixed_dictionaries({"a": leaf, "b": leaf}), "b": leaf}
    )
    nested = st.lists(st.fixed_dictionaries({"a": leaf}, optional={"b": leaf}), max_size=3)
    return [
        ([{"a": LONG, "b": LONG}, {"a": LONG}], both),
        ([{"a": LONG, "b": 1}], both),
        ([{"a": [LONG] * 5}, {"a": [1, None]}], lists),
        ([{"a": LONG, "c": {"a": LONG, "b": LONG}, "b": 7}], deep),
        ([{"a": LONG, "c": {"a": 1, "b": LONG}, "b": LONG}], deep),
        ([[{"a": LONG, "b": 1}] * 4, [{"a": LONG}] * 4], nested),
        ([[{"a": 1}] * 4], nested),
    ]


def told(output: Any, form: str) -> Any:
    """Give the output that a delivery brings."""
    return told_output(filled(OUTPUTS_BODY, workflow_event(), output, form).encode())


def believed(form: str, honest: list[Any], later: list[Any], *, escapes: bool) -> list[Any]:
    """Give those of the later outputs that are believed, each as claimed and as it is."""
    found = []
    for output in later:
        claims = Claims(lambda: 1.0)
        first = [*honest, {"a": '"\\'}] if escapes else honest
        for each in first * 20:
            claim = told(each, form)
            if claim is None or not claims.compare("wf", imprint(claim), each):
                break
        claim = told(output, form)
        if claim is not None and claims.believes("wf", claim):
            found.append((claim, output))
    return found


def hold(
    form: str, kind: int, data: st.DataObject, text: st.SearchStrategy[str], *, escapes: bool
) -> None:
    """Whatever is believed is the same as it would be read."""
    honest, strategy = shaped(text)[kind]
    later = data.draw(st.lists(strategy, min_size=1, max_size=4))
    for claim, output in believed(form, honest, later, escapes=escapes):
        assert imprint(claim) == imprint(output)


KINDS = range(7)


def slipped_in(data: st.DataObject, kind: int) -> Any:
    """Give an output that is pasted as another one, whose middle is a text of it."""
    pasted = filled("{{workflow_response}}", {}, data.draw(shaped(BENIGN)[kind][1]), "unescaped")
    inside = [at for at, sign in enumerate(pasted) if sign == "x"]
    begin = data.draw(st.sampled_from(inside or [0]))
    end = data.draw(st.sampled_from([at for at in inside if at >= begin] or [0]))
    try:
        return _put(json.loads(f"{pasted[:begin]}MIDDLE{pasted[end:]}"), pasted[begin:end])
    except ValueError:
        return None


def _keeps_form(honest: list[Any], output: Any) -> bool:
    """Tell whether objects have the members they always had, or ones that come and go."""
    form = Form()
    form.add(honest[0])
    form.add(honest[-1])
    varied = form.varies
    form.add(output)
    return varied or not form.varies


def _put(value: Any, middle: str) -> Any:
    if isinstance(value, dict):
        return {name: _put(each, middle) for name, each in value.items()}
    if isinstance(value, list):
        return [_put(each, middle) for each in value]
    return value.replace("MIDDLE", middle) if isinstance(value, str) else value


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=200)
@given(data=st.data())
def test_texts_that_are_pasted_without_escapes_are_never_believed_for_more(
    kind: int, data: st.DataObject
) -> None:
    """Nothing that passes for members, for another output, or for more of a list.

    But for a member that is missing for the first time: the page of webhooks tells of it.
    """
    honest, output = shaped(TEXT)[kind][0], slipped_in(data, kind)
    assume(_keeps_form(honest, output))
    for claim, true in believed("unescaped", honest, [output], escapes=False):
        assert imprint(claim) == imprint(true)


@pytest.mark.parametrize("form", sorted({*FORMS} - {"unescaped"}))
@settings(max_examples=100)
@given(kind=st.sampled_from(KINDS), data=st.data(), escapes=st.booleans())
def test_what_is_believed_is_what_would_be_read(
    form: str, kind: int, data: st.DataObject, *, escapes: bool
) -> None:
    """Whatever the texts are made of, backslashes too."""
    hold(form, kind, data, SLASHED, escapes=escapes)


@pytest.mark.parametrize("escapes", [True, False])
def test_something_is_believed(escapes: bool) -> None:
    """Or the rest would say nothing."""
    honest, _ = shaped(TEXT)[3]
    text = 'x", "b' if escapes else "x"
    later = [{"a": text, "c": {"a": "y", "b": "z"}, "b": 8}]
    assert len(believed("json", honest, later, escapes=escapes)) == 1
