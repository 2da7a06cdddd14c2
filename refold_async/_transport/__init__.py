"""One request and its answer, sent again only where that is right."""

from refold_async._transport.api import Api
from refold_async._transport.connections import Connections, check_connections
from refold_async._transport.credentials import Authenticator
from refold_async._transport.decision import Finding
from refold_async._transport.retry import outcome_unknown
from refold_async._transport.server_clock import ServerClock
from refold_async._transport.transport import Transport
from refold_async._transport.wire import Wire

__all__ = [
    "Api",
    "Authenticator",
    "Connections",
    "Finding",
    "ServerClock",
    "Transport",
    "Wire",
    "check_connections",
    "outcome_unknown",
]
