"""What a recording is, in a few words: who, from where, when, what, and whether it is whole."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address
from itertools import chain
from typing import Any, Final

from moorage.audit.chain import Proof
from moorage.audit.entries import GAP
from moorage.audit.kinds import STDIN
from moorage.audit.reading.source import Source
from moorage.audit.reading.words import decoded, jsonable, moment
from moorage.audit.recording import Message, Trouble, read

_MOST_PROGRAMS: Final = 32


class State(enum.StrEnum):
    """Whether a recording is whole."""

    COMPLETE = "complete"
    OPEN = "open"
    """It is being written, or its server was killed and has not been started again."""
    CUT = "cut"
    """Its end is missing, and nobody has closed it as such."""
    RECOVERED = "recovered"
    """Its server was killed; the next has found it and closed it where it is cut."""
    GAPS = "gaps"
    """Messages are missing, and the recording says so."""
    DAMAGED = "damaged"
    UNPROVED = "unproved"
    """An asciicast: nothing in it shows whether it is whole."""
    ALTERED = "altered"
    """It is not as it was written, or not signed by the key that it should be."""


@dataclass(slots=True)
class Summary:
    """One recording."""

    name: str
    place: str
    size: int
    state: State = State.CUT
    connection_id: str = ""
    started: int = 0
    ended: int = 0
    address: str = ""
    country: str = ""
    username: str = ""
    """Of the login, or else of the last attempt."""
    has_logged_in: bool = False
    attempts: int = 0
    programs: list[str] = field(default_factory=list)
    bytes_in: int = 0
    bytes_out: int = 0
    messages: int = 0
    troubles: list[Trouble] = field(default_factory=list)
    is_sealed: bool = False
    """It has its last message: a seal, or of a recording that was recovered what stands there in its place."""
    is_signed: bool = False
    altered: str = ""

    def as_json(self) -> dict[str, Any]:
        """For ``--json``."""
        found: dict[str, Any] = jsonable(asdict(self))
        found["started"], found["ended"] = moment(self.started), moment(self.ended)
        found["troubles"] = [str(trouble) for trouble in self.troubles]
        return found


def summary(source: Source, key: Any | None = None) -> Summary:
    """What `source` is.  Raises `OSError` if it cannot be read at all.

    With an Ed25519 public `key` it is to be signed by that.
    """
    proof = Proof(key)
    found = Summary(source.name, source.place, source.size)
    has_gap = is_over = False
    pieces = source.pieces()
    first = next(pieces, b"")
    is_cast = first[:1] == b"{"
    for one in read(chain([first], pieces), proof.raw):
        if isinstance(one, Trouble):
            if len(found.troubles) < _MOST_PROGRAMS:
                found.troubles.append(one)
            continue
        found.messages += 1
        found.started = found.started or one.timestamp
        found.ended = max(found.ended, one.timestamp)
        proof.of(one)
        is_over = one.number == 1 or (is_over and proof.is_sealed)
        has_gap = has_gap or (one.number == 200 and one.payload["requestType"] == GAP)
        _note(found, one)
    found.is_sealed, found.is_signed, found.altered = proof.is_sealed or proof.is_cut, proof.is_signed, proof.wrong
    found.state = (
        State.ALTERED
        if proof.wrong
        else State.DAMAGED
        if any(not trouble.is_cut for trouble in found.troubles)
        else State.OPEN
        if source.is_open
        else State.UNPROVED
        if is_cast
        else State.RECOVERED
        if proof.is_cut
        else State.CUT
        if found.troubles or not is_over or (key is not None and not proof.is_sealed)
        else State.GAPS
        if has_gap
        else State.COMPLETE
    )
    return found


def _note(found: Summary, message: Message) -> None:
    payload = message.payload
    found.connection_id = found.connection_id or message.connection_id
    match message.number:
        case 0:
            found.address, found.country = payload["remoteAddr"], payload["country"]
        case 100 | 104 | 108:
            found.attempts += 1
            if not found.has_logged_in:
                found.username = payload["username"]
        case 199:
            found.has_logged_in = True
            found.username = payload["username"] or found.username
        case 500:
            data = payload["data"] or b""
            if payload["stream"] == STDIN:
                found.bytes_in += len(data)
            else:
                found.bytes_out += len(data)
        case 403 | 405 | 407 if len(found.programs) < _MOST_PROGRAMS:
            found.programs.append(payload.get("program") or payload.get("subsystem") or "(shell)")
        case _:
            pass


@dataclass(frozen=True, slots=True)
class Filter:
    """Which recordings are meant; what is empty says nothing."""

    username: str = ""
    network: IPv4Network | IPv6Network | None = None
    since: int = 0
    until: int = 0
    only_logins: bool = False

    def takes(self, one: Summary) -> bool:
        """Is this one meant?"""
        if self.username and self.username != one.username:
            return False
        if self.network is not None and not _is_in(one.address, self.network):
            return False
        if (self.since and one.ended < self.since) or (self.until and one.started > self.until):
            return False
        return one.has_logged_in or not self.only_logins


def _is_in(address: str, network: IPv4Network | IPv6Network) -> bool:
    try:
        return ip_address(address) in network
    except ValueError:
        return False


class Lines:
    """What was typed and shown, line by line."""

    def __init__(self) -> None:
        self._begun: dict[tuple[int | None, int], tuple[Message, bytes]] = {}

    def of(self, message: Message) -> Iterator[tuple[Message, int, str]]:
        """The lines that `message` (of kind 500) completes: the message, its stream, and the line."""
        stream = message.payload["stream"]
        key = (message.channel, stream)
        _, before = self._begun.pop(key, (message, b""))
        *whole, rest = (before + (message.payload["data"] or b"")).replace(b"\r", b"\n").split(b"\n")
        if rest:
            self._begun[key] = (message, rest[-_LONGEST_LINE:])
        if len(self._begun) > _MOST_STREAMS:
            del self._begun[next(iter(self._begun))]
        for line in whole:
            if line:
                yield message, stream, decoded(line[:_LONGEST_LINE])

    def rest(self) -> Iterator[tuple[Message, int, str]]:
        """The lines that nothing has completed."""
        for (_, stream), (message, line) in self._begun.items():
            yield message, stream, decoded(line)


_LONGEST_LINE: Final = 64 * 1024
_MOST_STREAMS: Final = 1024
