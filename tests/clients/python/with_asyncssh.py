"""Do with asyncssh what driving.py describes."""

import asyncio
import sys
from typing import Any

import asyncssh


def tell(name: str, value: object) -> None:
    """One fact for the test."""
    sys.stdout.write(f"{name}={value}\n")
    sys.stdout.flush()


async def main(port: str, user: str, kind: str, secret: str, up: str, down: str) -> None:
    """All of it, on one connection."""
    login: dict[str, Any] = (
        {"password": secret, "client_keys": None} if kind == "password" else {"client_keys": [secret]}
    )
    options = {"username": user, "known_hosts": None, "config": None, "agent_path": None, **login}
    async with asyncssh.connect("127.0.0.1", int(port), **options) as client:
        tell("version", asyncssh.__version__)
        done = await client.run("echo out; echo err >&2; exit 7")
        tell("output", str(done.stdout).strip())
        tell("errors", str(done.stderr).strip())
        tell("status", done.exit_status)
        if kind == "password":
            return
        tell("counted", str((await client.run("wc -c", input="12345")).stdout).strip())

        shell = await client.create_process(term_type="xterm", term_size=(93, 31))
        shell.stdin.write("stty size; exit 3\n")
        tell("terminal", str(await shell.stdout.read()).encode("unicode_escape").decode())
        tell("left", (await shell.wait()).exit_status)

        done = await client.run("cat >sent && sha256sum <sent", stdin=up, encoding=None)
        assert isinstance(done.stdout, bytes)
        tell("sent", done.stdout.decode().split()[0])
        await client.run("cat sent", stdout=down, encoding=None)

        async with client.start_sftp_client() as files:
            await files.put(up, "put")
            await files.rename("put", "named")
            await files.get("named", f"{down}.sftp")
            tell("listed", "named" in await files.listdir())


asyncio.run(main(*sys.argv[1:]))
