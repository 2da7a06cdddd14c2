"""Outputs that webhooks bring along: none is believed that what was read does not speak for."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest

from refold_async._waiting.claims import Claims, imprint

NAMES = count()
CONTACT = {"id": 7, "email": "jane@example.com", "tags": None, "sizes": [1, 2], "at": {"x": 0.5}}
ESCAPES = {"note": 'say "hi" \\ bye'}


def never() -> float:
    """Draw no sample."""
    return 1.0


def proven(*outputs: Any, claims: Claims | None = None, workflow: str = "wf") -> Claims:
    """Give a judge that has compared outputs of a workflow, twenty times and more."""
    claims = claims or Claims(never)
    for number in range(20 * len(outputs)):
        output = outputs[number % len(outputs)]
        assert claims.compare(workflow, imprint(output), output)
    return claims


def test_the_first_twenty_of_each_workflow_are_read() -> None:
    """Then they are believed."""
    claims = Claims(never)
    for _ in range(20):
        assert not claims.believes("wf", CONTACT)
        assert claims.compare("wf", imprint(CONTACT), CONTACT)
    assert claims.believes("wf", CONTACT)
    assert claims.believes("wf", CONTACT | {"id": 8, "email": "j@example.com", "sizes": [3]})
    assert not claims.believes("other", CONTACT)


def test_one_in_a_hundred_is_read_all_the_same() -> None:
    """By the draw, once it would be believed."""
    draws = [0.0099, 0.01]
    claims = proven(CONTACT, claims=Claims(lambda: draws.pop(0)))
    assert [claims.believes("wf", CONTACT) for _ in range(2)] == [False, True]
    usual = proven(CONTACT, claims=Claims())
    read = sum(not usual.believes("wf", CONTACT) for _ in range(20_000))
    assert 120 < read < 280


@pytest.mark.parametrize(
    ("claim", "read"),
    [
        ({"n": 1}, {"n": 1.0}),
        ({"n": 1}, {"n": True}),
        ({"n": 0}, {"n": False}),
        ({"n": 1}, {"n": "1"}),
        ({"n": ""}, {"n": None}),
        ({}, {"n": None}),
        ({"n": 1}, '{"n":1}'),
        ({}, None),
        ([], {}),
        ([1, 2], [2, 1]),
        ({"n": 0.0}, {"n": -0.0}),
    ],
)
def test_one_difference_ends_it_for_that_workflow(claim: Any, read: Any) -> None:
    """For good, types too; others are not concerned."""
    claims = proven(CONTACT, claims=proven(claim))
    proven(CONTACT, claims=claims, workflow="other")
    assert not claims.compare("wf", imprint(claim), read)
    assert claims.is_over("wf")
    for _ in range(30):
        claims.compare("wf", imprint(claim), claim)
    assert not claims.believes("wf", claim)
    assert not claims.is_over("other")
    assert claims.believes("other", CONTACT)


def test_members_in_another_order_are_the_same() -> None:
    """Objects have none."""
    assert imprint({"a": 1, "b": [2]}) == imprint({"b": [2], "a": 1})


def test_what_can_not_be_written_down_is_the_same_as_nothing() -> None:
    """Not even as another of its kind."""
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    assert imprint(deep) == b""
    assert not Claims(never).compare("wf", imprint(deep), deep)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"more": 1}, id="a member more"),
        pytest.param({"id": None}, id="null"),
        pytest.param({"id": "7"}, id="a text for a number"),
        pytest.param({"id": 7.0}, id="another number"),
        pytest.param({"id": True}, id="a truth"),
        pytest.param({"email": ""}, id="no text, where null may have been"),
        pytest.param({"email": "a&lt;b"}, id="a text that may have been escaped for HTML"),
        pytest.param(
            {"email": "jos\xc3\xa9"}, id="a text whose encoding may have been taken for another"
        ),
        pytest.param({"email": "j" * 17}, id="a longer text: where it is cut is not known"),
        pytest.param({"sizes": [1, 2, 3]}, id="a longer list"),
        pytest.param({"sizes": []}, id="a list of nothing"),
        pytest.param({"sizes": [1, "2"]}, id="something else in a list"),
        pytest.param({"at": {}}, id="a member less, deep inside"),
        pytest.param({"at": "x"}, id="a text for an object"),
    ],
)
def test_what_those_that_were_read_had_not_is_read(change: dict[str, Any]) -> None:
    """Once: then it is known."""
    claims = proven(ESCAPES, claims=proven(CONTACT), workflow="escapes")
    changed = CONTACT | change
    assert not claims.believes("wf", changed)
    assert claims.compare("wf", imprint(changed), changed)
    assert claims.believes("wf", changed)
    assert claims.believes("wf", CONTACT)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"id": 2**53}, id="a number that may have been rounded"),
        pytest.param({"at": {"x": 1e300}}, id="another such"),
        pytest.param({"k" * 101: 1}, id="a name that is too long"),
        pytest.param({str(n): 1 for n in range(300)}, id="too much to be known"),
    ],
)
def test_what_is_in_doubt_in_itself_is_always_read(change: dict[str, Any]) -> None:
    """However often it was as claimed; others of the workflow are believed."""
    claims = proven(ESCAPES, claims=proven(CONTACT, CONTACT | change), workflow="escapes")
    assert not claims.believes("wf", CONTACT | change)
    assert claims.believes("wf", CONTACT)


def test_a_member_that_is_missing_is_read_though_others_are_known() -> None:
    """A service might leave out what is null."""
    claims = proven(ESCAPES, claims=proven({"a": 1, "b": None}), workflow="escapes")
    assert not claims.believes("wf", {"a": 1})


def test_until_escapes_are_proven_members_that_come_and_go_are_in_doubt() -> None:
    """Without escapes, a text `x", "paid": true, "note": "y` is three members."""
    claims = proven({"note": "some text", "paid": True, "a": 1}, {"note": "some text", "a": 1})
    text = {"note": "x", "paid": True, "a": 1}
    assert not claims.believes("wf", text)
    proven({"note": 'say "hi"'}, claims=claims, workflow="other")
    assert not claims.believes("wf", text), "a backslash before a quote may undo its escape"
    proven({"note": "C:\\"}, claims=claims, workflow="another")
    assert claims.believes("wf", text)


def test_until_escapes_are_proven_texts_in_lists_are_in_doubt() -> None:
    """Without escapes, a text `x", "y` is two of them; numbers are none of theirs."""
    claims = proven({"to": [{"name": "jane"}, {"name": "joe"}]})
    assert not claims.believes("wf", {"to": [{"name": "x"}]})
    proven(ESCAPES, claims=claims, workflow="other")
    assert claims.believes("wf", {"to": [{"name": "x"}]})


@pytest.mark.parametrize("text", ["C:\new", 'say "hi"', "a\\b", "\x08"])
def test_until_escapes_are_proven_texts_that_take_one_are_in_doubt(text: str) -> None:
    r"""From a service that escapes quotes alone, `C:\new` comes with a line break in it."""
    claims = proven({"note": "some text"}, {"note": text})
    assert claims.believes("wf", {"note": "some text"})
    assert not claims.believes("wf", {"note": text}), "however often it was as claimed"
    proven(ESCAPES, claims=claims, workflow="other")
    assert claims.believes("wf", {"note": text})


def test_what_is_known_of_workflows_is_bounded_and_what_ended_is_kept() -> None:
    """Those told of last are known; whatever begins anew begins with twenty reads."""
    claims = proven(CONTACT)
    assert not claims.compare("ended", b"1", {})
    for _ in range(500):
        claims.believes(f"wf{next(NAMES)}", CONTACT)
    assert not claims.believes("wf", CONTACT)
    assert claims.is_over("ended")


def test_where_hundreds_of_workflows_have_ended_all_have() -> None:
    """Their names are bounded in number as well."""
    claims = proven(CONTACT)
    for number in range(500):
        assert not claims.compare(f"ended{number}", b"1", {})
    assert claims.is_over("wf")
    assert not claims.believes("wf", CONTACT)
