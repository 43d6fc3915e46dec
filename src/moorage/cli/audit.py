"""``moorage audit``: recordings listed, shown, played, searched, exported and verified."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from moorage.cli import _recordings as r

if TYPE_CHECKING:
    from moorage.audit.reading.summary import Summary

_PLACES = """\b
A PLACE is a recording, a directory of them, or s3://BUCKET/PREFIX.  Where one recording is
meant, the beginning of a connection's id will do with --config."""


@click.group(
    "audit",
    short_help="List, show, play, search, export and verify recordings.",
    epilog=f"""\b
Examples:
  moorage audit ls --config config.yaml --user mia --since 2d
  moorage audit play /var/log/audit/5d0c1e7f2a934b6c8d7e6f5a4b3c2d1e --skip-idle 2
  moorage audit show 5d0c1e7f --config config.yaml
  moorage audit grep 'wget|curl' /var/log/audit
  moorage audit verify s3://audit --endpoint https://s3.example.com

{_PLACES}""",
)
def command() -> None:
    """Read what connections have left on record."""
    r.end_quietly()


@command.command(
    "ls",
    short_help="List recordings.",
    epilog="""\b
Examples:
  moorage audit ls /var/log/audit --logins --since 2026-01-31
  moorage audit ls s3://audit --address 192.0.2.0/24 --json | jq -r .name""",
)
@r.place_options
@r.filter_options
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def ls(places: tuple[str, ...], config: Path | None, endpoint: str, as_json: bool, **wanted: Any) -> None:
    """List recordings: when, how long, who, from where, and what was run."""
    chosen = r.chosen(**wanted)
    for source in r.watched(r.found(places, config, endpoint)):
        one = _summary(source)
        if chosen.takes(one):
            print(json.dumps(one.as_json(), ensure_ascii=False) if as_json else _row(one))


def _summary(source: Any, key: Any | None = None) -> Summary:
    from moorage.audit.reading.summary import summary

    try:
        return summary(source, key)
    except OSError as error:
        r.fail(f"{source.place}: {error.strerror or error}")


def _row(one: Summary) -> str:
    from moorage.audit.reading.words import duration, moment, safe, size

    who = f"{one.username or '-'}{'' if one.has_logged_in else ' (no login)'}"
    ran = ", ".join(one.programs)
    state = "" if one.state == "complete" else f" [{one.state}]"
    row = (
        f"{moment(one.started)[:19]}Z  {duration(one.ended - one.started):>7}  {one.name[:12]}  {who:<16}  "
        f"{one.address:<15}  {size(one.size):>9}  {ran[:60]}{state}"
    )
    return safe(row)


@command.command(
    "show",
    short_help="Show what a recording holds.",
    epilog="""\b
Examples:
  moorage audit show 5d0c1e7f --config config.yaml
  moorage audit show RECORDING --format json | jq 'select(.kind == "exec")'
  moorage audit show RECORDING --format reference-json""",
)
@r.place_options
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "reference-json"]),
    default="text",
    show_default=True,
    help="reference-json is what ContainerSSH's decoder prints.",
)
@click.option("--channel", type=int, help="Only this channel.")
@click.option("--kind", "kinds", multiple=True, metavar="KIND", help="Only messages of this kind, such as exec.")
@click.option("--names", is_flag=True, help="With reference-json: name kinds 198 and 199 too.")
def show(
    *,
    places: tuple[str, ...],
    config: Path | None,
    endpoint: str,
    form: str,
    channel: int | None,
    kinds: tuple[str, ...],
    names: bool,
) -> None:
    """Show every message of a recording.  Nothing in it can drive the terminal."""
    from moorage.audit.reading import referencejson, showing

    told = r.Told(r.only_one(places, config, endpoint))
    paint = (lambda text, colour: click.style(text, fg=colour)) if r.colours() else showing.unpainted
    started: int | None = None
    for one in told:
        started = one.timestamp if started is None else started
        if channel is not None and one.channel != channel:
            continue
        if kinds and (one.kind is None or one.kind.id not in kinds):
            continue
        if form == "text":
            print(showing.as_text(one, started, paint))
        elif form == "json":
            print(showing.as_json(one))
        else:
            _write(referencejson.line(one, names_all=names) + "\n")
    if form == "reference-json":
        for trouble in told.troubles:
            if not trouble.is_cut:
                _write(referencejson.error(f"failed to decode messages ({trouble})") + "\n")
    raise SystemExit(1 if any(not trouble.is_cut for trouble in told.troubles) else 0)


def _write(text: str) -> None:
    sys.stdout.buffer.write(text.encode("utf-8", "replace"))


@command.command(
    "play",
    short_help="Play a recording in the terminal.",
    epilog="""\b
Examples:
  moorage audit play RECORDING --speed 4 --skip-idle 1
  moorage audit play RECORDING --from 90

\b
Keys: space pauses, + and - change the speed, . shows the next piece, > skips ten seconds, q ends.""",
)
@r.place_options
@click.option("--speed", type=click.FloatRange(0.01, 1000), default=1.0, show_default=True, help="How fast.")
@click.option("--skip-idle", type=click.FloatRange(0), default=0.0, metavar="SECONDS", help="Wait no longer than this.")
@click.option("--from", "start", type=click.FloatRange(0), default=0.0, metavar="SECONDS", help="Begin there.")
@click.option("--channel", type=int, help="Which channel; by default the first terminal.")
def play(
    *,
    places: tuple[str, ...],
    config: Path | None,
    endpoint: str,
    speed: float,
    skip_idle: float,
    start: float,
    channel: int | None,
) -> None:
    """Play what was shown, in its time.  What could make this terminal do more than show is left out."""
    from moorage.audit.reading import playing
    from moorage.audit.reading.exporting import channel_of
    from moorage.cli._keys import keys

    source = r.only_one(places, config, endpoint)
    if channel is None:
        channel = channel_of(r.Told(source))
    output = sys.stdout.buffer

    def write(data: bytes) -> None:
        output.write(data)
        output.flush()

    with keys() as key:
        try:
            playing.play(r.Told(source), channel, playing.Wishes(speed, skip_idle, start), write=write, key=key)
        except KeyboardInterrupt:
            pass
        finally:
            if sys.stdout.isatty():
                write(playing.RESET)


@command.command(
    "export",
    short_help="Write a recording in another format.",
    epilog="""\b
Examples:
  moorage audit export RECORDING > session.cast
  moorage audit export RECORDING --format text -o session.txt""",
)
@r.place_options
@click.option(
    "--format", "form", type=click.Choice(["asciicast", "text", "json"]), default="asciicast", show_default=True
)
@click.option("--channel", type=int, help="Which channel; by default the first terminal. JSON has all of them.")
@click.option(
    "-o", "--output", type=click.File("wb", lazy=True), default="-", help="Where to; by default standard output."
)
def export(
    *, places: tuple[str, ...], config: Path | None, endpoint: str, form: str, channel: int | None, output: Any
) -> None:
    """Write a recording as an asciicast, as the text that was shown, or as JSON."""
    from moorage.audit.reading import exporting, showing

    source = r.only_one(places, config, endpoint)
    if channel is None and form != "json":
        channel = exporting.channel_of(r.Told(source))
    messages = r.Told(source)
    lines = (
        exporting.asciicast(messages, channel)
        if form == "asciicast"
        else exporting.text(messages, channel)
        if form == "text"
        else (showing.as_json(one) + "\n" for one in messages)
    )
    for line in lines:
        output.write(line.encode("utf-8", "replace"))


@command.command(
    "grep",
    short_help="Search what was typed, shown, run and asked for.",
    epilog="""\b
Examples:
  moorage audit grep 'wget|curl' /var/log/audit --since 1d
  moorage audit grep -l -F /etc/shadow --config config.yaml

\b
Exit status: 0 if something was found, 1 if not.""",
)
@click.argument("pattern")
@r.place_options
@r.filter_options
@click.option("-i", "--ignore-case", is_flag=True, help="Upper and lower case are the same.")
@click.option("-F", "--fixed", is_flag=True, help="PATTERN is a text, not a regular expression.")
@click.option("-l", "--names-only", is_flag=True, help="Only the places of recordings that have it.")
def grep(
    *,
    pattern: str,
    places: tuple[str, ...],
    config: Path | None,
    endpoint: str,
    ignore_case: bool,
    fixed: bool,
    names_only: bool,
    **wanted: Any,
) -> None:
    """Search recordings line by line; what is found is shown with its time and where it stood."""
    from moorage.audit.reading.searching import hits
    from moorage.audit.reading.words import moment, safe

    try:
        expression = re.compile(re.escape(pattern) if fixed else pattern, re.IGNORECASE if ignore_case else 0)
    except re.error as error:
        raise click.BadParameter(str(error), param_hint="PATTERN") from error
    chosen = r.chosen(**wanted)
    is_found = False
    for source in r.watched(r.found(places, config, endpoint)):
        if any(wanted.values()) and not chosen.takes(_summary(source)):
            continue
        for hit in hits(r.Told(source), expression):
            is_found = True
            if names_only:
                print(source.place)
                break
            print(f"{source.name[:12]} {moment(hit.message.timestamp)} {hit.where}: {safe(hit.text)}")
    raise SystemExit(0 if is_found else 1)


@command.command(
    "files",
    short_help="List files that went through sessions; extract those that were kept.",
    epilog="""\b
Examples:
  moorage audit files /var/log/audit --since 1d
  moorage audit files RECORDING --kept /var/lib/captured --extract here""",
)
@r.place_options
@r.filter_options
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.option(
    "--kept", type=click.Path(path_type=Path), help="Where the server keeps content (audit.capture.directory)."
)
@click.option("--extract", type=click.Path(path_type=Path), help="Copy what was kept into this directory.")
def files(
    *,
    places: tuple[str, ...],
    config: Path | None,
    endpoint: str,
    as_json: bool,
    kept: Path | None,
    extract: Path | None,
    **wanted: Any,
) -> None:
    """List what was uploaded, downloaded, given to commands, renamed and removed, with hashes.

    Recordings have it with `audit.intercept.files`.
    """
    from moorage.audit.reading.files import extracted, facts
    from moorage.audit.reading.words import moment, safe

    if extract is not None and kept is None:
        r.fail("--extract needs --kept DIRECTORY")
    chosen = r.chosen(**wanted)
    for source in r.watched(r.found(places, config, endpoint)):
        if any(wanted.values()) and not chosen.takes(_summary(source)):
            continue
        for at, fact in facts(r.Told(source)):
            found = {"time": moment(at), "recording": source.name, **fact}
            if extract is not None and kept is not None and fact.get("kept"):
                try:
                    found["extracted"] = str(extracted(fact, kept, extract))
                except OSError as error:
                    r.fail(f"{fact.get('sha256')}: {error.strerror or error}")
            print(json.dumps(found, ensure_ascii=False) if as_json else safe(_file_row(found)))


def _file_row(fact: dict[str, Any]) -> str:
    size = f" {fact['size']} bytes {fact['sha256'] or '(not whole)'}" if "size" in fact else ""
    target = f" -> {fact['target']}" if "target" in fact else ""
    copy = f" {fact['extracted']}" if "extracted" in fact else ""
    result = "" if fact["result"] == "ok" else f" [{fact['result']}]"
    return f"{fact['time']} {fact['recording'][:12]} {fact['operation']:<9} {fact['path']}{target}{size}{result}{copy}"


@command.command(
    "report",
    short_help="Count what strangers have done.",
    epilog="""\b
Examples:
  moorage audit report --config config.yaml --since 1d
  moorage audit report /var/log/honeypot --since 2026-01-01 --until 2026-01-02 --html report.html""",
)
@r.place_options
@r.filter_options
@click.option("--top", type=click.IntRange(1, 10_000), default=20, show_default=True, help="How many of each.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.option(
    "--html", "page", type=click.File("w", encoding="utf-8", lazy=True), help="Write an HTML page to this file."
)
def report(
    *, places: tuple[str, ...], config: Path | None, endpoint: str, top: int, as_json: bool, page: Any, **wanted: Any
) -> None:
    """Count names, passwords, commands, files, client programs and sources over many recordings.

    Passwords are in recordings with `audit.intercept.passwords`, files with `files`, typed commands with `stdin`.
    """
    from moorage.audit.reading.report import Report

    chosen = r.chosen(**wanted)
    found = Report()
    for source in r.watched(r.found(places, config, endpoint)):
        if not any(wanted.values()) or chosen.takes(_summary(source)):
            found.add(r.Told(source))
    if page is not None:
        page.write(found.as_html(top))
    else:
        print(json.dumps(found.as_json(top), ensure_ascii=False) if as_json else found.as_text(top))


@command.command(
    "verify",
    short_help="Say whether recordings are whole.",
    epilog="""\b
Examples:
  moorage audit verify /var/log/audit
  moorage audit verify --config config.yaml --json | jq 'select(.state != "complete")'

\b
Exit status: 0 if all are complete, or open; 1 if one was recovered, is cut, has gaps, is damaged or altered.""",
)
@r.place_options
@click.option(
    "--key",
    "key_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The public key (PEM, or a .pub file of ssh-keygen) by which every recording must be signed.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def verify(
    *, places: tuple[str, ...], config: Path | None, endpoint: str, key_file: Path | None, as_json: bool
) -> None:
    """Read recordings to their end and say whether they are whole, and if not, what they are."""
    from moorage.audit.chain import public_key

    try:
        key = public_key(key_file.read_text()) if key_file is not None else None
    except (OSError, ValueError) as error:
        r.fail(f"{key_file}: {error}")
    is_good = True
    for source in r.watched(r.found(places, config, endpoint)):
        one = _summary(source, key)
        is_good = is_good and one.state in {"complete", "open"}
        if as_json:
            found = {"name": one.name, "place": one.place, "state": one.state, "messages": one.messages}
            found |= {"sealed": one.is_sealed, "signed": one.is_signed, "altered": one.altered}
            print(json.dumps({**found, "troubles": [str(trouble) for trouble in one.troubles]}, ensure_ascii=False))
        else:
            seal = "signed" if one.is_signed else "sealed" if one.is_sealed else "without a seal"
            print(f"{one.place}: {one.state}, {one.messages} messages, {seal}")
            if one.altered:
                print(f"  {one.altered}")
            for trouble in one.troubles:
                print(f"  {trouble}")
    raise SystemExit(0 if is_good else 1)
