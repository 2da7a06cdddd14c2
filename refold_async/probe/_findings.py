"""What is asked, and what was found: values that say so in code as well."""

import json
import math
from collections.abc import Iterator
from typing import Any

import attrs


@attrs.frozen
class Question:
    """One thing that the documentation leaves open.

    Attributes:
        name: the switch of the emulator's `Behaviour` that plays it; else a name of its own.
        text: what is asked.
        how: by what it is told.
        usual: what the SDK and the emulator take for likely; None where there is no such thing.
    """

    name: str
    text: str
    how: str
    usual: Any = None


QUESTIONS: dict[str, Question] = {
    each.name: each
    for each in (
        Question("execute_body", "Where is a workflow's input in the body of execute?",
                 "a run each way; what their nodes show of their input", "wrapped"),
        Question("echo_instance_tag_in_list", "Does an entry of the list carry the tag?",
                 "the run's entry", True),
        Question("echo_instance_tag_in_get", "Does the document of a run carry the tag?",
                 "the run's document", True),
        Question("list_lag", "How many seconds is the list behind?",
                 "when the run's entry shows first; at most so many", 0.0),
        Question("list_lead", "How many seconds is it ahead of the documents?",
                 "when entry and document show the run's end; at most so many", 0.0),
        Question("queued_for", "How many seconds is a new run QUEUED?",
                 "when the run's document shows something else; at most so many", 0.0),
        Question("max_page_size", "What is the largest `limit` of a list?",
                 "lists with limits up to 1,000", 100),
        Question("larger_page", "What becomes of a larger one?", "the same lists", "lowered"),
        Question("list_dates", "Do dates of the list take times?",
                 "a list that ends a minute before the run began", "times"),
        Question("ignores_filters", "Are filters of the list ignored?",
                 "a list of runs of a workflow that nobody has", False),
        Question("undated_every", "Which share of the entries has no `createdAt`?",
                 "a page of the list; every so many-th, 0 for none", 0),
        Question("response_path", "Is the path of a run's response served?",
                 "the run's response", "v1"),
        Question("response_accepts_session_token", "Does it take a session token?",
                 "the same with a token", True),
        Question("response_status_for_ended", "Which status has it for a run that was stopped?",
                 "the run's response, if the run ended so", "ERRORED"),
        Question("response_node_output", "How is the Response node's output shown?",
                 "the run's document beside its response", "bare"),
        Question("unknown_execution", "What does an unknown id get?",
                 "the document of one", "404"),
        Question("unknown_event_status", "What does an unknown event get?",
                 "a trigger of one, which starts nothing", 404),
        Question("linked_accounts", "Must a linked account be known?",
                 "the list of one that nobody has", None),
        Question("token_lifetime", "How many seconds is a session token good for?",
                 "a session token", 7 * 86_400.0),
        Question("refresh_lifetime", "How many is its refresh token?",
                 "the same", 30 * 86_400.0),
        Question("object_ids", "Do ids begin with the time of their making?",
                 "the run's id", True),
        Question("created_at", "How exact is `createdAt`?", "the run's document", "milliseconds"),
        Question("status_case", "How are statuses spelled?", "the run's document", "upper"),
        Question("extra_fields", "Are there fields that no documentation knows?",
                 "the run's document", True),
        Question("included_headers_in", "Where does `include-headers` put the headers?",
                 "the run's answer and its input", "reply"),
        Question("included_headers_field", "In which field?", "the same", "headers"),
        Question("sync_strips", "Which fields does the answer of a sync run lack?",
                 "a sync run", frozenset()),
        Question("sync_status_code", "Is its `status_code` null?", "a sync run", "set"),
        Question("honours_response_status", "Is a Response node's status that of HTTP?",
                 "a sync run whose Response node sets one", True),
        Question("sync_error_status", "Which HTTP status has a sync run that fails?",
                 "a sync run that fails", 200),
        Question("sync_error_shape", "How does it say why?", "a sync run that fails", "text"),
        Question("rerun_shape", "Which field has a rerun's id?", "a rerun", "id"),
        Question("rerun_keeps_tag", "Does a rerun bear the tag?", "a rerun's document", False),
        Question("rate_limit_html", "Is a refusal by load a page of HTML?",
                 "a refusal, if one came; none is provoked", False),
        Question("retry_after", "What does its `Retry-After` say?", "the same"),
        Question("rate_headers", "Which headers tell of rates?", "all answers"),
        Question("keepalive", "After how many idle seconds is a connection closed?",
                 "a connection that is left alone"),
        Question("keepalive_announced", "Does the service say so?", "its headers", False),
        Question("clock_skew", "How many seconds is its clock ahead?",
                 "the Date of all answers, to a second", 0.0),
        Question("drop_underscore_headers", "Do headers with an underscore get lost on the way?",
                 "a list, which needs one", False),
    )
}  # fmt: skip
"""All that is asked, by name."""

NOT_ASKED: dict[str, str] = {
    "payload_error_status": "a payload that fails its schema might start a run all the same",
    "payload_error_shape": "a payload that fails its schema might start a run all the same",
    "max_payload_bytes": "it takes megabytes to find out",
    "retention": "it takes a month to find out",
    "stop_takes": "nothing is stopped",
    "rate_limit": "it takes a flood to find out",
    "rate_limit_counts_reads": "it takes a flood to find out",
    "capacity": "it takes a flood to find out",
    "webhook_response": "it takes an address that the service can reach",
}
"""The switches that are not told, and why."""


@attrs.frozen(kw_only=True)
class Finding:
    """One answer.

    Attributes:
        question: what was asked.
        answer: what is so, as the switch of `Behaviour` has it; None is an answer too.
        told: whether it was told at all.
        because: what was seen, or why it could not be.
    """

    question: Question
    answer: Any = None
    told: bool
    because: str

    @property
    def is_usual(self) -> bool:
        """Whether the SDK's defaults suit it."""
        return not self.told or self.answer == self.question.usual


@attrs.frozen(kw_only=True)
class ProbeReport:
    """All answers.

    Attributes:
        findings: one for each question, in order.
        execution_ids: the runs that were started.
        uncertain: what to look for: starts of which nobody knows whether they happened.
        requests: how many were made.
        stopped: why nothing more was asked; None if all was.
    """

    findings: tuple[Finding, ...]
    execution_ids: tuple[str, ...]
    uncertain: tuple[str, ...]
    requests: int
    stopped: str | None

    def told(self) -> dict[str, Any]:
        """Give what was told, by name."""
        return {each.question.name: each.answer for each in self.findings if each.told}

    @property
    def settings(self) -> str:
        """The settings to use as code, of the client and of an emulator like the service."""
        return "\n".join(_code(self.told(), [*self._unusual()]))

    def _unusual(self) -> Iterator[tuple[str, Any]]:
        for finding in self.findings:
            name, answer = finding.question.name, finding.answer
            if finding.is_usual or name in {"rate_headers", "clock_skew"}:
                continue
            if name == "linked_accounts" and answer is None:
                continue
            yield name, answer


class Notes:
    """Findings as they come; the last word on each question counts."""

    def __init__(self) -> None:
        self._found: dict[str, Finding] = {}

    def tell(self, name: str, answer: Any, because: str) -> None:
        """Note an answer."""
        self._found[name] = Finding(
            question=QUESTIONS[name], answer=answer, told=True, because=because
        )

    def leave(self, name: str, because: str) -> None:
        """Note why there is no answer, if there is none."""
        if name not in self._found:
            self._found[name] = Finding(question=QUESTIONS[name], told=False, because=because)

    def __contains__(self, name: str) -> bool:
        return name in self._found and self._found[name].told

    def answer(self, name: str) -> Any:
        """Give what was told; None for what was not."""
        return self._found[name].answer if name in self else None

    def all(self, otherwise: str) -> tuple[Finding, ...]:
        """Give one finding for each question."""
        for name in QUESTIONS:
            self.leave(name, otherwise)
        return tuple(self._found[name] for name in QUESTIONS)


def _code(told: dict[str, Any], unusual: list[tuple[str, Any]]) -> Iterator[str]:
    client = [*_client(told)]
    names = sorted({text.partition("=")[2].partition("(")[0] for text in client} - {""})
    kinds = [name for name in names if name[0].isupper()]
    yield f"from refold_async import {', '.join(sorted([*kinds, 'RefoldClient']))}"
    yield "from refold_async.emulator import Behaviour"
    yield ""
    yield f"refold = RefoldClient({', '.join(client)})"
    yield f"behaviour = Behaviour({', '.join(f'{name}={_value(v)}' for name, v in unusual)})"


def _client(told: dict[str, Any]) -> Iterator[str]:
    """Give the arguments of a client that suit what was told."""
    if told.get("execute_body") == "bare":
        yield 'dialect=Dialect(body="bare")'
    largest = told.get("max_page_size")
    if largest is not None and largest < 100:  # noqa: PLR2004 - the default
        yield f"polling=PollPolicy(page_size={largest})"
    if (lag := told.get("list_lag", 0.0)) >= 1.0:
        yield f"retry=RetryPolicy(settle={math.ceil(lag) + 1}.0)"
    idle = told.get("keepalive")
    if idle and idle < 5.0 and not told.get("keepalive_announced"):  # noqa: PLR2004
        yield f"keepalive={max(0.1, round(idle - min(1.0, idle / 2), 1))}"


def _value(value: Any) -> str:
    if isinstance(value, frozenset):
        return "{" + ", ".join(map(_value, sorted(value))) + "}"
    return json.dumps(value) if isinstance(value, str) else repr(value)
