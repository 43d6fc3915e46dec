"""``moorage users``: who may log in without any service."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from moorage.auth.hashes import PasswordHash
    from moorage.auth.keys import PublicKey
    from moorage.auth.usersfile import User

_F = TypeVar("_F", bound=Callable[..., Any])
_LONGEST_PASSWORD = 1024
_LARGEST_KEY_FILE = 64 * 1024


def _place(function: _F) -> _F:
    """The options that say which file is meant."""
    file = click.option(
        "--file", "-f", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="The users file."
    )
    config = click.option(
        "--config",
        "-c",
        type=click.Path(path_type=Path, dir_okay=False, exists=True),
        metavar="FILE",
        help="A configuration whose auth.users.file is meant.",
    )
    return file(config(function))


_from_stdin = click.option("--password-stdin", is_flag=True, help="Read the password from the first line of stdin.")


@click.group(
    "users",
    short_help="Add, list and remove users in a file.",
    epilog="""\b
Examples:
  moorage users add mia --file users.yaml
  moorage users add mia --key ~/.ssh/id_ed25519.pub --config config.yaml
  moorage users list --file users.yaml""",
)
def command() -> None:
    """Keep the users of a file that the configuration names in auth.users.file.

    A running server sees a change at the next login.
    """


@command.command(
    epilog="""\b
Examples:
  moorage users add mia --file users.yaml
  moorage users add mia --file users.yaml --key ~/.ssh/id_ed25519.pub
  echo "$PASSWORD" | moorage users add mia --config config.yaml --password-stdin"""
)
@click.argument("name")
@_place
@click.option(
    "--key",
    "-k",
    "keys",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FILE",
    help="A public key, or a file of authorized_keys lines; - is stdin.  May be repeated.",
)
@_from_stdin
def add(name: str, file: Path | None, config: Path | None, keys: tuple[Path, ...], password_stdin: bool) -> None:
    """Add the user NAME, with a password, keys or both.

    Without --key the password is asked for.  With --key and a NAME that exists, the keys are added to his.
    The file is made if there is none.
    """
    from moorage.auth.usersfile import User, check_name

    with _explained():
        path = _users_file(file, config)
        check_name(name)
        if password_stdin and Path("-") in keys:
            raise click.UsageError("Either the password or a key can come from stdin.")
        new_keys = [key for source in keys for key in _read_keys(source)]
        password = _ask_password(name, password_stdin) if password_stdin or not new_keys else None
        done = ""

        def change(users: Mapping[str, User]) -> Mapping[str, User]:
            nonlocal done
            user = users.get(name)
            if user is not None and password is not None:
                raise click.ClickException(f"{name} exists; `moorage users passwd {name}` sets a new password.")
            done = f"Added {name} to {path}." if user is None else ""
            user = user or User(name, password)
            missing = [key for key in new_keys if key.blob not in {known.blob for known in user.keys}]
            done = done or f"Added {_count(missing)} to {name}."
            return {**users, name: replace(user, keys=(*user.keys, *dict.fromkeys(missing)))}

        _change(path, change)
    click.echo(done)


@command.command(name="list", epilog="\b\nExample:\n  moorage users list --config config.yaml")
@_place
def list_users(file: Path | None, config: Path | None) -> None:
    """Show all users: how they may log in, and their keys."""
    from moorage.auth.usersfile import read_users

    with _explained():
        path = _users_file(file, config)
        users, _ = read_users(path)
    if not users.by_name:
        click.echo(f"{path} has no users.", err=True)
    for user in users.by_name.values():
        ways = [user.password.cost.algorithm] if user.password else []
        ways += [_count(user.keys)] if user.keys else []
        ways += ["one-time passwords"] if user.totp else []
        state = "disabled" if user.disabled else ", ".join(ways) or "no way to log in"
        click.echo(f"{user.name}\t{state}")
        for key in user.keys:
            click.echo(f"\t{key.fingerprint} {key.type} {_plain(key.comment)}".rstrip())


@command.command(epilog="\b\nExample:\n  moorage users remove mia --file users.yaml")
@click.argument("name")
@_place
def remove(name: str, file: Path | None, config: Path | None) -> None:
    """Remove the user NAME.  Sessions that are open go on."""

    def change(users: Mapping[str, User]) -> Mapping[str, User]:
        _existing(users, name, path)
        return {other: user for other, user in users.items() if other != name}

    with _explained():
        path = _users_file(file, config, must_exist=True)
        _change(path, change)
    click.echo(f"Removed {name} from {path}.")


@command.command(
    epilog="""\b
Examples:
  moorage users passwd mia --file users.yaml
  echo "$PASSWORD" | moorage users passwd mia --file users.yaml --password-stdin"""
)
@click.argument("name")
@_place
@_from_stdin
def passwd(name: str, file: Path | None, config: Path | None, password_stdin: bool) -> None:
    """Set the password of the user NAME."""
    from moorage.auth.usersfile import read_users

    with _explained():
        path = _users_file(file, config, must_exist=True)
        _existing(read_users(path)[0].by_name, name, path)
        password = _ask_password(name, password_stdin)

        def change(users: Mapping[str, User]) -> Mapping[str, User]:
            return {**users, name: replace(_existing(users, name, path), password=password)}

        _change(path, change)
    click.echo(f"Set the password of {name}.")


@command.command(
    epilog="""\b
Examples:
  moorage users totp mia --file users.yaml
  moorage users totp mia --file users.yaml --remove"""
)
@click.argument("name")
@_place
@click.option("--issuer", default="Moorage", show_default=True, help="The name that the authenticator shows.")
@click.option("--remove", "is_removed", is_flag=True, help="Take the one-time passwords away again.")
def totp(name: str, file: Path | None, config: Path | None, issuer: str, is_removed: bool) -> None:
    """Give the user NAME one-time passwords, and show the code for his authenticator.

    A secret that NAME had counts no more.  They are asked for where auth.keyboardInteractive.method is totp; the
    user's authenticationMethods, or those of the configuration, say together with what.
    """
    from moorage.auth.totp import Secret

    secret = None if is_removed else Secret.fresh()

    def change(users: Mapping[str, User]) -> Mapping[str, User]:
        return {**users, name: replace(_existing(users, name, path), totp=secret)}

    with _explained():
        path = _users_file(file, config, must_exist=True)
        _change(path, change)
    if secret is None:
        click.echo(f"Took the one-time passwords of {name} away.")
        return
    import segno

    segno.make(secret.url(name, issuer), error="m").terminal(compact=True)
    click.echo(f"Secret of {name}: {secret.text}")


@contextmanager
def _explained() -> Iterator[None]:
    """Turns what may go wrong into one line and exit status 1."""
    from moorage.errors import Failure

    try:
        yield
    except (Failure, ValueError) as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"{error.filename or 'the file'}: {error.strerror}") from error


def _users_file(file: Path | None, config: Path | None, *, must_exist: bool = False) -> Path:
    if (file is None) == (config is None):
        raise click.UsageError(
            "Say which file is meant: --file FILE, or --config FILE that names it in auth.users.file."
        )
    if config is not None:
        from moorage.config import load

        named = load(config, look_at_files=False, built_only=False).config.auth.users.file
        if not named:
            raise click.ClickException(f"{config} names no users file: set auth.users.file, or give --file.")
        file = Path(named)
    assert file is not None
    if must_exist and not file.exists():
        raise click.ClickException(f"{file} does not exist.")
    return file


def _change(path: Path, change: Callable[[Mapping[str, User]], Mapping[str, User]]) -> None:
    from moorage.auth.usersfile import change_users

    if not path.parent.is_dir():
        raise click.ClickException(f"The directory {path.parent} does not exist.")
    change_users(path, change)


def _existing(users: Mapping[str, User], name: str, path: Path) -> User:
    if name not in users:
        raise click.ClickException(f"{path} has no user {_plain(name)}.")
    return users[name]


def _read_keys(source: Path) -> list[PublicKey]:
    from moorage.auth.keys import parse_key

    with click.open_file(str(source), "rb") as file:
        content = file.read(_LARGEST_KEY_FILE + 1)
    if len(content) > _LARGEST_KEY_FILE:
        raise click.ClickException(f"{source}: the file is too large for public keys.")
    keys = []
    for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            try:
                keys.append(parse_key(line))
            except ValueError as error:
                raise click.ClickException(f"{source}, line {number}: {error}.") from error
    if not keys:
        raise click.ClickException(f"{source}: there is no public key in it.")
    return keys


def _ask_password(name: str, from_stdin: bool) -> PasswordHash:
    from moorage.auth.hashes import hash_password

    if from_stdin:
        password = sys.stdin.buffer.readline(_LONGEST_PASSWORD + 2).rstrip(b"\r\n")
    elif sys.stdin.isatty():
        text: str = click.prompt(f"Password for {_plain(name)}", hide_input=True, confirmation_prompt=True, err=True)
        password = text.encode("utf-8", "surrogateescape")
    else:
        raise click.UsageError("There is no terminal to ask for the password on: give --password-stdin or --key FILE.")
    if not password:
        raise click.ClickException("The password is empty.")
    if len(password) > _LONGEST_PASSWORD:
        raise click.ClickException(f"The password is longer than {_LONGEST_PASSWORD} bytes.")
    return hash_password(password)


def _count(keys: Sequence[PublicKey]) -> str:
    return f"{len(keys)} key{'' if len(keys) == 1 else 's'}"


def _plain(text: str) -> str:
    """`text` fit for a terminal."""
    return "".join(c if c.isprintable() else "?" for c in text)
