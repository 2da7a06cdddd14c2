"""Commands of several words: `refold batch status JOURNAL` beside `refold batch FILE`."""

from __future__ import annotations

from typing import Any

import typer.core


class Commands(typer.core.TyperGroup):
    """Shows flags plainly, and finds the command that two words name before that of the first one.

    So a command may have a file for its first argument, and others below it nevertheless. A file
    that is called as they are is given as `./status`.

    The types are those of click, which typer depends on or brings with it, as it is of age.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        for command in self.commands.values():
            for parameter in command.params:
                if getattr(parameter, "is_flag", False) and parameter.metavar is None:
                    parameter.metavar = ""  # a flag takes no <bool>

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find a command, and what is left for it."""
        two = " ".join(args[:2])
        if len(args) > 1 and (command := self.get_command(ctx, two)) is not None:
            return two, command, args[2:]
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        """Complete first words; a shell would take two for one."""
        found = super().shell_complete(ctx, incomplete)
        return [item for item in found if " " not in str(item.value)]
