"""The command line: one command a file, imported only when it is called.

The command ``auth-server`` is the object ``command`` of ``moorage.cli.auth_server``; adding
the file is enough.  The summaries stand here so that ``--help`` imports nothing else.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from typing import Final

import click

from moorage import __version__

_SUMMARIES: Final = {
    "demo": "Try it: a server with a user and a sandbox, ready to paste.",
    "serve": "Run the server.",
    "check": "Say what a configuration means, or what is wrong with it.",
    "config": "Explain what one login would get.",
    "healthcheck": "Ask a running server whether it takes logins.",
    "sessions": "List, watch and end the connections of a running server.",
    "audit": "List, show, play, search, export and verify recordings.",
    "users": "Add, list and remove users in a local file.",
    "agent-image": "Write the image from which pods get our agent.",
    "auth-server": "Answer webhooks, to try things out.",
}


class LazyGroup(click.Group):
    """A group whose commands are the modules of this package."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        modules = (module.name for module in iter_modules(__path__))
        there = {name.replace("_", "-") for name in modules if not name.startswith("_")}
        return [*(name for name in _SUMMARIES if name in there), *sorted(there - set(_SUMMARIES))]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        command = import_module(f"{__name__}.{cmd_name.replace('-', '_')}").command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = []
        for name in self.list_commands(ctx):
            summary = _SUMMARIES.get(name)
            if summary is None and (command := self.get_command(ctx, name)) is not None:
                summary = command.get_short_help_str()
            rows.append((name, summary or ""))
        with formatter.section("Commands"):
            formatter.write_dl(rows)


@click.command(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="`moorage COMMAND --help` shows the options of a command and examples.",
)
@click.version_option(__version__, prog_name="moorage", message="%(prog)s %(version)s")
def main() -> None:
    """An SSH server that puts each login into a container of its own."""
