"""``audit``: recordings of what went through a connection."""

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field, SecretStr

from moorage.config.disk import Disk, is_inline_pem
from moorage.config.section import AtLeast, Finding, OneOf, Section, Within, under

_UINT = Within(0, 2**63 - 1)


class AuditFileConfig(Section):
    """Recordings as local files."""

    directory: str = "/var/log/audit"
    """An existing directory that the server may write to."""


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
    """The access key's name; required."""

    secret_key: SecretStr = SecretStr("")
    """The access key's secret; required."""

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

    metadata: AuditS3MetadataConfig = Field(default_factory=AuditS3MetadataConfig)
    """What is attached to a recording."""

    def problems(self, disk: Disk) -> Iterator[Finding]:
        if wrong := disk.directory(self.local, writable=True):
            yield Finding(("local",), wrong)
        for key, value in (
            ("accessKey", self.access_key),
            ("secretKey", self.secret_key.get_secret_value()),
            ("bucket", self.bucket),
        ):
            if not value:
                yield Finding((key,), "is required for storage s3")
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


class AuditConfig(Section):
    """Recordings; checked only if `enable` is on."""

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

    intercept: AuditInterceptConfig = Field(default_factory=AuditInterceptConfig)
    """What is recorded besides the facts."""

    def problems(self, disk: Disk) -> Iterator[Finding]:
        if not self.enable:
            return
        yield from super().problems(disk)
        if self.storage == "file" and (wrong := disk.directory(self.file.directory, writable=True)):
            yield Finding(("file", "directory"), wrong)
        if self.storage == "s3":
            yield from under("s3", self.s3.problems(disk))
