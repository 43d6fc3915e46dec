"""``audit``: recordings of what went through a connection, and where its events go."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated

from pydantic import Field, SecretStr

from moorage.config.disk import Disk, is_inline_pem
from moorage.config.section import AtLeast, Duration, Finding, OneOf, PrivateKey, Section, Size, Within, under
from moorage.config.sections.events import EventSinkConfig

_UINT = Within(0, 2**63 - 1)


class AuditFileConfig(Section):
    """Recordings as local files."""

    directory: str = "/var/log/audit"
    """An existing directory that the server may write to."""

    sync: bool = False
    """Put each batch of messages to disk at once, not only whole recordings. An addition."""


class AuditS3MetadataConfig(Section):
    """What is attached to a recording in object storage."""

    ip: bool = False
    """Attach the client's address."""

    username: bool = False
    """Attach the user's name."""


class AuditS3Config(Section):
    """Recordings in object storage."""

    local: str = "/var/lib/audit"
    """An existing directory where recordings wait for their upload."""

    access_key: str = ""
    """The access key's name. Without it and `secretKey` the credentials come from the environment, as for every S3
    client."""

    secret_key: SecretStr = SecretStr("")
    """The access key's secret."""

    credentials_file: str = ""
    """A file with the credentials instead, in the form of `~/.aws/credentials`; it is read again when they are needed,
    so that they may change. An addition."""

    profile: str = "default"
    """The section of `credentialsFile`. An addition."""

    bucket: str = ""
    """The bucket; required."""

    region: str = ""
    """The region, passed on as it is."""

    endpoint: str = ""
    """An address other than Amazon's."""

    cacert: str = ""
    """PEM text of authorities to trust in addition to the system's."""

    acl: str = ""
    """A canned ACL; none is sent if empty."""

    path_style_access: bool = False
    """Put the bucket's name into the path instead of the host name."""

    upload_part_size: Annotated[int, AtLeast(5242880), _UINT] = 5242880
    """Bytes in one part of a multipart upload; at least 5 MiB, the least that S3 takes."""

    parallel_uploads: Annotated[int, AtLeast(1), _UINT] = 20
    """Uploads at the same time."""

    checksum: Annotated[str, OneOf(("", "SHA256"), "checksum")] = ""
    """A checksum that the store verifies for each object: `SHA256`; empty: none. Buckets with object lock demand one.
    An addition."""

    spool_limit: Size = 0
    """The most bytes of finished recordings that wait in `local`; beyond it `onFailure` decides. 0: what the disk has.
    An addition."""

    captured: bool = False
    """Upload captured files too, as `captured/SHA-256`; they stay in `capture.directory` as well. An addition."""

    keep: str = ""
    """A directory where each recording is kept after its upload too, on the same file system as `local`; empty:
    nowhere. An addition."""

    metadata: AuditS3MetadataConfig = Field(default_factory=AuditS3MetadataConfig)
    """What is attached to a recording."""

    def problems(self, disk: Disk) -> Iterator[Finding]:
        if wrong := disk.directory(self.local, writable=True):
            yield Finding(("local",), wrong)
        if not self.bucket:
            yield Finding(("bucket",), "is required for storage s3")
        secret = self.secret_key.get_secret_value()
        for key, given, other in (("accessKey", self.access_key, secret), ("secretKey", secret, self.access_key)):
            if other and not given:
                yield Finding((key,), "is missing", "give both keys, or neither to take them from the environment")
        if self.credentials_file:
            if self.access_key or secret:
                yield Finding(("credentialsFile",), "is given beside accessKey and secretKey", "give one or the other")
            elif wrong := disk.file(self.credentials_file):
                yield Finding(("credentialsFile",), wrong)
        if self.keep and (wrong := disk.directory(self.keep, writable=True)):
            yield Finding(("keep",), wrong)
        elif self.keep and self.keep.rstrip("/") == self.local.rstrip("/"):
            yield Finding(("keep",), "is the spool itself", "name another directory")
        if self.cacert and not is_inline_pem(self.cacert):
            yield Finding(("cacert",), "is not a PEM text", "paste the certificate itself")
        yield from super().problems(disk)


class AuditInterceptConfig(Section):
    """What a recording holds besides the facts."""

    stdin: bool = False
    """Record what the user types."""

    stdout: bool = False
    """Record what programs write."""

    stderr: bool = False
    """Record what programs write to standard error."""

    passwords: bool = False
    """Record passwords of attempts to log in."""

    forwarding: bool = False
    """Record the bytes of forwarded connections."""

    files: bool = False
    """Tell of each file that goes by SFTP or scp, and of what commands are given to read: path, size, SHA-256, result.
    An addition."""


class AuditCaptureConfig(Section):
    """Files that were uploaded, kept. An addition."""

    directory: str = ""
    """An existing directory where the content of each upload is kept under its SHA-256; empty: nowhere. Needs
    `intercept.files`."""

    limit: Size = 64 * 1024 * 1024
    """The most bytes of one file that is kept."""


class AuditRetentionConfig(Section):
    """How long finished recordings, and captured files, stay in local directories. An addition."""

    age: Duration = timedelta(0)
    """What is older is removed. 0: nothing is."""

    size: Size = 0
    """The most bytes in each directory; what is beyond is removed, the oldest first. 0: no bound."""

    def problems(self, disk: Disk) -> Iterator[Finding]:
        yield from super().problems(disk)
        if self.age < timedelta(0):
            yield Finding(("age",), "must not be negative")


class AuditConfig(Section):
    """Recordings, checked only if `enable` is on, and the places where events go, with or without recordings."""

    enable: bool = False
    """Switches recording on."""

    format: Annotated[str, OneOf(("none", "binary", "asciinema"), "audit format")] = "none"
    """`none`, `binary` or `asciinema`."""

    storage: Annotated[str, OneOf(("none", "file", "s3"), "audit storage")] = "none"
    """`none`, `file` or `s3`."""

    file: AuditFileConfig = Field(default_factory=AuditFileConfig)
    """For `storage: file`."""

    s3: AuditS3Config = Field(default_factory=AuditS3Config)
    """For `storage: s3`."""

    on_failure: Annotated[str, OneOf(("continue", "refuse", "end"), "way to go on")] = "refuse"
    """While recordings cannot be written: `refuse` new connections, `end` those that are open too, or `continue`
    unrecorded. What is missing in a recording is counted in it. An addition."""

    signing_key: PrivateKey = SecretStr("")
    """An Ed25519 private key, PEM text or path (`ssh-keygen -t ed25519` makes one), that signs each recording at its
    end. An addition."""

    recipients: tuple[str, ...] = ()
    """Who may read finished recordings: `age1…`, or SSH public keys (Ed25519, RSA). Each recording is encrypted to all
    of them when its connection is over (`ID.age`); nobody else, this server included, can read it then. An addition."""

    intercept: AuditInterceptConfig = Field(default_factory=AuditInterceptConfig)
    """What is recorded besides the facts."""

    capture: AuditCaptureConfig = Field(default_factory=AuditCaptureConfig)
    """Files that were uploaded, kept. An addition."""

    retention: AuditRetentionConfig = Field(default_factory=AuditRetentionConfig)
    """How long recordings and captured files are kept in `file.directory`, `s3.keep` and `capture.directory`.
    An addition."""

    events: tuple[EventSinkConfig, ...] = ()
    """Where events go as they happen, one JSON object each: who has connected, logged in, run what, moved which files.
    Works without recordings too, but for `file` events and `passwords`. An addition."""

    def problems(self, disk: Disk) -> Iterator[Finding]:
        for index, sink in enumerate(self.events):
            yield from under("events", under(index, sink.problems(disk)))
            if sink.passwords and not (self.is_recording and self.intercept.passwords):
                mend = "switch on audit.enable and audit.intercept.passwords, or leave it out"
                yield Finding(("events", index, "passwords"), "has no effect where passwords are not recorded", mend)
        if not self.enable:
            return
        if self.capture.directory:
            if not self.intercept.files:
                yield Finding(("capture", "directory"), "has no effect without intercept.files", "switch that on")
            if wrong := disk.directory(self.capture.directory, writable=True):
                yield Finding(("capture", "directory"), wrong)
        yield from super().problems(disk)
        yield from under("retention", self.retention.problems(disk))
        if (key := self.signing_key.get_secret_value()) and (wrong := disk.private_key(key)):
            yield Finding(("signingKey",), wrong)
        if self.storage == "file" and (wrong := disk.directory(self.file.directory, writable=True)):
            yield Finding(("file", "directory"), wrong)
        if self.storage == "s3":
            yield from under("s3", self.s3.problems(disk))
            if self.s3.captured and not self.capture.directory:
                yield Finding(
                    ("s3", "captured"), "has no effect without capture.directory", "name one, or leave it out"
                )

    def warnings(self) -> Iterator[Finding]:
        for index, sink in enumerate(self.events):
            yield from under("events", under(index, sink.warnings()))

    @property
    def is_recording(self) -> bool:
        """True if connections are recorded."""
        return self.enable and self.format != "none" and self.storage != "none"
