"""Do with libssh2, through ssh2-python, what driving.py describes."""

import socket
import sys

from ssh2.session import Session  # type: ignore[import-not-found, unused-ignore]
from ssh2.sftp import (  # type: ignore[import-not-found, unused-ignore]
    LIBSSH2_FXF_CREAT,
    LIBSSH2_FXF_READ,
    LIBSSH2_FXF_WRITE,
)
from ssh2.utils import version  # type: ignore[import-not-found, unused-ignore]

port, user, kind, secret, up, down = sys.argv[1:]


def tell(name: str, value: object) -> None:
    """One fact for the test."""
    sys.stdout.write(f"{name}={value}\n")
    sys.stdout.flush()


def run(command: str, given: bytes = b"", source: str = "", target: str = "") -> tuple[bytes, bytes, int]:
    """One command: its output, its errors and its status."""
    channel = session.open_session()
    channel.execute(command)
    channel.write(given)
    if source:
        with open(source, "rb") as reading:
            while piece := reading.read(1 << 18):
                channel.write(piece)
    channel.send_eof()
    output = read(channel, target)
    errors = bytearray()
    while (got := channel.read_stderr(1 << 16))[0] > 0:
        errors += got[1]
    channel.wait_eof()
    channel.close()
    channel.wait_closed()
    return output, bytes(errors), channel.get_exit_status()


def read(channel: object, target: str = "") -> bytes:
    """All output of a channel; into a file, if one is named."""
    output = bytearray()
    with open(target or "/dev/null", "wb") as writing:
        while (got := channel.read(1 << 18))[0] > 0:  # type: ignore[attr-defined]
            writing.write(got[1])
            if not target:
                output += got[1]
    return bytes(output)


connection = socket.create_connection(("127.0.0.1", int(port)))
session = Session()
session.handshake(connection)
if kind == "password":
    session.userauth_password(user, secret)
else:
    session.userauth_publickey_fromfile(user, secret)

tell("version", version().decode())
output, errors, status = run("echo out; echo err >&2; exit 7")
tell("output", output.decode().strip())
tell("errors", errors.decode().strip())
tell("status", status)

if kind == "key":
    tell("counted", run("wc -c", b"12345")[0].decode().strip())

    shell = session.open_session()
    shell.pty("xterm")
    shell.shell()
    # The binding has no way to name a size with the request, so the guest is told here.
    shell.write(b"stty rows 31 cols 93; stty size; exit 3\n")
    tell("terminal", read(shell).decode(errors="replace").encode("unicode_escape").decode())
    shell.close()
    shell.wait_closed()
    tell("left", shell.get_exit_status())

    tell("sent", run("cat >sent && sha256sum <sent", source=up)[0].decode().split()[0])
    run("cat sent", target=down)

    files = session.sftp_init()
    with open(up, "rb") as source, files.open("put", LIBSSH2_FXF_CREAT | LIBSSH2_FXF_WRITE, 0o644) as remote:
        while piece := source.read(1 << 18):
            remote.write(piece)
    files.rename("put", "named")
    with open(f"{down}.sftp", "wb") as target, files.open("named", LIBSSH2_FXF_READ, 0) as remote:
        for _, piece in remote:
            target.write(piece)
    with files.opendir(".") as directory:
        tell("listed", b"named" in [entry[1] for entry in directory.readdir()])
session.disconnect()
