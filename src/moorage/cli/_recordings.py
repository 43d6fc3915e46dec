"""What the commands on recordings share: places, filters, progress, colours, and a quiet end."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click

if TYPE_CHECKING:
    from moorage.audit.reading.source import Source
    from moorage.audit.reading.summary import Filter
    from moorage.audit.recording import Message, Trouble

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_SILENT: Final = 1.0
"""Seconds of work before there is a word about it."""


class Moment(click.ParamType[int]):
    """A time: RFC 3339, a date, or how long ago (``2h``, ``3d``); in nanoseconds since the epoch."""

    name = "TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        if ago := re.fullmatch(r"(\d{1,6})([smhdw])", value):
            at = datetime.now(UTC) - timedelta(seconds=int(ago[1]) * _UNITS[ago[2]])
        else:
            try:
                at = datetime.fromisoformat(value)
            except ValueError:
                self.fail("write 2026-01-31, 2026-01-31T12:00:00Z, or how long ago: 30m, 2h, 3d", param, ctx)
        return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1_000_000_000)


class Network(click.ParamType[IPv4Network | IPv6Network]):
    """An address or a network."""

    name = "ADDRESS"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> IPv4Network | IPv6Network:
        try:
            return ip_network(value, strict=False)
        except ValueError:
            self.fail("write an address, or a network such as 192.0.2.0/24", param, ctx)


_IDENTITIES: Final = "moorage.identities"


def _noted(context: click.Context, _: click.Parameter, files: tuple[Path, ...]) -> None:
    context.meta[_IDENTITIES] = files


_PLACE_OPTIONS: Final = (
    click.argument("places", nargs=-1, metavar="[PLACE]..."),
    click.option("--config", "config", type=click.Path(path_type=Path), help="The server's configuration: without a"
                 " PLACE, recordings are where it stores them, and its access to s3:// is used."),
    click.option("--endpoint", default="", metavar="URL", help="The address of an S3 server other than Amazon's."),
    click.option("--identity", type=click.Path(path_type=Path), multiple=True, expose_value=False, callback=_noted,
                 metavar="FILE", help="A key that opens encrypted recordings: of age, or an SSH private key."),
)  # fmt: skip
_FILTER_OPTIONS: Final = (
    click.option("--user", "username", default="", metavar="NAME", help="Only this user's."),
    click.option("--address", "network", type=Network(), help="Only from this address or network."),
    click.option("--since", type=Moment(), default=0, help="Only what went on after TIME (2026-01-31, 2h, 3d)."),
    click.option("--until", type=Moment(), default=0, help="Only what went on before TIME."),
    click.option("--logins", "only_logins", is_flag=True, help="Only connections that have logged in."),
)


def _with(options: Iterable[Callable[..., Any]]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(tuple(options)):
            command = option(command)
        return command

    return add


place_options = _with(_PLACE_OPTIONS)
"""The argument `places` and the options that say how they are reached."""

filter_options = _with(_FILTER_OPTIONS)
"""Which recordings are meant."""


def fail(text: str) -> NoReturn:
    """End with a sentence and status 1."""
    print(f"moorage: {text}", file=sys.stderr)
    raise SystemExit(1)


def end_quietly() -> None:
    """A reader that goes away, such as ``head``, ends the command without a word, as it does everywhere."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)


def found(places: tuple[str, ...], config: Path | None, endpoint: str) -> list[Source]:
    """The recordings that are meant; ends the process where there is no such place."""
    from moorage.audit.encryption import identities
    from moorage.audit.reading.source import S3Access, sources
    from moorage.errors import ConfigError

    access = S3Access(endpoint=endpoint)
    if config is not None or not places:
        from moorage.cli._loading import loaded

        path = config or Path("config.yaml")
        if config is None and not path.exists():
            fail("name a recording, a directory of them or s3://BUCKET, or the server's configuration by --config")
        audit = loaded(path, look_at_files=False, built_only=False).config.audit
        s3 = audit.s3
        access = S3Access(
            endpoint=endpoint or s3.endpoint,
            region=s3.region,
            access_key=s3.access_key,
            credentials=(s3.credentials_file, s3.profile) if s3.credentials_file else None,
            secret_key=s3.secret_key.get_secret_value(),
            is_path_style=s3.path_style_access,
            ca=s3.cacert,
        )
        places = places or ((f"s3://{s3.bucket}",) if audit.storage == "s3" else (audit.file.directory,))
    files: tuple[Path, ...] = click.get_current_context().meta.get(_IDENTITIES, ())
    try:
        return list(sources(places, access, [one for file in files for one in identities(file)]))
    except ConfigError as error:
        fail(str(error))


def only_one(places: tuple[str, ...], config: Path | None, endpoint: str) -> Source:
    """The one recording that is meant; a connection's id, or its beginning, is looked up where the server stores."""
    from moorage.audit.reading.source import S3

    if len(places) != 1:
        fail("name one recording")
    [place] = places
    if Path(place).is_file() or (place.startswith(S3) and config is None):
        every = found(places, None, endpoint)
    else:
        every = [one for one in found((), config, endpoint) if one.name.startswith(place)]
    if len(every) != 1:
        fail(
            f"{place}: {'there is no such recording' if not every else f'this is the beginning of {len(every)} names'}"
        )
    return every[0]


def watched(every: list[Source]) -> Iterator[Source]:
    """Each of `every`, with word of how far it is on a terminal where it takes a while."""
    started = time.monotonic()
    is_told = False
    for number, one in enumerate(every):
        if sys.stderr.isatty() and time.monotonic() - started > _SILENT:
            is_told = True
            print(f"\r{number} of {len(every)} recordings\x1b[K", end="", file=sys.stderr, flush=True)
        yield one
    if is_told:
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def chosen(**wanted: Any) -> Filter:
    """The filter that the options of `filter_options` say."""
    from moorage.audit.reading.summary import Filter

    return Filter(**wanted)


class Told:
    """Messages of one recording; what is wrong with it goes to standard error."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.troubles: list[Trouble] = []

    def __iter__(self) -> Iterator[Message]:
        from moorage.audit.recording import Trouble, read

        try:
            for one in read(self.source.pieces()):
                if isinstance(one, Trouble):
                    self.troubles.append(one)
                    print(f"{self.source.name}: {one}", file=sys.stderr)
                else:
                    yield one
        except OSError as error:
            fail(f"{self.source.place}: {error.strerror or error}")


def colours() -> bool:
    """Are colours wanted: on a terminal, and not if NO_COLOR says no?"""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")
