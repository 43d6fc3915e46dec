"""Do with libssh, through ssh-python, what driving.py describes."""

import os
import socket
import sys

from ssh import options  # type: ignore[import-not-found, unused-ignore]
from ssh.key import import_privkey_file  # type: ignore[import-not-found, unused-ignore]
from ssh.session import Session  # type: ignore[import-not-found, unused-ignore]

port, user, kind, secret, up, down = sys.argv[1:]


def tell(name: str, value: object) -> None:
    """One fact for the test."""
    sys.stdout.write(f"{name}={value}\n")
    sys.stdout.flush()


def read(channel: object, target: str = "", *, errors: bool = False) -> bytes:
    """All output of a channel, or all its errors; into a file, if one is named."""
    output = bytearray()
    with open(target or "/dev/null", "wb") as writing:
        while (got := channel.read(1 << 18, is_stderr=errors))[0] > 0:  # type: ignore[attr-defined]
            writing.write(got[1][: got[0]])
            if not target:
                output += got[1][: got[0]]
    return bytes(output)


def run(command: str, given: bytes = b"", source: str = "", target: str = "") -> tuple[bytes, bytes, int]:
    """One command: its output, its errors and its status."""
    channel = session.channel_new()
    channel.open_session()
    channel.request_exec(command)
    if given:
        channel.write(given)
    if source:
        with open(source, "rb") as reading:
            while piece := reading.read(1 << 18):
                channel.write(piece)
    channel.send_eof()
    output, errors = read(channel, target), read(channel, errors=True)
    status = channel.get_exit_status()
    channel.close()
    return output, errors, status


connection = socket.create_connection(("127.0.0.1", int(port)))
connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # or each request of SFTP waits for a delayed ACK
session = Session()
session.options_set(options.HOST, "127.0.0.1")
session.options_set(options.USER, user)
session.options_set(options.KNOWNHOSTS, os.devnull)
session.options_set_port(int(port))
session.set_socket(connection)
session.connect()
if kind == "password":
    session.userauth_password(user, secret)
else:
    session.userauth_publickey(import_privkey_file(secret))

from importlib.metadata import version  # noqa: E402

tell("version", version("ssh-python"))
output, errors, status = run("echo out; echo err >&2; exit 7")
tell("output", output.decode().strip())
tell("errors", errors.decode().strip())
tell("status", status)

if kind == "key":
    tell("counted", run("wc -c", b"12345")[0].decode().strip())

    shell = session.channel_new()
    shell.open_session()
    shell.request_pty_size("xterm", 93, 31)
    shell.request_shell()
    shell.write(b"stty size; exit 3\n")
    tell("terminal", read(shell).decode(errors="replace").encode("unicode_escape").decode())
    tell("left", shell.get_exit_status())
    shell.close()

    tell("sent", run("cat >sent && sha256sum <sent", source=up)[0].decode().split()[0])
    run("cat sent", target=down)

    files = session.sftp_new()
    files.init()
    with open(up, "rb") as source, files.open("put", os.O_CREAT | os.O_WRONLY, 0o644) as remote:
        while piece := source.read(1 << 15):
            remote.write(piece)
    files.rename("put", "named")
    with open(f"{down}.sftp", "wb") as target, files.open("named", os.O_RDONLY, 0) as remote:
        for size, piece in remote:
            target.write(piece[:size])
    with files.opendir(".") as directory:
        tell("listed", "named" in [entry.name.decode() for entry in directory])
session.disconnect()
