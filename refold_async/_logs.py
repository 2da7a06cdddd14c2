"""The logs of rooms: lines that say what they are about, and harm nothing."""

from __future__ import annotations

import logging


def about(**known: object) -> dict[str, object]:
    """Give the `extra` of a line: what is known of what it tells, under the names of errors."""
    return {name: value for name, value in known.items() if value is not None}


class Log:
    """The log of a room, as `logging` has it but for one thing: a handler that raises ends nothing.

    A full disk must not lose an answer on its way to the handle, nor leave who waits behind.

    Args:
        room: its name below `refold_async`.
    """

    def __init__(self, room: str) -> None:
        self._logger = logging.getLogger(f"refold_async.{room}")
        self.is_enabled_for = self._logger.isEnabledFor

    def debug(self, message: str, *args: object, extra: dict[str, object] | None = None) -> None:
        """Tell what happens."""
        self._tell(logging.DEBUG, message, args, extra)

    def info(self, message: str, *args: object, extra: dict[str, object] | None = None) -> None:
        """Tell what went wrong and is taken care of."""
        self._tell(logging.INFO, message, args, extra)

    def warning(self, message: str, *args: object, extra: dict[str, object] | None = None) -> None:
        """Tell what somebody should know."""
        self._tell(logging.WARNING, message, args, extra)

    def error(
        self,
        message: str,
        *args: object,
        extra: dict[str, object] | None = None,
        exc_info: BaseException | None = None,
    ) -> None:
        """Tell of a fault."""
        self._tell(logging.ERROR, message, args, extra, exc_info=exc_info)

    def exception(
        self, message: str, *args: object, extra: dict[str, object] | None = None
    ) -> None:
        """Tell of the fault that is being handled, with its traceback."""
        self._tell(logging.ERROR, message, args, extra, exc_info=True)

    def _tell(
        self,
        level: int,
        message: str,
        args: tuple[object, ...],
        extra: dict[str, object] | None,
        *,
        exc_info: BaseException | bool | None = None,
    ) -> None:
        try:
            # The line is that of who calls `info` and the like: the third from here.
            self._logger.log(level, message, *args, extra=extra, exc_info=exc_info, stacklevel=3)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # noqa: BLE001, S110 - a CancelledError too: we were not cancelled
            pass
