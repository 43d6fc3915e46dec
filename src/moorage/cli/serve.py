"""``moorage serve``: the server."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from moorage.cli._loading import config_option, loaded

if TYPE_CHECKING:
    from moorage.config import AppConfig
    from moorage.config.sections.log import LogConfig
    from moorage.log import Target


@click.command(
    "serve",
    short_help="Run the server.",
    epilog="""\b
Examples:
  moorage serve --config /etc/moorage/config.yaml
  moorage check --config config.yaml && moorage serve --config config.yaml

\b
Signals:
  TERM, INT   take no new connections, let sessions end (ssh.shutdownTimeout), then end them;
              a second signal ends them at once
  HUP         read the configuration again for new logins and reopen the log; keys that
              cannot change while the server runs are named in the log""",
)
@config_option("The configuration file; the format is that of ContainerSSH 0.4 to 0.6.")
def command(path: Path) -> None:
    """Serve SSH according to a configuration file until a signal ends it."""
    from moorage.config import load

    found = loaded(path, otherwise=f"The server was not started; `moorage check --config {path}` says the same.")

    import structlog

    from moorage import app
    from moorage.errors import Failure

    target = _open_log(found.config)
    log = structlog.get_logger()
    for warning in found.warnings:
        log.warning(str(warning), code=warning.code)
    try:
        app.run(found.config, read=lambda: load(path).config)
    except Failure as failure:
        log.critical(str(failure), code=failure.code)
        print(f"moorage: {failure}", file=sys.stderr)
        raise SystemExit(1) from None
    finally:
        target.close()


def _open_log(config: AppConfig) -> Target:
    from moorage import log
    from moorage.config.clients import syslog_of

    settings = config.log
    try:
        target = syslog_of(settings.syslog) if settings.destination == "syslog" else _stream(settings)
    except OSError as error:
        where, key = {
            "syslog": (f"syslog at {settings.syslog.destination}", "log.syslog.destination"),
            "file": (f"the log file {settings.file}", "log.file"),
        }[settings.destination]
        print(f"moorage: {where} cannot be opened: {error.strerror or error} ({key})", file=sys.stderr)
        raise SystemExit(1) from None
    log.configure(level=settings.level, format=settings.format, destination=target)
    return target


def _stream(settings: LogConfig) -> Target:
    from moorage import log

    return log.Destination(Path(settings.file) if settings.destination == "file" else None)
