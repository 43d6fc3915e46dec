"""The kinds of events that are told, and what stands in each; ``docs/reference/events.md`` is written from here."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of event: its name, when it is told, and the fields that it has besides `COMMON`."""

    name: str
    what: str
    fields: Mapping[str, str] = field(default_factory=dict)

    @property
    def group(self) -> str:
        """What its name begins with."""
        return self.name.partition(".")[0]


COMMON: Final = {
    "time": "when it happened, RFC 3339 in UTC with milliseconds",
    "event": "its name",
    "id": "its own, the same if it is sent twice: the connection, a dash, a number that grows",
    "connectionId": "the connection; the same as in the log and in recordings",
    "remoteAddr": "the client's address",
    "remotePort": "the client's port",
    "country": "the ISO code of the client's country, `XX` where it is not known",
    "username": "the user; from the login on, and in what belongs to an attempt to log in",
}

_REASON: Final = {"reason": "why, for operators"}
_CHANNEL: Final = {"channel": "the session's number on its connection"}
_FORWARD: Final = {"forward": "the forwarded connection's number on its connection"}
_TARGET: Final = {"target": "`HOST:PORT`, the path of a unix socket, `X11` or `ssh-agent`"}
_PEER: Final = {"peer": "who has connected, by the word of the client or of the guest"}
_LISTENER: Final = {"listener": "the listener's number on its connection"}
_ATTEMPT: Final = {
    "method": "the SSH method (RFC 4252)",
    "key": "the SHA-256 fingerprint of the key that was offered",
    "password": "the password, where both the recording and the sink have it",
}
_CODE: Final = {"code": "the code of the message in the log"}
_BACKEND: Final = {"backend": "what provides the guest, such as `docker`"}
_REQUEST: Final = {
    "request": "its name (RFC 4254)",
    "detail": "the command, subsystem, signal, or the name of the variable",
}

KINDS: Final = (
    Kind("connection.opened", "A client has connected."),
    Kind("connection.refused", "A limit or a penalty has turned a client away; its only event.", _REASON),
    Kind(
        "connection.identified",
        "The client's program has said what it is.",
        {
            "version": "its identification line (RFC 4253 §4.2)",
            "hassh": "a hash of its algorithms, the same for the same program and settings",
            "algorithms": "what the hash is of",
        },
    ),
    Kind(
        "connection.penalised",
        "The client's address is refused for a while.",
        {**_REASON, "seconds": "for how long"},
    ),
    Kind("connection.failed", "The connection ended before a login.", _REASON),
    Kind("connection.expired", "The login's time is over and the connection is being ended.", _REASON),
    Kind(
        "connection.closed",
        "The connection is gone and so is its guest.",
        {**_REASON, "seconds": "how long it was open"},
    ),
    Kind("auth.succeeded", "The user has authenticated.", _ATTEMPT),
    Kind(
        "auth.partial",
        "The user has passed one factor and needs another.",
        {**_ATTEMPT, "further": "a list: the methods that may come next"},
    ),
    Kind("auth.failed", "An attempt was refused.", {**_ATTEMPT, **_REASON}),
    Kind("auth.unavailable", "Nobody could judge an attempt.", {**_ATTEMPT, **_REASON}),
    Kind(
        "auth.answered",
        "The user has answered questions (RFC 4256).",
        {"questions": "a list of their texts", "answers": "a list, where both the recording and the sink have them"},
    ),
    Kind(
        "login.accepted",
        "Authentication, authorisation and configuration are settled; the guest is being opened.",
        {**_BACKEND, "authenticatedUsername": "the name that was proved, where it is another"},
    ),
    Kind("guest.opened", "The guest is ready.", {**_BACKEND, "seconds": "how long that took"}),
    Kind("guest.failed", "The guest could not be opened.", {**_BACKEND, **_REASON}),
    Kind("session.opened", "A session channel was accepted.", _CHANNEL),
    Kind("session.closed", "A session channel is closed.", _CHANNEL),
    Kind("request.granted", "A request of a session was granted.", {**_CHANNEL, **_REQUEST}),
    Kind("request.refused", "A request of a session was refused.", {**_CHANNEL, **_REQUEST, **_REASON}),
    Kind(
        "request.unknown",
        "A request that nobody knows, or that is malformed, was refused.",
        {"channel": "the session's number; none for a global request", "request": "its name", **_REASON},
    ),
    Kind(
        "program.started",
        "A program runs.",
        {
            **_CHANNEL,
            "kind": "`shell`, `exec` or `subsystem`",
            "command": "what was started, after policy",
            "terminal": "true if it has one",
        },
    ),
    Kind(
        "program.exited",
        "A program has ended and all its output was delivered.",
        {
            **_CHANNEL,
            "exitCode": "its status; none after a signal",
            "signal": "the signal that ended it",
            "lost": "true if its guest was lost first",
        },
    ),
    Kind(
        "forward.opened",
        "A connection is forwarded.",
        {**_FORWARD, **_TARGET, **_LISTENER, **_PEER},
    ),
    Kind(
        "forward.closed",
        "A forwarded connection has ended.",
        {**_FORWARD, "sent": "bytes that went to the guest", "received": "bytes that came from it"},
    ),
    Kind("forward.refused", "A connection was asked for and there is none.", {**_TARGET, **_PEER, **_CODE, **_REASON}),
    Kind(
        "listener.opened",
        "The guest listens on behalf of the client.",
        {**_LISTENER, **_TARGET, "port": "the port that is bound, for TCP"},
    ),
    Kind("listener.refused", "A listener was asked for and there is none.", {**_TARGET, **_CODE, **_REASON}),
    Kind("listener.closed", "A listener accepts no more.", _LISTENER),
    Kind(
        "file.seen",
        "Something was done with a file by SFTP or scp, or a command was given something to read. Needs recordings "
        "with `audit.intercept.files`.",
        {
            "channel": "the channel's number in the recording",
            "operation": "`upload`, `download`, `stdin`, `remove`, `rename`, `link`, `symlink`, `mkdir`, `rmdir`, "
            "`chmod` or `unknown`",
            "path": "its path, or the command that has read it",
            "target": "the other path, of `rename`, `link` and `symlink`",
            "mode": "its permissions, four octal digits",
            "size": "its bytes, of `upload`, `download` and `stdin`",
            "sha256": "of its content, where all of it went by",
            "kept": "true if the content was kept (`audit.capture`)",
            "result": "`ok`, or what went wrong",
        },
    ),
    Kind(
        "events.lost",
        "Events are missing here: this sink could not take them and there was no more room. Belongs to no connection.",
        {"count": "how many"},
    ),
)
"""All kinds, in the order in which they are shown."""

BY_NAME: Final = {kind.name: kind for kind in KINDS}

_HEAD: Final = """\
# Events

<!-- Written by `python -m moorage.audit.stream.kinds > docs/reference/events.md`; a test compares. -->

What `audit.events` tells, one JSON object each; the guide to [recordings](../guides/audit.md) says how they are sent.
A field that has nothing to say is left out. Further kinds and fields may come with any release; none changes its
meaning. Texts are cut after 8,192 characters and then end in `…`.

## Every event

| field | what |
|---|---|
"""


def reference() -> str:
    """The reference page."""
    return _HEAD + "".join(_table(COMMON)) + "".join(_section(kind) for kind in KINDS)


def _section(kind: Kind) -> str:
    text = f"\n## `{kind.name}`\n\n{kind.what}\n"
    if kind.fields:
        text += "\n| field | what |\n|---|---|\n" + "".join(_table(kind.fields))
    return text


def _table(fields: Mapping[str, str]) -> Iterator[str]:
    for name, what in fields.items():
        yield f"| `{name}` | {what} |\n"


if __name__ == "__main__":
    sys.stdout.write(reference())
