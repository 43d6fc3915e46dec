"""Keys and certificates are looked at where they are, and not shown."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trustme

from moorage.config.disk import Disk, is_inline_pem, read_pem


@pytest.fixture(scope="module")
def pair() -> tuple[str, str]:
    issued = trustme.CA().issue_cert("example.com")
    certificates = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
    return certificates.decode(), issued.private_key_pem.bytes().decode()


def test_a_pem_text_is_itself_and_anything_else_a_path(tmp_path: Path, pair: tuple[str, str]) -> None:
    path = tmp_path / "cert.pem"
    path.write_text(pair[0])
    assert is_inline_pem("\n  " + pair[0])
    assert read_pem(pair[0]) == read_pem(str(path)) == pair[0]


def test_a_pair_that_belongs_together_is_fine_inline_and_as_files(tmp_path: Path, pair: tuple[str, str]) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert.write_text(pair[0])
    key.write_text(pair[1])
    disk = Disk()
    assert disk.key_pair(*pair) == disk.key_pair(str(cert), str(key)) == ""
    assert disk.certificates(str(cert)) == disk.private_key(str(key)) == ""


def test_a_pair_that_does_not_belong_together_is_found(pair: tuple[str, str]) -> None:
    other = trustme.CA().issue_cert("example.org").private_key_pem.bytes().decode()
    assert "do not belong together" in Disk().key_pair(pair[0], other)


def test_what_is_no_certificate_or_key_is_said(tmp_path: Path, pair: tuple[str, str]) -> None:
    disk = Disk()
    assert disk.certificates(pair[1]) == "there is no certificate"
    assert disk.private_key(pair[0]) == "there is no private key"
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe")
    assert disk.certificates(str(binary)) == "the file is not a PEM text"
    assert disk.certificates(str(tmp_path)) == "is not a regular file"
    assert (
        disk.certificates("-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n")
        == "the certificate is damaged"
    )
    assert disk.private_key("-----BEGIN ENCRYPTED PRIVATE KEY-----\n") != ""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert disk.private_key(str(pipe)) == "is not a regular file"
    large = tmp_path / "large"
    large.write_bytes(b"a" * (1024 * 1024 + 1))
    assert disk.private_key(str(large)) == "the file is larger than 1 MiB"


def test_directories_and_files_are_told_apart(tmp_path: Path) -> None:
    disk = Disk()
    (tmp_path / "file").touch()
    assert disk.directory(str(tmp_path), writable=True) == disk.file(str(tmp_path / "file")) == ""
    assert disk.directory(str(tmp_path / "file")) == "is not a directory"
    assert disk.file(str(tmp_path / "none")) == disk.directory(str(tmp_path / "none")) == "no such file or directory"


@pytest.mark.parametrize(
    ("text", "context", "wrong"),
    [
        ("{current-context: a, contexts: [{name: a}, {name: b}]}", "", ""),
        ("{current-context: a, contexts: [{name: a}, {name: b}]}", "b", ""),
        ("{current-context: a, contexts: [{name: a}]}", "c", "has no context 'c'"),
        ("{current-context: b, contexts: [{name: a}]}", "", "has no context 'b'"),
        ("{contexts: [{name: a}, 7]}", "", "has no current context"),
        ("garbage", "", "is not a kubeconfig file: it has no list of contexts"),
        ("{contexts: {}}", "", "is not a kubeconfig file: it has no list of contexts"),
        ("{", "", "is not a YAML file"),
    ],
)
def test_a_kubeconfig_has_the_context_that_is_asked_for(tmp_path: Path, text: str, context: str, wrong: str) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(text)
    assert Disk().kubeconfig(str(path), context) == wrong
    assert Disk(look=False).kubeconfig(str(path), context) == ""


def test_one_that_does_not_look_finds_everything_fine() -> None:
    disk = Disk(look=False)
    assert {disk.certificates("x"), disk.private_key("x"), disk.key_pair("x", "y"), disk.file("x")} == {""}
    assert disk.directory("x") == ""
