"""Do with paramiko what driving.py describes."""

import sys

import paramiko  # type: ignore[import-not-found, import-untyped, unused-ignore]

port, user, kind, secret, up, down = sys.argv[1:]


def tell(name: str, value: object) -> None:
    """One fact for the test."""
    sys.stdout.write(f"{name}={value}\n")
    sys.stdout.flush()


client = paramiko.SSHClient()
client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
login = {"password": secret} if kind == "password" else {"key_filename": secret}
client.connect("127.0.0.1", int(port), user, allow_agent=False, look_for_keys=False, **login)

tell("version", paramiko.__version__)
stdin, stdout, stderr = client.exec_command("echo out; echo err >&2; exit 7")
tell("output", stdout.read().decode().strip())
tell("errors", stderr.read().decode().strip())
tell("status", stdout.channel.recv_exit_status())

if kind == "key":
    stdin, stdout, _ = client.exec_command("wc -c")
    stdin.write("12345")
    stdin.channel.shutdown_write()
    tell("counted", stdout.read().decode().strip())

    shell = client.invoke_shell("xterm", 93, 31)
    shell.sendall(b"stty size; exit 3\n")
    tell("terminal", shell.makefile("rb").read().decode(errors="replace").encode("unicode_escape").decode())
    tell("left", shell.recv_exit_status())

    stdin, stdout, _ = client.exec_command("cat >sent && sha256sum <sent")
    with open(up, "rb") as source:
        while piece := source.read(1 << 20):
            stdin.channel.sendall(piece)
    stdin.channel.shutdown_write()
    tell("sent", stdout.read().decode().split()[0])
    _, stdout, _ = client.exec_command("cat sent")
    with open(down, "wb") as target:
        while piece := stdout.channel.recv(1 << 20):
            target.write(piece)

    files = client.open_sftp()
    files.put(up, "put")
    files.rename("put", "named")
    files.get("named", f"{down}.sftp")
    tell("listed", "named" in files.listdir())
client.close()
