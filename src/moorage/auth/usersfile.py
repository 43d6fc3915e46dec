"""The users file: its format, and how it is read and rewritten without ever being half there.

The file is YAML in which every scalar is text, so that ``no``, ``0123`` and ``1e3`` are
names like any other::

    users:
      mia:
        password: $argon2id$v=19$…        # or bcrypt
        keys:
          - ssh-ed25519 AAAA… mia@laptop
        principals: [mia, team-blue]      # of certificates, for auth.publicKey.certificates
        totp: GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ   # the secret of one-time passwords
        authenticationMethods: ["publickey,keyboard-interactive"]
        disabled: false
        environment: {LANG: C.UTF-8, TOKEN: {value: t0k, sensitive: true}}
        metadata: {team: blue}

A file of ``name:hash`` lines as ``htpasswd -B`` writes them is read as well.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, NoReturn, TypeVar

import yaml

from moorage.auth.hashes import DEFAULT_COST, Cost, PasswordHash, parse_hash
from moorage.auth.keys import PublicKey, parse_key
from moorage.auth.totp import Secret
from moorage.codes import Code
from moorage.errors import ConfigError
from moorage.gateway.factors import METHODS
from moorage.gateway.model import Metadata, TextValue

LARGEST_FILE: Final = 16 * 1024 * 1024
_LONGEST_NAME: Final = 255
_MOST_KINDS_OF_HASH: Final = 4
"""Each kind costs every attempt one verification, see `moorage.auth.hashes`."""

_HTPASSWD_LINE: Final = re.compile(r"[^:\s][^:]*:\S+")
_HEADER: Final = "# Users of Moorage.  `moorage users` rewrites this file: comments are not kept.\n"

_PARTS: Final = {
    "password",
    "keys",
    "principals",
    "totp",
    "authenticationMethods",
    "disabled",
    "metadata",
    "environment",
}

_T = TypeVar("_T")

_Loader: Final[Any] = getattr(yaml, "CBaseLoader", yaml.BaseLoader)


@dataclass(frozen=True, slots=True)
class User:
    """One user as the file has it; without a password or keys there is no way in."""

    name: str
    password: PasswordHash | None = None
    keys: tuple[PublicKey, ...] = ()
    disabled: bool = False
    metadata: Metadata = field(default_factory=Metadata)
    principals: tuple[str, ...] | None = None
    """Patterns of certificates' principals; None if the file has no such entry."""
    totp: Secret | None = None
    methods: tuple[tuple[str, ...], ...] = ()
    """Lists of methods, one of which must succeed as a whole; empty: what the configuration says."""


@dataclass(frozen=True, slots=True)
class Users:
    """All users of one file."""

    by_name: Mapping[str, User]
    format: Literal["yaml", "htpasswd"] = "yaml"

    @property
    def costs(self) -> tuple[Cost, ...]:
        """The kinds of password hash in use; never empty."""
        return tuple(sorted({user.password.cost for user in self.by_name.values() if user.password})) or (DEFAULT_COST,)


class _Problem(ValueError):
    """What is wrong, and on which line (from 1) of the file."""

    def __init__(self, line: int, where: str, text: str) -> None:
        super().__init__(f"line {line}: {where}: {text}" if where else f"line {line}: {text}")


def read_users(path: Path) -> tuple[Users, os.stat_result]:
    """The users in `path` and the status of the very file that was read.

    Raises `ConfigError` naming file and line if the content cannot be used, and `OSError` if there is no reading it.
    """
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        content = file.read(LARGEST_FILE + 1)
    if len(content) > LARGEST_FILE:
        raise _unusable(path, "the file is larger than 16 MiB")
    try:
        return parse_users(content.decode("utf-8-sig")), status
    except UnicodeDecodeError:
        raise _unusable(path, "the file is not UTF-8") from None
    except _Problem as problem:
        raise _unusable(path, str(problem)) from None


def _unusable(path: Path, text: str) -> ConfigError:
    return ConfigError(f"users file {path}: {text}", code=Code.AUTH_CONFIG_ERROR)


def parse_users(text: str) -> Users:
    """The users in `text`, YAML or htpasswd; raises `ValueError` whose text names the line."""
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1)]
    meant = [(number, line) for number, line in lines if line and not line.startswith("#")]
    if meant and all(_HTPASSWD_LINE.fullmatch(line) for _, line in meant):
        users = Users(_from_htpasswd(meant), "htpasswd")
    else:
        users = Users(_from_yaml(text))
    if len(users.costs) > _MOST_KINDS_OF_HASH:
        raise _Problem(1, "", f"more than {_MOST_KINDS_OF_HASH} kinds of password hash; set some passwords anew")
    return users


def _from_htpasswd(lines: list[tuple[int, str]]) -> dict[str, User]:
    users: dict[str, User] = {}
    for number, line in lines:
        name, _, encoded = line.partition(":")
        with _located(number, name):
            check_name(name)
            if name in users:
                raise ValueError("the user stands here twice")
            users[name] = User(name, parse_hash(encoded))
    return users


def check_name(name: str) -> None:
    """Raises `ValueError` if `name` cannot be a user's name in a file."""
    if not name or len(name) > _LONGEST_NAME or not name.isprintable() or name != name.strip() or ":" in name:
        raise ValueError("a user name has 1 to 255 printable characters, no colon, and no blanks around it")


@contextlib.contextmanager
def _located(line: int, where: str) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise _Problem(line, where if where.isprintable() else ascii(where), str(error)) from None


def _from_yaml(text: str) -> dict[str, User]:
    try:
        root = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise _Problem(mark.line + 1 if mark else 1, "", f"this is not YAML: {error.problem}") from None
    except (yaml.YAMLError, RecursionError):
        raise _Problem(1, "", "this is not YAML") from None
    if root is None:
        return {}
    users: dict[str, User] = {}
    for key, value in _entries(root, "", only={"users"}):
        for name, entry in _entries(value, key):
            with _located(entry.start_mark.line + 1, name):
                check_name(name)
            users[name] = _user(name, entry)
    return users


def _user(name: str, node: yaml.Node) -> User:
    password: PasswordHash | None = None
    keys: list[PublicKey] = []
    disabled = False
    principals: tuple[str, ...] | None = None
    totp: Secret | None = None
    methods: tuple[tuple[str, ...], ...] = ()
    texts: dict[str, dict[str, TextValue]] = {}
    for part, value in _entries(node, name, only=_PARTS):
        where = f"{name}.{part}"
        match part:
            case "password":
                password = _read(value, where, parse_hash) if _text(value, where) else None
            case "keys":
                keys = [_read(item, f"{where}[{n}]", parse_key) for n, item in enumerate(_items(value, where))]
            case "principals":
                principals = tuple(_text(item, f"{where}[{n}]") for n, item in enumerate(_items(value, where)))
            case "totp":
                totp = _read(value, where, Secret.parse) if _text(value, where) else None
            case "authenticationMethods":
                methods = tuple(_read(item, where, parse_methods) for item in _items(value, where))
            case "disabled":
                disabled = _read(value, where, _bool)
            case _:
                texts[part] = {key: _value(item, f"{where}.{key}") for key, item in _entries(value, where)}
    for key in texts.get("environment", {}):
        with _located(node.start_mark.line + 1, f"{name}.environment"):
            check_environment_name(key)
    attached = Metadata(metadata=texts.get("metadata", {}), environment=texts.get("environment", {}))
    return User(name, password, tuple(keys), disabled, attached, principals, totp, methods)


def parse_methods(text: str) -> tuple[str, ...]:
    """One list of methods, as ``publickey,password``; raises `ValueError`."""
    methods = tuple(method.strip() for method in text.split(","))
    for method in methods:
        if method not in METHODS:
            raise ValueError(f"{method!r} is not a method; methods are {', '.join(METHODS)}")
    return methods


def check_environment_name(name: str) -> None:
    """Raises `ValueError` if no process can have a variable of this `name`."""
    if not name or "=" in name or "\0" in name:
        raise ValueError("a variable's name is not empty and has no = in it")


def _value(node: yaml.Node, where: str) -> TextValue:
    if not isinstance(node, yaml.MappingNode):
        return TextValue(_text(node, where))
    entries = dict(_entries(node, where, only={"value", "sensitive"}))
    sensitive = "sensitive" in entries and _read(entries["sensitive"], f"{where}.sensitive", _bool)
    return TextValue(_text(entries["value"], where) if "value" in entries else "", sensitive)


def _entries(node: yaml.Node, where: str, only: set[str] | None = None) -> Iterator[tuple[str, yaml.Node]]:
    """The entries of a mapping; an empty value has none.  Unknown and repeated keys are problems."""
    if isinstance(node, yaml.ScalarNode) and not node.value:
        return
    if not isinstance(node, yaml.MappingNode):
        _wrong(node, where, "a mapping is wanted here")
    seen: set[str] = set()
    for key_node, value in node.value:
        key = _text(key_node, where)
        if key in seen:
            _wrong(key_node, where, f"{key!r} stands here twice")
        if only is not None and key not in only:
            _wrong(key_node, where, f"unknown key {key!r}; known are {', '.join(sorted(only))}")
        seen.add(key)
        yield key, value


def _items(node: yaml.Node, where: str) -> Sequence[yaml.Node]:
    """The items of a list; a text counts as a list of one, an empty one as none."""
    if isinstance(node, yaml.SequenceNode):
        items: Sequence[yaml.Node] = node.value
        return items
    return [node] if _text(node, where) else []


def _text(node: yaml.Node, where: str) -> str:
    if not isinstance(node, yaml.ScalarNode):
        _wrong(node, where, "a text is wanted here")
    value: str = node.value
    if "\0" in value:
        _wrong(node, where, "a text must not hold a NUL")
    return value


def _read(node: yaml.Node, where: str, parse: Callable[[str], _T]) -> _T:
    text = _text(node, where)
    with _located(node.start_mark.line + 1, where):
        return parse(text)


def _bool(text: str) -> bool:
    if text.lower() not in {"true", "false", ""}:
        raise ValueError("true or false is wanted here")
    return text.lower() == "true"


def _wrong(node: yaml.Node, where: str, text: str) -> NoReturn:
    raise _Problem(node.start_mark.line + 1, where, text)


# Writing


def render_users(users: Mapping[str, User]) -> str:
    """The YAML text that `parse_users` reads as `users`."""
    plain = {name: _plain(user) for name, user in users.items()}
    body: str = yaml.safe_dump({"users": plain}, sort_keys=False, allow_unicode=True, width=10**6)
    return _HEADER + body


def _plain(user: User) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    if user.password:
        plain["password"] = user.password.text
    if user.keys:
        plain["keys"] = [str(key) for key in user.keys]
    if user.principals is not None:
        plain["principals"] = list(user.principals)
    if user.totp:
        plain["totp"] = user.totp.text
    if user.methods:
        plain["authenticationMethods"] = [",".join(methods) for methods in user.methods]
    if user.disabled:
        plain["disabled"] = True
    for part in ("environment", "metadata"):
        values: Mapping[str, TextValue] = getattr(user.metadata, part)
        if values:
            plain[part] = {
                name: {"value": value.value, "sensitive": True} if value.sensitive else value.value
                for name, value in values.items()
            }
    return plain


def change_users(path: Path, change: Callable[[Mapping[str, User]], Mapping[str, User]]) -> None:
    """Replace the users in `path` (none, if there is no such file) by what `change` makes of them.

    Writers wait for each other.  Readers see the old file or the new one, whole; a crash
    leaves the old one.  The file belongs to its owner alone (0600); an owner that it had is kept.
    Raises what `change` raises (nothing is written then), `ValueError` for a name that cannot stand in a
    file, `ConfigError` if the file is unusable or of htpasswd's kind, and `OSError` if it cannot be written.
    """
    path = path.resolve()
    # The directory is locked, not the file: that is replaced, and a lock on the old one would guard nothing.
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        try:
            users, status = read_users(path)
        except FileNotFoundError:
            users, status = Users({}), None
        if users.format != "yaml":
            raise _unusable(path, "this is an htpasswd file; change it with `htpasswd -B`, or start a YAML file")
        changed = change(users.by_name)
        for name in changed:
            check_name(name)
        _replace(path, render_users(changed), status)
        os.fsync(directory)
    finally:
        os.close(directory)


def _replace(path: Path, text: str, old: os.stat_result | None) -> None:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            if old is not None and (old.st_uid, old.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(descriptor, old.st_uid, old.st_gid)
            os.fsync(descriptor)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
