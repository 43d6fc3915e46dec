"""A real rsyslogd that takes lines by every way there is and writes what it has understood."""

from __future__ import annotations

import glob
import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import trustme
from tests.e2e.serving import free_port
from tests.e2e.waiting import until
from tests.parts import need

_MODULE = "/usr/lib/*/rsyslog/lmnsd_gtls.so"


@dataclass(frozen=True)
class Understood:
    """One message, taken apart by the daemon."""

    priority: int
    host: str
    tag: str
    pid: str
    message_id: str
    data: str
    text: str
    protocol: str
    """The version of RFC 5424's header; 0 for the older form."""


class Rsyslog:
    """The daemon; `destinations` holds the address of each transport as the configuration wants it."""

    def __init__(self, directory: Path) -> None:
        self._program = need.program("rsyslogd", "rsyslog")
        if not glob.glob(_MODULE):  # noqa: PTH207 - an absolute pattern
            need.missing(f"{_MODULE} (package rsyslog-gnutls)")
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        authority = trustme.CA()
        self.authority = directory / "ca.pem"
        authority.cert_pem.write_to_path(str(self.authority))
        certificate = authority.issue_cert("127.0.0.1")
        certificate.private_key_pem.write_to_path(str(directory / "key.pem"))
        certificate.cert_chain_pems[0].write_to_path(str(directory / "cert.pem"))
        udp, tcp, tls = free_port(), free_port(), free_port()
        self.destinations = {
            "unix": str(directory / "log.sock"),
            "udp": f"127.0.0.1:{udp}",
            "tcp": f"tcp://127.0.0.1:{tcp}",
            "tls": f"tls://127.0.0.1:{tls}",
        }
        fields = ("pri", "hostname", "app-name", "procid", "msgid", "structured-data", "msg", "protocol-version")
        shown = ", ".join(f'\\"{name}\\":\\"%{name}:::json%\\"' for name in fields)
        (directory / "rs.conf").write_text(f"""
global(workDirectory="{directory}" maxMessageSize="16k"
  DefaultNetstreamDriverCAFile="{self.authority}"
  DefaultNetstreamDriverCertFile="{directory}/cert.pem" DefaultNetstreamDriverKeyFile="{directory}/key.pem")
module(load="imudp") module(load="imtcp") module(load="imuxsock" SysSock.Use="off")
input(type="imudp" address="127.0.0.1" port="{udp}" ruleset="all")
input(type="imtcp" address="127.0.0.1" port="{tcp}" ruleset="all")
input(type="imtcp" address="127.0.0.1" port="{tls}" ruleset="all"
  StreamDriver.Name="gtls" StreamDriver.Mode="1" StreamDriver.AuthMode="anon")
input(type="imuxsock" socket="{directory}/log.sock" createPath="on" ruleset="all" useSpecialParser="off"
  parseHostname="off")
template(name="line" type="string" string="{{{shown}}}\\n")
ruleset(name="all") {{ action(type="omfile" file="{directory}/out.log" template="line") }}
""")

    def start(self) -> None:
        """Start the daemon and wait until it listens on every way."""
        conf, pid = self._directory / "rs.conf", self._directory / "rsyslogd.pid"
        pid.unlink(missing_ok=True)
        with (self._directory / "rsyslogd.log").open("ab") as log:
            command = [self._program, "-n", "-f", str(conf), "-i", str(pid)]
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        until(pid.exists, "rsyslogd runs", seconds=20)
        until(lambda: Path(self.destinations["unix"]).exists(), "rsyslogd listens", seconds=20)

    def stop(self) -> None:
        """End the daemon; idempotent."""
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            process.wait(20)

    def complaints(self) -> str:
        """What the daemon had to say itself."""
        return (self._directory / "rsyslogd.log").read_text()

    def understood(self) -> list[Understood]:
        """Every message so far."""
        path = self._directory / "out.log"
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        found = [json.loads(line) for line in lines if line.endswith("\n")]
        return [
            Understood(
                int(one["pri"]),
                one["hostname"],
                one["app-name"],
                one["procid"],
                one["msgid"],
                one["structured-data"],
                one["msg"].removeprefix(" "),
                one["protocol-version"],
            )
            for one in found
        ]


@contextmanager
def rsyslog(directory: Path) -> Iterator[Rsyslog]:
    """The daemon for the time of the block."""
    daemon = Rsyslog(directory)
    daemon.start()
    try:
        yield daemon
    finally:
        daemon.stop()
