"""What `payload=` takes: a JSON object, or an object of a class that says how it is one."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeAlias

import attrs

from refold_async._errors import PayloadError
from refold_async._typed.faults import MisfitError
from refold_async._typed.forms import check_type, name_of, to_json
from refold_async._typed.models import is_model

if TYPE_CHECKING:

    class _Dataclass(Protocol):
        __dataclass_fields__: ClassVar[dict[str, Any]]

    class _Struct(Protocol):
        __struct_fields__: ClassVar[tuple[str, ...]]

    class _Model(Protocol):
        def model_dump(self) -> dict[str, Any]: ...

    Payload: TypeAlias = (
        Mapping[str, Any] | attrs.AttrsInstance | _Dataclass | _Struct | _Model | None
    )
else:
    Payload: TypeAlias = Mapping[str, Any] | object | None


@lru_cache(maxsize=1_024)
def _checked(kind: type) -> None:
    check_type(kind, "payload")


def plain_payload(payload: Any) -> Any:
    """Write a payload as a JSON object, if it is an object of a class that can be one.

    Anything else is given back as it is: what is no JSON is said by who serialises it.

    Raises:
        ConfigError: its class can't be told as JSON, or the extra `typed` is missing.
        PayloadError: it does not fit the annotations of its class.
    """
    if payload is None or isinstance(payload, dict):
        return payload
    kind: Any = type(payload)
    if isinstance(payload, Mapping):
        return dict(payload)
    if not (is_model(kind) or attrs.has(kind) or _has_fields(kind)):
        return payload
    _checked(kind)
    return fitting(payload, kind)


def _has_fields(kind: type) -> bool:
    return hasattr(kind, "__dataclass_fields__") or hasattr(kind, "__struct_fields__")


def fitting(payload: Any, kind: Any) -> Any:
    """Write a payload by its type.

    Raises:
        PayloadError: it does not fit.
    """
    try:
        return to_json(payload, kind)
    except MisfitError as error:
        raise PayloadError(
            f"does not fit {name_of(kind)}: {error.words}", path=error.path
        ) from None
