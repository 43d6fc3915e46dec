"""Names of algorithms, curves, cipher suites and modes that the configuration accepts."""

from typing import Final

from moorage import __version__

SSH_CIPHERS: Final = (
    "chacha20-poly1305@openssh.com",
    "aes256-gcm@openssh.com",
    "aes128-gcm@openssh.com",
    "aes256-ctr",
    "aes192-ctr",
    "aes128-ctr",
    "aes256-cbc",
    "aes192-cbc",
    "aes128-cbc",
    "3des-cbc",
    "arcfour256",
    "arcfour128",
    "arcfour",
    "tripledescbcID",
)
DEAD_CIPHERS: Final = frozenset({"tripledescbcID"})
"""Accepted for old files; no client has ever offered them."""

SSH_KEX: Final = (
    "mlkem768x25519-sha256",
    "mlkem768nistp256-sha256",
    "mlkem1024nistp384-sha384",
    "curve25519-sha256",
    "curve25519-sha256@libssh.org",
    "curve448-sha512",
    "ecdh-sha2-nistp521",
    "ecdh-sha2-nistp384",
    "ecdh-sha2-nistp256",
    "diffie-hellman-group-exchange-sha256",
    "diffie-hellman-group14-sha256",
    "diffie-hellman-group15-sha512",
    "diffie-hellman-group16-sha512",
    "diffie-hellman-group17-sha512",
    "diffie-hellman-group18-sha512",
    "diffie-hellman-group14-sha1",
    "diffie-hellman-group1-sha1",
)
SSH_MACS: Final = (
    "umac-128-etm@openssh.com",
    "hmac-sha2-256-etm@openssh.com",
    "hmac-sha2-512-etm@openssh.com",
    "hmac-sha1-etm@openssh.com",
    "umac-128@openssh.com",
    "hmac-sha2-256",
    "hmac-sha2-512",
    "hmac-sha1",
    "hmac-sha1-96",
)
SSH_HOST_KEY_ALGORITHMS: Final = (
    "ssh-ed25519-cert-v01@openssh.com",
    "ecdsa-sha2-nistp256-cert-v01@openssh.com",
    "ecdsa-sha2-nistp384-cert-v01@openssh.com",
    "ecdsa-sha2-nistp521-cert-v01@openssh.com",
    "rsa-sha2-512-cert-v01@openssh.com",
    "rsa-sha2-256-cert-v01@openssh.com",
    "ssh-rsa-cert-v01@openssh.com",
    "ssh-dss-cert-v01@openssh.com",
    "ssh-ed25519",
    "ssh-ed448",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-512",
    "rsa-sha2-256",
    "ssh-rsa",
    "ssh-dss",
)

TLS_CURVES: Final = ("x25519", "X25519", "secp256r1", "prime256v1", "secp384r1", "secp521r1")
DEFAULT_TLS_CURVES: Final = ("x25519", "secp256r1", "secp384r1", "secp521r1")
TLS_VERSIONS: Final = ("1.2", "1.3")

DEFAULT_TLS_SUITES: Final = (
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
)
TLS_SUITES: Final = {
    "TLS_AES_128_GCM_SHA256": "",
    "TLS_AES_256_GCM_SHA384": "",
    "TLS_CHACHA20_POLY1305_SHA256": "",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305": "ECDHE-RSA-CHACHA20-POLY1305",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305": "ECDHE-ECDSA-CHACHA20-POLY1305",
}
"""IANA name → OpenSSL name; empty for TLS 1.3 suites, which OpenSSL always has on."""

TLS_SUITE_SPELLINGS: Final = {
    spelling: iana
    for iana, openssl in TLS_SUITES.items()
    for spelling in (iana, openssl, iana.replace("_WITH_", "_") if openssl else "")
    if spelling
}
"""Every accepted spelling of a suite (IANA, OpenSSL, GnuTLS style) → its IANA name."""

SECURITY_MODES: Final = ("enable", "filter", "disable")
SIGNALS: Final = ("ABRT", "ALRM", "FPE", "HUP", "ILL", "INT", "KILL", "PIPE", "QUIT", "SEGV", "TERM", "USR1", "USR2")

LOG_LEVELS: Final = ("emerg", "alert", "crit", "error", "warning", "notice", "info", "debug")
"""In the order of syslog's numbers, 0 to 7."""

SYSLOG_FACILITIES: Final = (
    *("kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp"),
    *("ntp", "logaudit", "logalert", "clock"),
    *(f"local{number}" for number in range(8)),
)
"""In the order of syslog's numbers, 0 to 23."""

DEFAULT_GUEST_IMAGE: Final = "containerssh/containerssh-guest-image"
DEFAULT_AGENT_IMAGE: Final = f"moorage/agent:{__version__}"
DEFAULT_AGENT_PATH: Final = "/usr/bin/containerssh-agent"
DEFAULT_IDLE_COMMAND: Final = (DEFAULT_AGENT_PATH, "wait-signal", "--signal", "INT", "--signal", "TERM")
DEFAULT_SUBSYSTEMS: Final = {"sftp": "/usr/lib/openssh/sftp-server"}
IMAGE_PULL_POLICIES: Final = ("Always", "IfNotPresent", "Never")

INTERNAL_SFTP: Final = "internal-sftp"
"""The value of a forced command or a subsystem that means the built-in SFTP server."""
