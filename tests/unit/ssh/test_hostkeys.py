"""Host keys: read in every form, refused with a reason, made once."""

from __future__ import annotations

import stat
import subprocess
from pathlib import Path

import asyncssh
import pytest
from pydantic import SecretStr
from tests.unit.ssh.conftest import Serve

from moorage.errors import ConfigError
from moorage.ssh.hostkeys import host_certificates, host_keys

ED25519 = asyncssh.generate_private_key("ssh-ed25519")
ECDSA = asyncssh.generate_private_key("ecdsa-sha2-nistp384")
RSA = asyncssh.generate_private_key("ssh-rsa", key_size=2048)


def entries(*texts: str | bytes | Path) -> list[SecretStr]:
    return [SecretStr(text.decode() if isinstance(text, bytes) else str(text)) for text in texts]


@pytest.mark.parametrize(
    ("key", "form"),
    [
        (ED25519, "openssh"),
        (ED25519, "pkcs8-pem"),
        (ECDSA, "openssh"),
        (ECDSA, "pkcs1-pem"),
        (ECDSA, "pkcs8-pem"),
        (RSA, "openssh"),
        (RSA, "pkcs1-pem"),
        (RSA, "pkcs8-pem"),
    ],
)
def test_every_form_is_read_as_text_and_from_a_file(key: asyncssh.SSHKey, form: str, tmp_path: Path) -> None:
    pem = key.export_private_key(form)
    path = tmp_path / "key"
    path.write_bytes(pem)
    for entry in (b"\n  " + pem, path):
        (read,) = host_keys(entries(entry), tmp_path / "none")
        assert read.public_data == key.public_data
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", r"ssh\.hostkeys\[0\] is empty"),
        (b"/no/such/key", r"ssh\.hostkeys\[0\]: /no/such/key cannot be read: No such file"),
        (b"/", "cannot be read"),
        (b"-----BEGIN NOTHING-----", "is not a private key"),
        (ED25519.export_public_key("pkcs8-pem"), "is not a private key"),
        (ED25519.export_private_key(passphrase="x"), "protected by a passphrase"),
        (asyncssh.generate_private_key("ssh-dss").export_private_key(), "is a DSA key"),
    ],
)
def test_what_cannot_be_used_is_explained(text: bytes, reason: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=reason) as caught:
        host_keys(entries(text), tmp_path)
    assert "PRIVATE KEY" not in str(caught.value)


def test_two_keys_of_one_type_are_an_error(tmp_path: Path) -> None:
    other = asyncssh.generate_private_key("ssh-ed25519")
    pems = (ED25519.export_private_key(), RSA.export_private_key(), other.export_private_key())
    with pytest.raises(ConfigError, match=r"ssh\.hostkeys\[2\] is a second key of type ssh-ed25519 beside .*\[0\]"):
        host_keys(entries(*pems), tmp_path)


def test_keys_are_made_once_and_for_nobody_else(tmp_path: Path) -> None:
    directory = tmp_path / "state" / "hostkeys"
    made = host_keys([], directory)
    assert [key.algorithm for key in made] == [b"ssh-ed25519", b"ssh-rsa"]
    assert [key.public_data for key in host_keys([], directory)] == [key.public_data for key in made]
    assert sorted(path.name for path in directory.iterdir()) == [
        "ssh_host_ed25519_key",
        "ssh_host_rsa_key",
    ]
    assert {stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()} == {0o600}
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700


def test_a_damaged_kept_key_is_an_error_and_not_replaced(tmp_path: Path) -> None:
    host_keys([], tmp_path)
    damaged = tmp_path / "ssh_host_rsa_key"
    damaged.write_text("-----BEGIN")
    with pytest.raises(ConfigError, match="ssh_host_rsa_key is not a private key"):
        host_keys([], tmp_path)
    assert damaged.read_text() == "-----BEGIN"


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="host keys cannot be kept in"):
        host_keys([], tmp_path / "file" / "keys")


def test_a_key_of_another_type_that_is_there_is_used(tmp_path: Path) -> None:
    host_keys([], tmp_path)
    (tmp_path / "ssh_host_ecdsa_key").write_bytes(ECDSA.export_private_key("openssh"))
    assert ECDSA.public_data in [key.public_data for key in host_keys([], tmp_path)]


@pytest.mark.parametrize("algorithm", ["ssh-ed25519", "ecdsa-sha2-nistp384", "rsa-sha2-256", "rsa-sha2-512"])
async def test_clients_get_the_key_that_they_ask_for(serve: Serve, tmp_path: Path, algorithm: str) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "ssh_host_ecdsa_key").write_bytes(ECDSA.export_private_key("openssh"))
    served = await serve(keys=host_keys([], tmp_path / "keys"))
    result = await served.ssh("-o", f"HostKeyAlgorithms={algorithm}", "localhost", "echo in")
    assert result.out == b"in\n", result.err


async def test_sha1_host_signatures_are_not_on_offer(serve: Serve, tmp_path: Path) -> None:
    served = await serve(keys=[RSA])
    with pytest.raises(asyncssh.KeyExchangeFailed):
        await served.client(server_host_key_algs=["ssh-rsa"])


def sign(directory: Path, key: asyncssh.SSHKey, *options: str) -> Path:
    """A certificate for `key` by an authority whose public half is in ``ca.pub``, made by OpenSSH's own tool."""
    if not (directory / "ca").exists():
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(directory / "ca")], check=True)
    name = key.algorithm.decode()
    (directory / f"{name}.pub").write_bytes(key.export_public_key("openssh"))
    command = ["ssh-keygen", "-q", "-s", str(directory / "ca"), "-I", "host", *options, str(directory / f"{name}.pub")]
    subprocess.run(command, check=True)
    return directory / f"{name}-cert.pub"


async def test_who_trusts_the_authority_needs_to_know_no_key(serve: Serve, tmp_path: Path) -> None:
    keys = (ED25519, RSA)
    files = [sign(tmp_path, key, "-h", "-n", "127.0.0.1,localhost") for key in keys]
    certificates = host_certificates([str(files[0]), files[1].read_text()], keys)
    served = await serve(keys=keys, certificates=certificates)
    trusted = tmp_path / "trusted"
    trusted.write_text(f"@cert-authority * {(tmp_path / 'ca.pub').read_text()}")
    for algorithm in ("ssh-ed25519", "rsa-sha2-512", "rsa-sha2-256"):
        options = ("StrictHostKeyChecking=yes", f"UserKnownHostsFile={trusted}")
        chosen = f"HostKeyAlgorithms={algorithm}-cert-v01@openssh.com"
        done = await served.ssh(*(f"-o{option}" for option in (*options, chosen)), "localhost", "echo in")
        assert done.out == b"in\n", done.err
    plain = await served.ssh("-oHostKeyAlgorithms=ssh-ed25519", "localhost", "echo in")
    assert plain.out == b"in\n", plain.err
    with pytest.raises(asyncssh.KeyExchangeFailed):
        await served.client(server_host_key_algs=["ssh-rsa-cert-v01@openssh.com"])


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("-n", "alice"), "is no host certificate in force: Invalid certificate type"),
        (("-h", "-V", "20200101:20210101"), "is no host certificate in force: Certificate expired"),
    ],
)
def test_a_certificate_that_no_client_would_take_is_an_error(
    tmp_path: Path, options: tuple[str, ...], reason: str
) -> None:
    file = sign(tmp_path, ED25519, *options)
    with pytest.raises(ConfigError, match=rf"ssh\.hostCertificates\[0\] .*{reason}"):
        host_certificates([str(file)], [ED25519])


def test_a_certificate_of_another_key_and_what_is_none_are_errors(tmp_path: Path) -> None:
    file = sign(tmp_path, ED25519, "-h")
    with pytest.raises(ConfigError, match="is for none of the host keys"):
        host_certificates([str(file)], [RSA])
    (tmp_path / "text").write_text("ssh-ed25519 AAAA")
    with pytest.raises(ConfigError, match="is no host certificate in force"):
        host_certificates([str(tmp_path / "text")], [ED25519])
    with pytest.raises(ConfigError, match="cannot be read"):
        host_certificates([str(tmp_path / "none")], [ED25519])
