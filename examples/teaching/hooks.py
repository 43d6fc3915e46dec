"""What the SSH server asks: is this student's password right, and what does the student get?"""

from __future__ import annotations

import asyncio
import csv
import os
from pathlib import Path
from typing import Any

import argon2
from aiohttp import web
from settings import DIRECTORY, HOOKS, ROSTER

from moorage.webhook import BinaryValue, Configuration, ConfigurationRequest, Hooks, PasswordRequest, TextValue
from moorage.webhook.aiohttp import application

HASHER = argon2.PasswordHasher()
NOBODYS = argon2.PasswordHasher(time_cost=1, memory_cost=8192).hash("nobody's")


def students() -> dict[str, dict[str, str]]:
    """The roster as it is now; it may be edited at any time."""
    with ROSTER.open(newline="") as file:
        return {row["name"]: row for row in csv.DictReader(file)}


class Class(Hooks):
    """Answers from the roster."""

    async def password(self, request: PasswordRequest) -> bool:
        student = students().get(request.username)
        is_right = await asyncio.to_thread(matches, request.password, student["password"] if student else NOBODYS)
        return is_right and student is not None

    async def configuration(self, request: ConfigurationRequest) -> Configuration:
        return configuration(students()[request.username])


def matches(password: bytes, stored: str) -> bool:
    """Is `password` the one of which `stored` is the hash?"""
    try:
        return HASHER.verify(stored, password)
    except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
        return False


def configuration(student: dict[str, str]) -> Configuration:
    """The course's material to read, a home that is kept or not, and the student's own credentials for the cloud."""
    name = student["name"]
    mounts: list[dict[str, Any]] = [{"source": f"{DIRECTORY}/material/{student['course']}", "target": "/material"}]
    sandbox: dict[str, Any] = {"mounts": mounts}
    if student["keep_home"] == "yes":
        mounts.append({"source": str(home(student)), "target": f"/home/{name}", "writable": True})
        sandbox["user"] = int(student["uid"]) if os.geteuid() == 0 else 0
    key = student["cloud_key"]
    return Configuration(
        config={"sandbox": sandbox},
        environment={"COURSE": TextValue(value=student["course"]), "CLOUD_KEY": TextValue(value=key, sensitive=True)},
        files={f"/home/{name}/.cloud": BinaryValue.of(f"key = {key}\n".encode(), sensitive=True)},
    )


def home(student: dict[str, str]) -> Path:
    """The student's home on this machine, made when it is first needed."""
    path = DIRECTORY / "homes" / student["name"]
    if not path.exists():
        path.mkdir(mode=0o700)
        if os.geteuid() == 0:
            os.chown(path, int(student["uid"]), int(student["uid"]))
    return path


if __name__ == "__main__":
    # Others on this machine may reach the port: without the secret nobody is answered.
    app = application(Class(), secret=(DIRECTORY / "hook-secret").read_bytes())
    host, _, port = HOOKS.rpartition(":")
    web.run_app(app, host=host, port=int(port), print=None, access_log=None)
