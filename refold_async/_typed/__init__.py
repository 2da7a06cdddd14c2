"""What a caller's types say goes out, and comes back, as JSON."""

from refold_async._typed.payloads import Payload, plain_payload
from refold_async._typed.spec import UNTYPED, In, In_contra, Out, TypedWorkflow, workflow

__all__ = [
    "UNTYPED",
    "In",
    "In_contra",
    "Out",
    "Payload",
    "TypedWorkflow",
    "plain_payload",
    "workflow",
]
