"""What strangers have done: the most frequent names, passwords, commands, files and sources of many recordings."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from moorage.audit.entries import CLIENT
from moorage.audit.kinds import STDIN
from moorage.audit.reading.files import facts
from moorage.audit.reading.summary import Lines
from moorage.audit.reading.words import decoded, jsonable, moment, plain, safe
from moorage.audit.recording import Message

_LONGEST: Final = 200
"""Characters of one value that are told apart."""

_MOST: Final = 100_000
"""Different values that are counted; rarer ones are dropped when there are more."""


class Count(Counter[str]):
    """How often each value was seen, in bounded memory."""

    def note(self, value: str) -> None:
        """One more."""
        self[value[:_LONGEST]] += 1
        if len(self) > _MOST:
            for rare, _ in self.most_common()[_MOST // 2 :]:
                del self[rare]


@dataclass(slots=True)
class Report:
    """Numbers of all recordings that were added."""

    connections: int = 0
    logins: int = 0
    attempts: int = 0
    first: int = 0
    last: int = 0
    sources: Count = field(default_factory=Count)
    countries: Count = field(default_factory=Count)
    names: Count = field(default_factory=Count)
    passwords: Count = field(default_factory=Count)
    credentials: Count = field(default_factory=Count)
    commands: Count = field(default_factory=Count)
    files: Count = field(default_factory=Count)
    clients: Count = field(default_factory=Count)
    hasshes: Count = field(default_factory=Count)
    keys: Count = field(default_factory=Count)
    tunnels: Count = field(default_factory=Count)
    hours: Count = field(default_factory=Count)

    def add(self, messages: Iterable[Message]) -> None:
        """One recording."""
        every = _Seen(self)
        has_any = False
        for message in messages:
            has_any = True
            self.first = min(self.first or message.timestamp, message.timestamp)
            self.last = max(self.last, message.timestamp)
            every.note(message)
        every.end()
        self.connections += has_any

    def sections(self) -> Iterator[tuple[str, Count]]:
        """The tables, with their titles."""
        yield "Sources", self.sources
        yield "Countries", self.countries
        yield "User names", self.names
        yield "Passwords", self.passwords
        yield "User names and passwords", self.credentials
        yield "Commands", self.commands
        yield "Files", self.files
        yield "Tunnels asked for", self.tunnels
        yield "Client programs", self.clients
        yield "Client fingerprints (HASSH)", self.hasshes
        yield "Public keys", self.keys

    def as_json(self, top: int) -> dict[str, Any]:
        """For ``--json``."""
        tables = {
            title: [{"value": jsonable(value), "count": count} for value, count in counted.most_common(top)]
            for title, counted in self.sections()
        }
        return {**self._head(), "hours": dict(sorted(self.hours.items())), "top": tables}

    def _head(self) -> dict[str, Any]:
        return {
            "from": moment(self.first),
            "to": moment(self.last),
            "connections": self.connections,
            "logins": self.logins,
            "attempts": self.attempts,
        }

    def as_text(self, top: int) -> str:
        """For a terminal or a mail."""
        lines = [
            f"{moment(self.first)[:19]}Z to {moment(self.last)[:19]}Z",
            f"{self.connections} connections, {self.attempts} attempts to log in, {self.logins} logins",
        ]
        for title, counted in self.sections():
            if counted:
                lines += ["", f"{title} ({len(counted)})"]
                lines += [f"{count:>8}  {safe(value)}" for value, count in counted.most_common(top)]
        return "\n".join(lines)

    def as_html(self, top: int) -> str:
        """One page without anything from elsewhere."""
        tables = "".join(
            f"<section><h2>{_escaped(title)} <small>{len(counted)}</small></h2>{_bars(counted, top)}</section>"
            for title, counted in self.sections()
            if counted
        )
        head = self._head()
        facts_ = "".join(f"<div><b>{_escaped(str(value))}</b>{_escaped(name)}</div>" for name, value in head.items())
        return _PAGE.format(facts=facts_, hours=_hours(self.hours), tables=tables)


class _Seen:
    """What one recording adds."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._lines = Lines()
        self._terminals: set[int | None] = set()

    def note(self, message: Message) -> None:
        report, payload = self._report, message.payload
        match message.number:
            case 0:
                report.sources.note(payload["remoteAddr"])
                report.countries.note(payload["country"])
                report.hours.note(moment(message.timestamp)[:13])
            case 100:
                report.attempts += 1
                report.names.note(payload["username"])
                self._password(payload["username"], decoded(payload["password"] or b""))
            case 104:
                report.attempts += 1
                report.names.note(payload["username"])
                report.keys.note(payload["key"])
            case 109:
                report.attempts += 1
                report.names.note(payload["username"])
                for one in payload["answers"] or ():
                    if isinstance(one, dict) and "password" in str(one.get("question", "")).lower():
                        self._password(payload["username"], str(one.get("answer", "")))
            case 199:
                report.logins += 1
            case 200 if payload["requestType"] == CLIENT:
                report.clients.note(str(message.extra.get("version", "")))
                report.hasshes.note(str(message.extra.get("hassh", "")))
            case 403:
                report.commands.note(payload["program"])
            case 404:
                self._terminals.add(message.channel)
            case 500 if payload["stream"] == STDIN and message.channel in self._terminals:
                for _, _, line in self._lines.of(message):
                    self._typed(line)
            case 303:
                report.tunnels.note(f"{payload['HostToConnect']}:{payload['PortToConnect']}")
            case 400:
                for _, fact in facts([message]):
                    if fact.get("sha256") and fact["operation"] in {"upload", "stdin"}:
                        report.files.note(f"{fact['sha256']} {fact['path']}")
            case _:
                pass

    def end(self) -> None:
        for _, _, line in self._lines.rest():
            self._typed(line)

    def _password(self, name: str, password: str) -> None:
        if password:
            self._report.passwords.note(password)
            self._report.credentials.note(f"{name}:{password}")

    def _typed(self, line: str) -> None:
        shown = decoded(plain(line.encode("utf-8", "surrogateescape"))).strip()
        if shown:
            self._report.commands.note(shown)


def _escaped(text: str) -> str:
    return html.escape(safe(text))


def _bars(counted: Count, top: int) -> str:
    best = counted.most_common(top)
    most = best[0][1]
    rows = "".join(
        f'<tr><td class="n">{count}</td><td><svg width="120" height="12" role="img" aria-label="{count}">'
        f'<rect width="{max(1, round(120 * count / most))}" height="12" rx="2"/></svg></td>'
        f"<td><code>{_escaped(value)}</code></td></tr>"
        for value, count in best
    )
    return f"<table>{rows}</table>"


def _hours(hours: Count) -> str:
    """Connections by hour, as one drawing."""
    names = sorted(hours)[-168:]
    if not names:
        return ""
    most = max(hours[name] for name in names)
    bars = "".join(
        f'<rect x="{index * 12}" y="{100 - round(96 * hours[name] / most)}" width="10" '
        f'height="{round(96 * hours[name] / most)}"><title>{_escaped(name)}:00 {hours[name]}</title></rect>'
        for index, name in enumerate(names)
    )
    return f'<svg class="hours" viewBox="0 0 {len(names) * 12} 100" width="{len(names) * 12}" height="100">{bars}</svg>'


_PAGE: Final = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>What strangers have done</title>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; color: #1c2530 }}
h1 {{ font-weight: 600 }} h2 {{ font-size: 1.05rem; margin: 2rem 0 .5rem }} small {{ color: #667; font-weight: 400 }}
.facts {{ display: flex; flex-wrap: wrap; gap: 1rem 2.5rem }} .facts b {{ display: block; font-size: 1.25rem }}
.facts div {{ color: #667 }} .facts b {{ color: #1c2530 }}
table {{ border-collapse: collapse }} td {{ padding: .1rem .6rem .1rem 0; vertical-align: middle }}
.n {{ text-align: right; font-variant-numeric: tabular-nums }} code {{ overflow-wrap: anywhere }}
svg rect {{ fill: #2f6f9f }} .hours {{ max-width: 100%; margin-top: 1.5rem }}
</style>
<h1>What strangers have done</h1><div class="facts">{facts}</div>{hours}{tables}</html>
"""
