"""Clients of services, made from the blocks of the configuration that describe them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moorage.config.disk import read_pem
from moorage.config.sections.http import HTTPClientConfig
from moorage.config.sections.log import SyslogConfig
from moorage.config.sections.names import SYSLOG_FACILITIES
from moorage.net.http import Endpoint

if TYPE_CHECKING:
    from moorage.syslog import Syslog


def endpoint_of(block: HTTPClientConfig) -> Endpoint:
    """The endpoint that a block of the configuration describes."""
    return Endpoint(
        url=block.url,
        timeout=block.timeout,
        allow_redirects=block.allow_redirects,
        cacert=block.cacert,
        cert=block.cert,
        key=block.key.get_secret_value(),
        tls_version=block.tls_version,
        curves=block.curves,
        cipher=block.cipher,
        proxied=getattr(block, "proxy_from_environment", False),
    )


def syslog_of(settings: SyslogConfig) -> Syslog:
    """The connected syslog daemon that `settings` describe; raises `OSError` if it cannot be reached now."""
    from moorage.net.tls import client_context
    from moorage.syslog import Syslog, Where

    is_tls = Where.parse(settings.destination).transport == "tls"
    return Syslog(
        settings.destination,
        facility=SYSLOG_FACILITIES.index(settings.facility),
        tag=settings.tag,
        with_pid=settings.pid,
        is_rfc_5424=settings.format == "rfc5424" if settings.format else None,
        tls=client_context(ca=read_pem(settings.cacert) if settings.cacert else "") if is_tls else None,
    )
