"""Make a class to try it with: a roster, material, homes, credentials and the configuration.  What is there stays."""

from __future__ import annotations

import csv
import os
import secrets

import argon2
import yaml
from settings import DIRECTORY, FIRST_UID, HERE, HOOKS, LESSON, PORT, ROSTER, STUDENTS, WARNING

HASHER = argon2.PasswordHasher(time_cost=1, memory_cost=8192)  # a whole class logs in within the same second


def main() -> None:
    for name in ("", "material", "material/shell", "homes"):
        (DIRECTORY / name).mkdir(parents=True, exist_ok=True)
        (DIRECTORY / name).chmod(0o755)  # guests pass through them
    (DIRECTORY / "material/shell/README").write_text("Lesson 1: list the files of this directory.\n")
    if not (DIRECTORY / "hook-secret").exists():
        keep("hook-secret", secrets.token_hex(32))
    config = yaml.safe_load((HERE / "config.yaml").read_text())
    secret = (DIRECTORY / "hook-secret").read_text()
    config["ssh"]["listen"] = f"127.0.0.1:{PORT}"
    config["auth"]["password"]["webhook"] |= {"url": f"http://{HOOKS}", "secret": secret}
    config["configserver"] |= {"url": f"http://{HOOKS}/config", "secret": secret}
    config["security"]["timeLimits"] = {"total": LESSON, "warning": WARNING}
    config["state"]["directory"] = str(DIRECTORY / "state")
    keep("config.yaml", yaml.safe_dump(config))
    if not ROSTER.exists():
        enrol()


def enrol() -> None:
    """A roster of numbered students; the passwords are written beside it, to be handed out and removed."""
    rows, passwords = [], []
    for number in range(1, STUDENTS + 1):
        name, password = f"student{number:02}", secrets.token_urlsafe(6)
        passwords.append((name, password))
        keeps_home = "no" if number == STUDENTS else "yes"
        rows.append((name, HASHER.hash(password), "shell", keeps_home, FIRST_UID + number, secrets.token_hex(8)))
    with (DIRECTORY / "roster.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("name", "password", "course", "keep_home", "uid", "cloud_key"), *rows])
    ROSTER.chmod(0o600)
    keep("passwords.txt", "".join(f"{name} {password}\n" for name, password in passwords))
    print(f"{len(rows)} students; their passwords are in {DIRECTORY}/passwords.txt")


def keep(name: str, text: str) -> None:
    """Write a file that nobody else may read."""
    with os.fdopen(os.open(DIRECTORY / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)


if __name__ == "__main__":
    main()
