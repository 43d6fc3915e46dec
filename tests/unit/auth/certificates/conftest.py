"""Authorities, keys and certificates, made by OpenSSH's own ssh-keygen."""

from __future__ import annotations

import subprocess
from base64 import b64decode
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.parts import need

from moorage.auth.certificates.certificate import Certificate, parse_line


@dataclass
class Issuer:
    """ssh-keygen in a directory of its own."""

    directory: Path

    def run(self, *words: str | Path) -> None:
        """Run it; it must succeed."""
        program = need.program("ssh-keygen", "openssh-client")
        done = subprocess.run([program, "-q", *words], cwd=self.directory, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    def key(self, name: str, kind: str = "ed25519", bits: str = "") -> Path:
        """A key pair, made once."""
        path = self.directory / name
        if not path.exists():
            self.run("-t", kind, *(["-b", bits] if bits else []), "-N", "", "-C", name, "-f", path)
        return path

    def certify(self, *options: str, ca: str = "ca", of: str = "id", key_id: str = "the-id") -> str:
        """A certificate for the key `of` by the authority `ca`, as one line without a comment."""
        authority, subject = self.key(ca), self.key(of)
        self.run("-s", authority, "-I", key_id, *options, subject.with_suffix(".pub"))
        return " ".join(Path(f"{subject}-cert.pub").read_text().split()[:2])

    def line(self, name: str) -> str:
        """The public key `name` as one line without a comment."""
        return " ".join(self.key(name).with_suffix(".pub").read_text().split()[:2])

    def blob(self, name: str) -> bytes:
        """Its wire form."""
        return b64decode(self.line(name).split()[1])

    def certificate(self, *options: str, **more: str) -> Certificate:
        """What `certify` makes, parsed."""
        return parse_line(self.certify(*options, **more))


@pytest.fixture(scope="session")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Issuer:
    """One issuer; its keys are shared by all tests."""
    return Issuer(tmp_path_factory.mktemp("issuer"))
