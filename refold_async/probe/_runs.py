"""Questions that take runs: how they are started, shown, listed and answered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from refold_async.probe._asking import V1, V2, Answer, NoAnswerError
from refold_async.probe._findings import QUESTIONS
from refold_async.probe._scene import StoppedError
from refold_async.probe._showing import included_headers, nodes_of, places_of, tell_of_document
from refold_async.probe._watching import is_over, watch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from refold_async.probe._scene import Scene

_OK = 200
_NOT_FOUND = 404
_STRANGERS = {401, 403}
_OTHER_ENDINGS = {"STOPPED", "TIMED_OUT", "TERMINATED"}
_REFUSED = range(300, 500)
"""What proves that nothing was started."""
_SYNC_FIELDS = (
    "execution_id",
    "return_value",
    "errored",
    "status_code",
    "execution_error",
    "executed_by_thanos",
)
_GROWTH = 1.5
_FIRST_PAUSE = 0.25


async def find_first(scene: Scene) -> None:
    """Start a run as the reference page says, and watch it in its document and the list."""
    sent = {"payload": scene.work.payload}
    answer = await _execute(scene, sent, scene.tag, {"include-headers": "true"})
    scene.first = _started(scene, answer)
    if scene.first is None:
        why = f"a start in the wrapped form was answered {answer}"
        scene.notes.leave("execute_body", why)
        scene.failures.append(why)
        return
    await watch(scene, scene.first)
    document = scene.document
    if not document:
        return
    tell_of_document(scene.notes, scene.first, document, scene.tag)
    included_headers(scene.notes, answer, document)
    forms = {form for form, _ in places_of(document, scene.work.payload)}
    if forms:
        form = "wrapped" if "wrapped" in forms else "bare"
        scene.notes.tell("execute_body", form, f"the input shows at {_where(scene, document)}")
    else:
        scene.notes.leave("execute_body", "no node shows anything of the input")


async def find_bodies(scene: Scene) -> None:
    """Start a run with the input as the whole body: is it refused, taken, or taken for nothing?"""
    wrapped = "execute_body" in scene.notes and scene.first is not None
    answer = await _execute(scene, scene.work.payload, scene.tag + "-bare")
    execution_id = _started(scene, answer)
    if execution_id is None:
        if scene.first is None:
            raise StoppedError(
                f"no run was to be started: {answer}. Is the workflow published, is it this"
                " application's, and does it take this input (--payload)?"
            )
        return
    document = await _ended(scene, execution_id)
    if scene.first is None:
        scene.first, scene.document = execution_id, document
        tell_of_document(scene.notes, execution_id, document, scene.tag + "-bare")
    shown = {form for form, _ in places_of(document, scene.work.payload)}
    where = _where(scene, document)
    if "wrapped" not in shown:  # for a bare body: the input itself
        return
    if not wrapped:
        scene.notes.tell(
            "execute_body", "bare", f"a wrapped one is not seen, a bare one at {where}"
        )
    elif scene.notes.answer("execute_body") == "wrapped":
        scene.notes.tell("execute_body", "either", f"both arrive; a bare one is at {where}")


async def find_response(scene: Scene) -> None:
    """Read the first run's response, with the key and with a token."""
    if scene.first is None:
        return
    notes, path = scene.notes, f"{V1}/execution/{scene.first}/response"
    answer = await scene.asker.read(path)
    if answer.status != _OK:
        if answer.status == _NOT_FOUND:
            notes.tell("response_path", "missing", str(answer))
        else:
            notes.leave("response_path", f"it was answered {answer}")
        notes.leave("response_accepts_session_token", "the path is not served")
        return
    notes.tell("response_path", "v1", str(answer))
    _tell_of_output(scene, answer)
    status = str(scene.document.get("status", "")).upper()
    if status in _OTHER_ENDINGS:
        said = str(answer.field("status")).upper()
        notes.tell(
            "response_status_for_ended",
            "ERRORED" if said == "ERRORED" else "true",
            f"a run that is {status} has {said}",
        )
    else:
        notes.leave("response_status_for_ended", f"the run ended {status or 'not yet'}")
    if scene.token is None:
        return
    bearer = {"x-api-key": "", "linked_account_id": "", "Authorization": f"Bearer {scene.token}"}
    answer = await scene.asker.read(path, headers=bearer)
    if answer.status == _OK or answer.status in _STRANGERS:
        notes.tell("response_accepts_session_token", answer.status == _OK, str(answer))


async def find_sync(scene: Scene) -> None:
    """Start a sync run, if that may be."""
    notes = scene.notes
    names = [name for name in QUESTIONS if name.startswith(("sync_", "honours_"))]
    if not scene.work.sync:
        for name in names:
            notes.leave(name, "no sync run was to be started (--sync)")
        return
    body = scene.work.payload
    sent = body if notes.answer("execute_body") == "bare" else {"payload": body}
    more = {"sync_execution": "true"}
    answer = await _execute(scene, sent, scene.tag + "-sync", headers=more)
    if _started(scene, answer) is None and answer.field("return_value") is None:
        for name in names:
            notes.leave(name, f"a sync start was answered {answer}")
        return
    if answer.field("message") is not None and answer.field("errored") is None:
        notes.tell("drop_underscore_headers", True, "a sync start was answered as an async one")
        return
    missing = frozenset(name for name in _SYNC_FIELDS if name not in answer.body)
    notes.tell("sync_strips", missing, f"it has {', '.join(answer.body)}")
    if answer.field("errored"):
        _tell_of_failure(scene, answer)
    else:
        _tell_of_status(scene, answer)


async def find_rerun(scene: Scene) -> None:
    """Start the first run again, if that may be."""
    if not scene.work.rerun or scene.first is None:
        for name in ("rerun_shape", "rerun_keeps_tag"):
            scene.notes.leave(name, "no run was to be started again (--rerun)")
        return
    what = f"a rerun of {scene.first}"
    try:
        answer = await scene.asker.post(f"{V2}/execution/{scene.first}/rerun")
    except NoAnswerError as error:
        raise _uncertain(scene, what, str(error)) from error
    for name in ("id", "instanceId"):
        if isinstance(again := answer.field(name), str):
            scene.execution_ids.append(again)
            scene.notes.tell("rerun_shape", name, str(answer))
            document = (await scene.asker.read(f"{V2}/execution/{again}")).body
            if not scene.notes.answer("echo_instance_tag_in_get"):
                scene.notes.leave("rerun_keeps_tag", "documents carry no tag")
            elif isinstance(document, dict):
                tag = document.get("instance_tag")
                scene.notes.tell("rerun_keeps_tag", tag == scene.tag, f"it bears {tag!r}")
            return
    scene.notes.leave("rerun_shape", f"it was answered {answer}")
    if answer.status not in _REFUSED:
        raise _uncertain(scene, what, str(answer))


async def _execute(
    scene: Scene,
    sent: Any,
    tag: str,
    query: dict[str, str] | None = None,
    headers: dict[str, str] | None = None,
) -> Answer:
    about = {"slug": scene.work.slug, "instance_tag": tag, **(headers or {})}
    path = f"{V2}/workflow/{scene.work.workflow_id}/execute"
    longest = max(scene.work.patience, 30.0)
    try:
        answer = await scene.asker.post(path, sent, query=query, headers=about, patience=longest)
    except NoAnswerError as error:
        raise _uncertain(scene, f"the tag {tag}", str(error)) from error
    if not _proves_a_run(answer) and answer.status not in _REFUSED:
        raise _uncertain(scene, f"the tag {tag}", str(answer))
    return answer


def _proves_a_run(answer: Answer) -> bool:
    execution_id = answer.field("execution_id")
    has_id = isinstance(execution_id, str) and execution_id != ""
    return has_id or answer.field("return_value") is not None


def _uncertain(scene: Scene, what: str, why: str) -> StoppedError:
    scene.uncertain.append(what)
    return StoppedError(f"nobody knows whether a run was started ({why}): look for {what}")


def _started(scene: Scene, answer: Answer) -> str | None:
    execution_id = answer.field("execution_id")
    if not isinstance(execution_id, str) or not execution_id:
        return None
    scene.execution_ids.append(execution_id)
    return execution_id


async def _ended(scene: Scene, execution_id: str) -> dict[str, Any]:
    """Read a run until it has ended, a few times at most."""
    document: dict[str, Any] = {}
    pause = _FIRST_PAUSE
    for _ in range(4):
        answer = await scene.asker.read(f"{V2}/execution/{execution_id}")
        document = answer.body if isinstance(answer.body, dict) else document
        if is_over(document) or places_of(document, scene.work.payload):
            break
        await scene.asker.pause(pause)
        pause *= _GROWTH * 2
    return document


def _tell_of_output(scene: Scene, answer: Answer) -> None:
    output = answer.field("response")
    shown = next(_response_outputs(scene.document), None)
    if output is None or shown is None:
        scene.notes.leave("response_node_output", "the run has no output")
    elif shown == output:
        scene.notes.tell("response_node_output", "bare", "it is the response itself")
    elif isinstance(shown, dict) and shown.get("body") == output:
        scene.notes.tell("response_node_output", "wrapped", f"in {', '.join(shown)}")
    else:
        scene.notes.leave("response_node_output", "it is neither the response nor holds it")


def _response_outputs(document: dict[str, Any]) -> Iterator[Any]:
    for node in nodes_of(document):
        if str(node.get("node_type")).lower() == "response":
            yield node.get("latest_output")


def _tell_of_status(scene: Scene, answer: Answer) -> None:
    notes, code = scene.notes, answer.field("status_code")
    if "status_code" in answer.body:
        notes.tell("sync_status_code", "null" if code is None else "set", f"it is {code}")
    if isinstance(code, int) and code != _OK:
        because = f"HTTP {answer.status}, status_code {code}"
        notes.tell("honours_response_status", answer.status == code, because)
    elif code is None and answer.status != _OK:
        notes.tell("honours_response_status", True, f"HTTP {answer.status}")
    else:
        notes.leave("honours_response_status", "the Response node set no status but 200")


def _tell_of_failure(scene: Scene, answer: Answer) -> None:
    scene.notes.tell("sync_error_status", answer.status, f"HTTP {answer.status}")
    if "execution_error" in answer.body:
        error = answer.body["execution_error"]
        shape = {str: "text", dict: "object", type(None): "null"}.get(type(error))
        if shape is not None:
            scene.notes.tell("sync_error_shape", shape, f"it is {error!r:.80}")


def _where(scene: Scene, document: dict[str, Any]) -> str:
    places = places_of(document, scene.work.payload)
    return places[0][1] if places else "no node"
