"""Make a database with two users and three sites to try it with, and the configuration.  What is there stays."""

from __future__ import annotations

import os
import secrets

import yaml
from database import FILE, connected, is_empty
from passwords import hashed
from settings import DIRECTORY, HERE, HOOKS, PORT

USERS = {"mia": (40001, True), "tom": (40002, False)}
SITES = {"blog": "mia", "shop": "mia", "docs": "tom"}
RIGHTS = [("mia", "blog", 1), ("mia", "shop", 1), ("tom", "docs", 1), ("tom", "blog", 0)]


def main() -> None:
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    DIRECTORY.chmod(0o755)  # guests pass through it to their sites
    if not (DIRECTORY / "hook-secret").exists():
        keep("hook-secret", secrets.token_hex(32))
    config = yaml.safe_load((HERE / "config.yaml").read_text())
    secret = (DIRECTORY / "hook-secret").read_text()
    config["ssh"]["listen"] = f"127.0.0.1:{PORT}"
    config["auth"]["password"]["webhook"] |= {"url": f"http://{HOOKS}", "secret": secret}
    config["configserver"] |= {"url": f"http://{HOOKS}/config", "secret": secret}
    config["state"]["directory"] = str(DIRECTORY / "state")
    keep("config.yaml", yaml.safe_dump(config))
    if is_empty():
        fill()


def fill() -> None:
    is_root = os.geteuid() == 0
    with connected() as run:
        for statement in (HERE / "schema.sql").read_text().split(";"):
            if statement.strip():
                run(statement)
        for user, (uid, shell) in USERS.items():
            password = os.environ.get(f"HOSTING_PASSWORD_{user.upper()}") or secrets.token_urlsafe(9)
            run("insert into users values (?, ?, ?, ?)", user, hashed(password), uid if is_root else 0, int(shell))
            print(f"{user}: {password}")
        for site, owner in SITES.items():
            place = DIRECTORY / "sites" / site
            if not place.exists():  # another database may have brought it: then a customer's files are in it
                place.mkdir(parents=True)
                (place / "index.html").write_text(f"<h1>{site}</h1>\n")
                if is_root:
                    for path in (place, place / "index.html"):
                        os.chown(path, USERS[owner][0], USERS[owner][0])
            run("insert into sites values (?, ?)", site, str(place))
        for right in RIGHTS:
            run("insert into rights values (?, ?, ?)", *right)
    if FILE.exists():
        FILE.chmod(0o600)


def keep(name: str, text: str) -> None:
    """Write a file that nobody else may read."""
    with os.fdopen(os.open(DIRECTORY / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)


if __name__ == "__main__":
    main()
