"""Events as log lines, with the codes that operators filter on."""

from __future__ import annotations

import base64
import hashlib

import structlog

from moorage.codes import Code
from moorage.gateway import events
from moorage.gateway.model import Address, AgentSocket, ConnectionId, ListenSpec, TcpTarget, UnixTarget, X11Display


def log_events(connection_id: ConnectionId, peer: Address) -> events.Listener:
    """A listener that writes the life of one connection to the log; every line from the login on names the user."""
    log = structlog.get_logger().bind(connectionId=connection_id, remoteAddr=peer.host)

    def heard(event: events.Event) -> None:
        nonlocal log
        match event:
            case events.ConnectionOpened():
                log.debug("A client has connected", code=Code.SSH_CONNECTED)
            case events.ClientIdentified():
                log.info(
                    "The client has said what it is",
                    code=Code.SSH_CLIENT_IDENTIFIED,
                    version=event.version,
                    hassh=event.hassh,
                )
            case events.ConnectionRefused():
                log.info("A connection was refused", code=Code.SSH_LIMIT_REACHED, reason=event.reason)
            case events.SourcePenalised():
                log.info(
                    "A source is refused for a while",
                    code=Code.SSH_SOURCE_PENALISED,
                    reason=event.reason,
                    seconds=round(event.seconds),
                )
            case events.AuthAttempted(success=True, further=(_, *_)):
                log.info(
                    "The user has passed one factor",
                    code=Code.SSH_AUTH_PARTIAL,
                    username=event.attempt.username,
                    method=event.method,
                    further=", ".join(event.further),
                )
            case events.AuthAttempted(success=True):
                log = log.bind(username=event.attempt.username)
                log.info("The user has authenticated", code=Code.SSH_AUTH_SUCCESSFUL, method=event.method)
            case events.AuthAttempted():
                log.info(
                    "An authentication attempt was refused",
                    code=Code.SSH_AUTH_FAILED if event.available else Code.SSH_AUTH_UNAVAILABLE,
                    username=event.attempt.username,
                    method=event.method,
                    reason=event.reason,
                    **({"key": key_fingerprint(event.key)} if event.key else {}),
                )
            case events.HandshakeFailed():
                log.info("The connection ended before a login", code=Code.SSH_HANDSHAKE_FAILED, reason=event.reason)
            case events.LoginAccepted():
                log.debug(
                    "The login is accepted",
                    code=Code.SSH_HANDSHAKE_SUCCESSFUL,
                    authenticatedUsername=event.login.authenticated_username,
                    backend=event.login.config.backend,
                )
            case events.GuestOpened():
                log.info("The guest is open", code=Code.GUEST_OPEN, backend=event.backend, seconds=event.seconds)
            case events.SessionOpened():
                log.debug("A session was opened", code=Code.SSH_NEW_CHANNEL, channelId=event.channel, type="session")
            case events.RequestDecided():
                log.debug(
                    "A channel request was granted" if event.granted else "A channel request was refused",
                    code=Code.SSH_CHANNEL_REQUEST_SUCCESSFUL if event.granted else Code.SSH_CHANNEL_REQUEST_FAILED,
                    channelId=event.channel,
                    type=event.request,
                    reason=event.reason,
                )
            case events.ProgramExited():
                status = event.status
                log.debug(
                    "The program has ended",
                    code=Code.SSH_EXIT_SIGNAL if status is not None and status.signal else Code.SSH_EXIT,
                    channelId=event.channel,
                    exitCode=None if status is None else status.code,
                    signal=None if status is None else status.signal,
                )
            case events.ForwardOpened():
                log.debug(
                    "A connection is forwarded",
                    code=Code.SSH_FORWARD_OPENED,
                    forwardId=event.forward,
                    listenerId=event.listener,
                    target=shown(event.target),
                    peer=str(event.peer or ""),
                )
            case events.ForwardClosed():
                log.debug(
                    "A forwarded connection is closed",
                    code=Code.SSH_FORWARD_CLOSED,
                    forwardId=event.forward,
                    sent=event.sent,
                    received=event.received,
                )
            case events.ForwardRefused():
                log.debug(
                    "A connection was not forwarded", code=event.code, target=shown(event.target), reason=event.reason
                )
            case events.ListenerOpened():
                log.debug(
                    "The guest listens for the client",
                    code=Code.SSH_LISTENER_OPENED,
                    listenerId=event.listener,
                    target=shown(event.spec),
                    port=event.port,
                )
            case events.ListenerRefused():
                log.debug(
                    "The guest does not listen for the client",
                    code=event.code,
                    target=shown(event.spec),
                    reason=event.reason,
                )
            case events.ListenerClosed():
                log.debug("The guest listens no more", code=Code.SSH_LISTENER_CLOSED, listenerId=event.listener)
            case events.TimeLimitReached():
                log.info("The login's time is over", code=Code.SSH_TIME_LIMIT, reason=event.reason)
            case events.ConnectionClosed():
                log.debug("The connection is closed", code=Code.SSH_DISCONNECTED, reason=event.reason)
            case _:
                pass

    return heard


def key_fingerprint(key: str) -> str:
    """The SHA-256 fingerprint of an authorized_keys line, as OpenSSH writes it."""
    try:
        blob = base64.b64decode(key.split(" ")[1], validate=True)
    except (IndexError, ValueError):
        return ""
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def shown(spec: ListenSpec) -> str:
    """Where something connects to or listens, for people."""
    match spec:
        case TcpTarget(host, port):
            return f"{host}:{port}"
        case UnixTarget(path):
            return path.decode("utf-8", "backslashreplace")
        case X11Display():
            return "X11"
        case AgentSocket():
            return "ssh-agent"
