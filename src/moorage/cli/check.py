"""``moorage check``: what a configuration means, or what is wrong with it."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from moorage.config import AppConfig

EPILOG = """\b
Examples:
  moorage check --config /etc/moorage/config.yaml
  moorage check --config config.yaml --json | jq .problems
  moorage check --config old.yaml --dump > new.yaml
  moorage check --config config.yaml --live

\b
Exit status: 0 if the server would start with this configuration (with --live: and every webhook answers as it
should), 1 if not, 2 for a wrong option.
"""


@click.command("check", epilog=EPILOG)
@click.option("--config", "file", default="config.yaml", show_default=True, metavar="FILE", help="The file to check.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
@click.option("--dump", is_flag=True, help="Print the whole configuration in force, defaults included, as YAML.")
@click.option("--show-secrets", is_flag=True, help="Print passwords, keys and tokens instead of hiding them.")
@click.option("--live", is_flag=True, help="Ask each webhook about a stranger: does it answer, how soon, and no?")
def command(*, file: str, as_json: bool, dump: bool, show_secrets: bool, live: bool) -> None:
    """Say what a configuration means, or all that is wrong with it.

    Prints what differs from the defaults and where it is written, then what the server
    would do.  A problem is printed as FILE:LINE:COLUMN: KEY: WHAT (HOW TO MEND IT).
    """
    from moorage.config import ConfigProblems, load, report

    try:
        loaded = load(file)
    except ConfigProblems as error:
        if as_json:
            _print_json({"ok": False, "file": file, "problems": report.listed(error.problems), "warnings": []})
        else:
            for problem in error.problems:
                click.echo(str(problem))
            count = len(error.problems)
            click.echo(f"{file}: {count} problem{'s' if count > 1 else ''}; the server would not start", err=True)
        sys.exit(1)
    if live:
        _ask(loaded.config, as_json=as_json)
        return
    if as_json:
        _print_json(report.as_json(loaded, secrets=show_secrets, whole=dump))
    elif dump:
        click.echo(report.dump(loaded.config, secrets=show_secrets), nl=False)
        for warning in loaded.warnings:
            click.echo(f"warning: {warning}", err=True)
        if not show_secrets and report.hides_secrets(loaded.config):
            click.echo("note: secrets are hidden; with --show-secrets the dump can be used as it is", err=True)
    else:
        click.echo(report.as_text(loaded, secrets=show_secrets))


def _ask(config: AppConfig, *, as_json: bool) -> None:
    from dataclasses import asdict

    from moorage import log
    from moorage.cli._live import asked
    from moorage.errors import ConfigError

    log.configure(level="emerg", format="text", destination=log.Destination(stream=sys.stderr))
    try:
        answers = asked(config)
    except ConfigError as error:
        print(f"moorage: {error}", file=sys.stderr)
        sys.exit(1)
    if as_json:
        _print_json({"ok": all(one.is_good for one in answers), "webhooks": [asdict(one) for one in answers]})
    else:
        for one in answers:
            click.echo(str(one))
        if not answers:
            click.echo("no webhook is configured")
    sys.exit(0 if all(one.is_good for one in answers) else 1)


def _print_json(value: dict[str, Any]) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))
