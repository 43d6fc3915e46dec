"""The panel's database: a file of SQLite, or what HOSTING_DATABASE names, such as postgresql://panel@db/hosting."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

from settings import DIRECTORY

URL = os.environ.get("HOSTING_DATABASE", "")
FILE = DIRECTORY / "hosting.db"

Run = Callable[..., list[tuple[Any, ...]]]
"""Runs a statement with values for its question marks; its rows."""


@contextmanager
def connected() -> Iterator[Run]:
    """One transaction; the database may be changed by others at any time."""
    if URL:
        import psycopg  # pip install 'psycopg[binary]'

        with psycopg.connect(URL, connect_timeout=5) as connection:

            def run(statement: str, *values: object) -> list[tuple[Any, ...]]:
                cursor = connection.execute(statement.replace("?", "%s"), values)
                return cursor.fetchall() if cursor.description else []

            yield run
        return
    with closing(sqlite3.connect(FILE, timeout=5)) as database, database:
        yield lambda statement, *values: database.execute(statement, values).fetchall()


def ask(query: str, *values: object) -> list[tuple[Any, ...]]:
    """The rows of one query."""
    with connected() as run:
        return run(query, *values)


def is_empty() -> bool:
    """Are the tables still to be made?"""
    try:
        ask("select count(*) from users")
    except Exception as error:
        if type(error).__name__ in {"OperationalError", "UndefinedTable"} and "users" in str(error):
            return True
        raise
    return False
