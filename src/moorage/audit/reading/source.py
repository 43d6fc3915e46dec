"""Where recordings are read from: files, directories of them, and object storage."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from moorage.audit.encryption import SUFFIX, opened
from moorage.audit.filestorage import PART
from moorage.audit.s3credentials import CredentialsFile
from moorage.codes import Code
from moorage.errors import ConfigError

_PIECE: Final = 256 * 1024
S3: Final = "s3://"
CAST: Final = ".cast"
CAPTURED_PREFIX: Final = "captured/"
"""What the names of captured files begin with in a bucket, among the recordings."""


class Source(Protocol):
    """One recording's bytes."""

    @property
    def name(self) -> str:
        """What to call it: the connection's id, as a rule."""

    @property
    def place(self) -> str:
        """Its path or address."""

    @property
    def size(self) -> int:
        """How many bytes it has."""

    @property
    def is_open(self) -> bool:
        """True if it is still being written, or was when its server was killed."""

    def pieces(self) -> Iterator[bytes]:
        """All bytes; again each time it is called.  Raises `OSError`."""


@dataclass(frozen=True, slots=True)
class FileSource:
    """A file."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name.removesuffix(PART)

    @property
    def place(self) -> str:
        return str(self.path)

    @property
    def size(self) -> int:
        return self.path.stat().st_size

    @property
    def is_open(self) -> bool:
        return self.path.name.endswith(PART)

    def pieces(self) -> Iterator[bytes]:
        with self.path.open("rb", buffering=0) as file:
            while piece := file.read(_PIECE):
                yield piece


@dataclass(frozen=True, slots=True)
class ObjectSource:
    """An object of a bucket."""

    store: Any
    key: str
    place: str
    size: int
    is_open: bool = field(default=False)

    @property
    def name(self) -> str:
        return self.key.rpartition("/")[2]

    def pieces(self) -> Iterator[bytes]:
        import obstore

        for piece in obstore.get(self.store, self.key).stream(min_chunk_size=_PIECE):
            yield bytes(piece)


@dataclass(frozen=True, slots=True)
class SealedSource:
    """An encrypted recording, read with `identities`."""

    sealed: Source
    identities: Sequence[Any] = field(repr=False)

    @property
    def name(self) -> str:
        return self.sealed.name.removesuffix(SUFFIX)

    @property
    def place(self) -> str:
        return self.sealed.place

    @property
    def size(self) -> int:
        return self.sealed.size

    @property
    def is_open(self) -> bool:
        return False

    def pieces(self) -> Iterator[bytes]:
        return opened(self.sealed.pieces(), self.identities)


@dataclass(frozen=True, slots=True)
class S3Access:
    """How a bucket is reached; what is empty comes from the environment, as for every S3 client."""

    endpoint: str = ""
    region: str = ""
    access_key: str = ""
    secret_key: str = field(default="", repr=False)
    credentials: tuple[str, str] | None = None
    """A file of credentials and a section of it, instead of the keys."""
    is_path_style: bool = True
    ca: str = ""
    """PEM text of an authority to trust beside the system's."""

    def options(self) -> Mapping[str, Any]:
        """The library's settings."""
        given = {
            "endpoint": self.endpoint,
            "region": self.region,
            "access_key_id": self.access_key,
            "secret_access_key": self.secret_key,
        }
        found: dict[str, Any] = {name: value for name, value in given.items() if value}
        if self.endpoint:
            found["virtual_hosted_style_request"] = not self.is_path_style
        if self.credentials is not None:
            path, profile = self.credentials
            found["credential_provider"] = CredentialsFile(Path(path), profile)
        return found


def sources(places: Iterable[str], access: S3Access, identities: Sequence[Any] = ()) -> Iterator[Source]:
    """The recordings at `places`: files, directories with all their recordings, and ``s3://BUCKET/PREFIX``.

    Those that are encrypted are read with `identities`.  Raises `ConfigError` for a place that is not there.
    """
    for place in places:
        for one in _objects(place, access) if place.startswith(S3) else _files(Path(place)):
            yield SealedSource(one, identities) if one.name.endswith(SUFFIX) else one


def _files(path: Path) -> Iterator[Source]:
    if path.is_dir():
        for one in sorted(path.rglob("*")):
            is_recording = "." not in one.name or (one.suffix in {PART, CAST, SUFFIX} and one.name.count(".") == 1)
            if is_recording and one.is_file() and not one.is_symlink():
                yield FileSource(one)
    elif path.exists():
        yield FileSource(path)
    else:
        raise ConfigError(f"{path}: there is no such file or directory", code=Code.AUDIT_STORAGE_NOT_READABLE)


def _objects(place: str, access: S3Access) -> Iterator[Source]:
    try:
        import obstore
        from obstore.exceptions import BaseError
        from obstore.store import S3Store
    except ImportError as cause:
        raise ConfigError("reading s3:// needs a package that is missing: pip install 'moorage[s3]'") from cause
    bucket, _, prefix = place.removeprefix(S3).partition("/")
    if not bucket:
        raise ConfigError(f"{place}: write s3://BUCKET or s3://BUCKET/PREFIX")
    is_plain = access.endpoint.startswith("http://")
    try:
        client: Any = {"allow_http": is_plain, **({"root_certificate": access.ca} if access.ca else {})}
        store: Any = S3Store(bucket, client_options=client, **access.options())
        for page in obstore.list(store, prefix or None):
            for one in page:
                if one["path"].startswith(CAPTURED_PREFIX):
                    continue
                if one["size"] and "." not in one["path"].rpartition("/")[2].removesuffix(SUFFIX):
                    yield ObjectSource(store, one["path"], f"{S3}{bucket}/{one['path']}", one["size"])
        if prefix and "/" in prefix:
            return
        if prefix:  # the list is of folders: an object's own name is asked for
            try:
                head = obstore.head(store, prefix)
            except FileNotFoundError:
                return
            yield ObjectSource(store, prefix, place, head["size"])
    except (BaseError, OSError, ValueError) as error:
        first = str(error).strip().splitlines()[0][:300]
        raise ConfigError(f"{place}: {first}", code=Code.AUDIT_STORAGE_NOT_READABLE) from error
