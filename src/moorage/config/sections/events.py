"""``audit.events``: where facts about connections go as they happen."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, Final

from pydantic import Field, SecretStr

from moorage.config.disk import Disk
from moorage.config.section import AtLeast, Duration, EachOneOf, Finding, OneOf, Section, under
from moorage.config.sections.directories import PluginConfig
from moorage.config.sections.http import HTTPClientConfig, secret_problems
from moorage.config.sections.log import SyslogConfig

EVENT_GROUPS: Final = (
    *("connection", "auth", "login", "guest", "session", "request", "program"),
    *("forward", "listener", "file", "events"),
)
"""What the names of events begin with."""


class EventWebhookConfig(HTTPClientConfig):
    """A service that takes events: each request is a POST of JSON lines (`application/x-ndjson`)."""

    timeout: Annotated[Duration, AtLeast(timedelta(milliseconds=100))] = timedelta(seconds=10)
    """The longest time that one request may take; at least 100ms."""

    authorization: SecretStr = SecretStr("")
    """The value of the header `Authorization`, such as `Bearer …` or `Splunk …`."""

    secret: SecretStr = SecretStr("")
    """If set, every request is signed with it (`X-Moorage-Signature`); at least 16 characters."""

    proxy_from_environment: bool = False
    """Go through the proxy that `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` name."""

    def problems(self, disk: Disk) -> Iterator[Finding]:
        yield from super().problems(disk)
        yield from secret_problems(self.secret)
        authorization = self.authorization.get_secret_value()
        if not (authorization.isascii() and authorization.isprintable()):
            yield Finding(("authorization",), "has characters that no header may have", "write one line of ASCII")


class EventSinkConfig(Section):
    """A place where events go."""

    sink: Annotated[str, OneOf(("file", "stdout", "syslog", "webhook", "plugin"), "sink of events")] = "file"
    """`file`, `stdout`, `syslog`, `webhook` or `plugin`."""

    file: str = ""
    """For `sink: file`: the file that JSON lines are appended to. Its directory must exist. A file that was moved away
    or removed is begun anew."""

    syslog: SyslogConfig = Field(default_factory=SyslogConfig)
    """For `sink: syslog`."""

    webhook: EventWebhookConfig = Field(default_factory=EventWebhookConfig)
    """For `sink: webhook`."""

    plugin: PluginConfig = Field(default_factory=PluginConfig)
    """For `sink: plugin`, of the entry point group `moorage.audit_sinks`."""

    only: Annotated[tuple[str, ...], EachOneOf(EVENT_GROUPS, "group of events", may_be_empty=True)] = ()
    """The groups of events that are wanted: what their names begin with, such as `auth` or `file`. Empty: all."""

    passwords: bool = False
    """Tell passwords and answers of attempts to log in. Needs recordings with `audit.intercept.passwords`."""

    def problems(self, disk: Disk) -> Iterator[Finding]:
        yield from super().problems(disk)
        if self.sink == "file" and not self.file:
            yield Finding(("file",), "is required for the sink file", "name a file in an existing directory")
        elif self.sink == "file" and (wrong := disk.directory(self.file.rpartition("/")[0] or "/", writable=True)):
            yield Finding(("file",), wrong)
        if self.sink in {"syslog", "webhook", "plugin"}:
            chosen: Section = getattr(self, self.sink)
            yield from under(self.sink, chosen.problems(disk))

    def warnings(self) -> Iterator[Finding]:
        if self.sink == "webhook":
            yield from under("webhook", self.webhook.warnings())
