"""Who may ask, how often, and about what: the checks before an operation."""

import math
from collections.abc import Mapping
from typing import Any

import attrs

from ._behaviour import Behaviour
from ._events import Events
from ._limits import Bucket
from ._performing import Performances
from ._replies import RefusedError, Reply, Silence, html_reply, http_date, refusal
from ._runs import Run
from ._state import State
from ._strict_json import load
from ._subscriptions import Webhooks
from ._tokens import Tokens

# The cap is "near" 3 MB and holds for the payload: room for what is around it in the body.
_WRAPPER_BYTES = 1024

_READS = frozenset({"get_execution", "get_response"})
_STARTS = frozenset({"execute", "execute_v1", "rerun", "trigger_event"})


@attrs.frozen
class Call:
    """One request as the operations see it.

    Attributes:
        operation: The operation's name.
        ids: The ids in its path, by name.
        query: Its query parameters.
        headers: Its headers, those a proxy lets through.
        body: Its body as bytes.
        refused: The answer to a request of which nothing can be made, else None.
    """

    operation: str
    ids: Mapping[str, str]
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes = b""
    refused: Reply | Silence | None = None


class Service:
    """What all operations share: state, tokens, ceilings.

    Args:
        behaviour: What the service does where its documentation is silent.
        api_key: The one valid key.
        state: The workflows and runs.
        performances: The coroutines of runs that are under way.
    """

    def __init__(
        self, behaviour: Behaviour, api_key: str, state: State, performances: Performances
    ) -> None:
        self.behaviour = behaviour
        self.performances = performances
        self.events = Events()
        self.api_key = api_key
        self.state = state
        self.now = state.now
        self.max_body_bytes = behaviour.max_payload_bytes + _WRAPPER_BYTES
        self.tokens = Tokens(behaviour, state.now)
        self.webhooks = Webhooks(state.now, "production" if api_key[:2] == "pk" else "test")
        self._requests = behaviour.rate_limit and Bucket(*behaviour.rate_limit, state.now)
        self._starts = behaviour.capacity and Bucket(
            behaviour.capacity, max(1.0, behaviour.capacity), state.now
        )

    def admit(self, call: Call) -> None:
        """Refuse a request that exceeds the rate limit."""
        counts = self.behaviour.rate_limit_counts_reads or call.operation in _STARTS
        if self._requests and counts and not self._requests.take():
            reply = html_reply(429) if self.behaviour.rate_limit_html else refusal(429)
            raise RefusedError(self._retry_after(reply))

    def admit_start(self) -> None:
        """Refuse a start that exceeds the capacity."""
        if self._starts and not self._starts.take():
            raise RefusedError(self._retry_after(refusal(503)))

    def caller(self, call: Call) -> str | None:
        """The linked account a request speaks for, None for an API key alone; refuses strangers."""
        if "Authorization" in call.headers:
            account = self.bearer(call)
            if account is None:
                raise RefusedError(refusal(401))
            return account
        self.require_key(call)
        account = call.headers.get("linked_account_id") or None
        if account is not None:
            self.check_account(account)
        return account

    def bearer(self, call: Call) -> str | None:
        """The linked account of a request's session token; None without a valid one."""
        scheme, _, token = call.headers.get("Authorization", "").partition(" ")
        return self.tokens.account(token.strip()) if scheme.lower() == "bearer" else None

    def account(self, call: Call) -> str:
        """The linked account a request speaks for; refuses one that names none."""
        account = self.caller(call)
        if account is None:
            raise RefusedError(refusal(400, "linked_account_id is required"))
        return account

    def check_account(self, account: str) -> None:
        """Refuse a linked account that does not exist."""
        known = self.behaviour.linked_accounts
        if known is not None and account not in known:
            why = "INVALID_LINKED_ACCOUNT_ID"
            raise RefusedError(refusal(400, f"Linked account {account} not found", error=why))

    def require_key(self, call: Call) -> None:
        """Refuse a request without the API key."""
        if call.headers.get("x-api-key") != self.api_key:
            raise RefusedError(refusal(401))

    def run(self, call: Call) -> Run:
        """The run a request is about; refuses when it is not there or another account's."""
        account = self.account(call)
        run = self.state.run(call.ids["execution_id"])
        if run is None or run.linked_account_id != account or run.created_at < self.oldest:
            hangs = self.behaviour.unknown_execution == "hangs" and call.operation in _READS
            raise RefusedError(Silence() if hangs else refusal(404))
        return run

    def stop(self, run: Run) -> None:
        """Ask a run to stop."""
        run.stop(self.now(), takes=self.behaviour.stop_takes)
        self.state.changed(run)
        self.performances.cancel(run)

    @property
    def oldest(self) -> float:
        """When the oldest run was made that is still kept, epoch seconds."""
        kept = self.behaviour.retention
        return -math.inf if kept is None else self.now() - kept

    def shown_at(self, run: Run) -> float:
        """The moment as of which a run's documents show it."""
        return max(run.created_at, self.now() - self.behaviour.list_lead)

    def json_object(self, call: Call) -> dict[str, Any]:
        """The body as a JSON object; refuses what calls itself something else or is none."""
        media_type = call.headers.get("Content-Type", "").partition(";")[0]
        if media_type.strip().lower() != "application/json":
            raise RefusedError(refusal(400, "Content-Type must be application/json"))
        try:
            document = load(call.body)
        except ValueError as error:
            message = f"Request body is not valid JSON: {error}"
            raise RefusedError(refusal(400, message)) from None
        if not isinstance(document, dict):
            raise RefusedError(refusal(400, "Request body must be a JSON object"))
        return document

    def _retry_after(self, reply: Reply) -> Reply:
        after = self.behaviour.retry_after
        if after is None:
            return reply
        value = http_date(self.now() + 1) if after == "date" else str(math.ceil(after))
        return attrs.evolve(reply, headers={**reply.headers, "Retry-After": value})
