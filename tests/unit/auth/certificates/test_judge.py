"""A certificate lets in whom it names, while it lasts, from where it says, by an authority of ours."""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.unit.auth.certificates.conftest import Issuer

from moorage.auth.certificates.judge import CertificateJudge
from moorage.config.sections.certificates import CertificatesConfig
from moorage.errors import AuthError, ConfigError
from moorage.gateway.model import Address, Attempt, ConnectionId, Restrictions, Verdict

MIA = Attempt(ConnectionId("0" * 32), Address("10.1.2.3", 4000), "SSH-2.0-Test", "mia")
DAY = 24 * 3600.0

Judge = Callable[..., Awaitable[Verdict]]


@pytest.fixture
def judge(issuer: Issuer) -> Judge:
    """Judge one certificate: ``await judge(line, at=…, principals=[…])``."""

    async def judge(
        line: str,
        *,
        attempt: Attempt = MIA,
        at: float | None = None,
        of: Callable[[str], Awaitable[Sequence[str] | None]] | None = None,
        **config: Any,
    ) -> Verdict:
        settings = CertificatesConfig.model_validate({"authorities": (issuer.line("ca"),), **config})
        made = CertificateJudge(settings, principals_of=of, clock=lambda: time.time() if at is None else at)
        return await made.judge(attempt, line)

    return judge


async def test_a_good_certificate_lets_its_principal_in(issuer: Issuer, judge: Judge) -> None:
    verdict = await judge(issuer.certify("-n", "mia", "-z", "7", key_id="mia@corp"))
    assert verdict.success
    assert verdict.authenticated_username == "mia"
    assert verdict.restrictions == Restrictions()
    said = {name: text.value for name, text in verdict.metadata.metadata.items()}
    assert said["SSH_CERTIFICATE_KEY_ID"] == "mia@corp"
    assert said["SSH_CERTIFICATE_SERIAL"] == "7"
    assert said["SSH_CERTIFICATE_PRINCIPALS"] == "mia"
    assert said["SSH_CERTIFICATE_AUTHORITY"].startswith("SHA256:")
    assert said["SSH_CERTIFICATE_VALID_BEFORE"].startswith("9999-")


async def test_another_authority_does_not_count(issuer: Issuer, judge: Judge) -> None:
    assert not (await judge(issuer.certify("-n", "mia", ca="another-ca"))).success


@pytest.mark.parametrize("options", [("-n", "bob"), (), ("-n", "mi"), ("-h", "-n", "mia")])
async def test_the_wrong_holder_or_kind_is_refused(issuer: Issuer, judge: Judge, options: tuple[str, ...]) -> None:
    assert not (await judge(issuer.certify(*options))).success


@pytest.mark.parametrize(("offset", "good"), [(-1, False), (0, True), (3599, True), (3600, False)])
async def test_the_times_count_by_our_clock(issuer: Issuer, judge: Judge, offset: float, good: bool) -> None:
    line = issuer.certify("-n", "mia", "-V", "20260101000000Z:20260101010000Z")
    assert (await judge(line, at=1767225600 + offset)).success is good


@pytest.mark.parametrize(
    ("networks", "host", "good"),
    [
        ("10.0.0.0/8", "10.1.2.3", True),
        ("192.168.0.0/16,10.1.2.3/32", "10.1.2.3", True),
        ("192.168.0.0/16", "10.1.2.3", False),
        ("2001:db8::/32", "2001:db8::1", True),
        ("2001:db8::/32", "10.1.2.3", False),
    ],
)
async def test_the_source_address_binds(issuer: Issuer, judge: Judge, networks: str, host: str, good: bool) -> None:
    line = issuer.certify("-n", "mia", "-O", f"source-address={networks}")
    attempt = Attempt(MIA.connection_id, Address(host, 1), MIA.client_version, "mia")
    assert (await judge(line, attempt=attempt)).success is good


async def test_what_is_not_permitted_is_a_restriction(issuer: Issuer, judge: Judge) -> None:
    line = issuer.certify("-n", "mia", "-O", "clear", "-O", "force-command=date")
    assert (await judge(line)).restrictions == Restrictions("date", False, False, False, False)
    line = issuer.certify("-n", "mia", "-O", "no-port-forwarding", "-O", "no-x11-forwarding")
    assert (await judge(line)).restrictions == Restrictions(None, True, False, False, True)
    line = issuer.certify("-n", "mia", "-O", "no-pty", "-O", "no-agent-forwarding")
    assert (await judge(line)).restrictions == Restrictions(None, False, True, True, False)


async def test_options_of_security_keys_are_carried(issuer: Issuer, judge: Judge) -> None:
    line = issuer.certify("-n", "mia", "-O", "no-touch-required", "-O", "verify-required")
    restrictions = (await judge(line)).restrictions
    assert (restrictions.touch_required, restrictions.verify_required) == (False, True)


async def test_a_critical_option_that_is_not_known_refuses(issuer: Issuer, judge: Judge) -> None:
    assert not (await judge(issuer.certify("-n", "mia", "-O", "critical:nobody@example.com=x"))).success
    assert (await judge(issuer.certify("-n", "mia", "-O", "extension:nobody@example.com=x"))).success


async def test_an_authority_may_be_limited_to_some_algorithms(issuer: Issuer, judge: Judge) -> None:
    line = issuer.certify("-n", "mia")
    assert not (await judge(line, signature_algorithms=("rsa-sha2-512",))).success


@pytest.mark.parametrize(
    ("patterns", "principals", "good"),
    [
        (("%u",), "mia", True),
        (("team-*",), "team-blue", True),
        (("team-*",), "mia", False),
        (("host1-%u", "x"), "host1-mia", True),
        (("host1-%u",), "host1-bob", False),
        (("*",), "anything", True),
        ((), "mia", False),
    ],
)
async def test_principals_go_by_pattern(
    issuer: Issuer, judge: Judge, patterns: tuple[str, ...], principals: str, good: bool
) -> None:
    assert (await judge(issuer.certify("-n", principals), principals=patterns)).success is good


async def test_a_name_with_stars_is_no_pattern(issuer: Issuer, judge: Judge) -> None:
    star = Attempt(MIA.connection_id, MIA.remote_address, MIA.client_version, "*")
    assert not (await judge(issuer.certify("-n", "host1-root"), attempt=star, principals=("host1-%u",))).success
    assert not (await judge(issuer.certify("-n", "root"), attempt=star)).success


async def test_principals_come_from_the_users_file_first(issuer: Issuer, judge: Judge) -> None:
    async def recorded(name: str) -> Sequence[str] | None:
        return ("on-record",) if name == "mia" else None

    assert (await judge(issuer.certify("-n", "on-record"), of=recorded)).success
    assert not (await judge(issuer.certify("-n", "mia"), of=recorded)).success


async def test_principals_come_from_a_file_for_each_user(issuer: Issuer, judge: Judge, tmp_path: Path) -> None:
    (tmp_path / "mia").write_text("# of mia\nweb-admin\n\ndb-admin\n")
    template = f"{tmp_path}/%u"
    assert (await judge(issuer.certify("-n", "db-admin"), principals_file=template)).success
    assert not (await judge(issuer.certify("-n", "mia"), principals_file=template)).success
    for name in ("bob", "../mia", "..", f"{tmp_path}/mia", "\0"):
        other = Attempt(MIA.connection_id, MIA.remote_address, MIA.client_version, name)
        assert not (await judge(issuer.certify("-n", "db-admin"), attempt=other, principals_file=template)).success
    (tmp_path / "mia").write_text('from="10.0.0.1" db-admin\n')
    with pytest.raises(AuthError, match="more than a name"):
        await judge(issuer.certify("-n", "db-admin"), principals_file=template)


async def test_authorities_come_from_a_file_that_may_change(issuer: Issuer, tmp_path: Path) -> None:
    file = tmp_path / "cas"
    file.write_text(f"# ours\n{issuer.line('another-ca')}\n")
    made = CertificateJudge(CertificatesConfig(authorities=(str(file),)))
    line = issuer.certify("-n", "mia")
    assert not (await made.judge(MIA, line)).success
    _write(file, f"cert-authority {issuer.line('ca')} the new one\n")
    assert (await made.judge(MIA, line)).success
    _write(file, "")
    with pytest.raises(AuthError, match="no key in it"):
        await made.judge(MIA, line)


async def test_a_revoked_certificate_and_key_are_refused(issuer: Issuer, tmp_path: Path) -> None:
    (tmp_path / "spec").write_text("serial: 5\n")
    (tmp_path / "keys").write_text("")
    issuer.run("-k", "-f", tmp_path / "krl", "-s", issuer.key("ca").with_suffix(".pub"), tmp_path / "spec")
    settings = CertificatesConfig(
        authorities=(issuer.line("ca"),), revoked=(str(tmp_path / "krl"), str(tmp_path / "keys"))
    )
    made = CertificateJudge(settings)
    assert not (await made.judge(MIA, issuer.certify("-n", "mia", "-z", "5"))).success
    good = issuer.certify("-n", "mia", "-z", "6")
    assert (await made.judge(MIA, good)).success
    assert not await made.revokes_key(issuer.blob("id"))
    _write(tmp_path / "keys", issuer.line("id"))
    assert not (await made.judge(MIA, good)).success
    assert await made.revokes_key(issuer.blob("id"))


@pytest.mark.parametrize("damage", ["gone", "broken"])
async def test_a_list_that_cannot_be_used_lets_nobody_in(issuer: Issuer, tmp_path: Path, damage: str) -> None:
    file = tmp_path / "revoked"
    file.write_text("")
    made = CertificateJudge(CertificatesConfig(authorities=(issuer.line("ca"),), revoked=(str(file),)))
    line = issuer.certify("-n", "mia")
    assert (await made.judge(MIA, line)).success
    if damage == "gone":
        file.unlink()
    else:
        _write(file, "SSHKRL\n\0 and so on")
    with pytest.raises(AuthError, match="cannot be used"):
        await made.judge(MIA, line)


def test_what_cannot_be_used_at_the_start_is_an_error_of_the_configuration(issuer: Issuer, tmp_path: Path) -> None:
    (tmp_path / "bad").write_text("nonsense\n")
    issuer.key("weak", "rsa", "1024")
    for settings in (
        {"authorities": (str(tmp_path / "nothing"),)},
        {"authorities": (str(tmp_path / "bad"),)},
        {"authorities": ("ssh-ed25519 %%%",)},
        {"authorities": (issuer.line("weak"),)},
        {"revoked": (str(tmp_path / "bad"),)},
    ):
        with pytest.raises(ConfigError, match=r"auth\.publicKey\.certificates\.(authorities|revoked)\[0\]"):
            CertificateJudge(CertificatesConfig.model_validate(settings))


async def test_without_authorities_the_rest_still_holds(issuer: Issuer, judge: Judge) -> None:
    assert (await judge(issuer.certify("-n", "mia", ca="another-ca"), authorities=())).success
    assert (await judge(issuer.certify(ca="another-ca"), authorities=())).success
    assert not (await judge(issuer.certify("-n", "bob"), authorities=())).success
    assert not (await judge(issuer.certify("-n", "mia", "-V", "20200101:20200102"), authorities=())).success
    verdict = await judge(issuer.certify("-n", "mia", "-O", "force-command=date"), authorities=())
    assert verdict.restrictions.force_command == "date"
    assert not verdict.metadata.metadata


async def test_a_weak_rsa_key_is_refused_though_certified(issuer: Issuer, judge: Judge) -> None:
    issuer.key("weak", "rsa", "1024")
    assert not (await judge(issuer.certify("-n", "mia", of="weak"))).success


def _write(path: Path, text: str) -> None:
    """Replace the file, with a time of change that is another one for sure."""
    path.write_text(text)
    later = time.time() + DAY
    os.utime(path, (later, later))
