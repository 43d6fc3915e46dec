"""Every default is pinned: one that changes changes this file, too."""

from __future__ import annotations

from typing import Any

from moorage.config import AppConfig
from moorage.config.rendering import plain
from moorage.config.section import Section

_TLS: dict[str, Any] = {
    "tlsVersion": "1.3",
    "curves": ["x25519", "secp256r1", "secp384r1", "secp521r1"],
    "cipher": [
        "TLS_AES_128_GCM_SHA256",
        "TLS_AES_256_GCM_SHA384",
        "TLS_CHACHA20_POLY1305_SHA256",
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    ],
}
_CLIENT: dict[str, Any] = {
    **_TLS,
    "url": "",
    "allowRedirects": False,
    "timeout": "2s",
    "cacert": "",
    "cert": "",
    "key": "",
}
_SERVER: dict[str, Any] = {**_TLS, "listen": "0.0.0.0:8080", "key": "", "cert": "", "clientcacert": ""}
_WEBHOOK: dict[str, Any] = {**_CLIENT, "authTimeout": "1m0s"}
_KERBEROS: dict[str, Any] = {
    "keytab": "/etc/krb5.keytab",
    "acceptor": "any",
    "enforceUsername": True,
    "credentialCachePath": "/tmp/krb5cc",
    "configPath": "/etc/containerssh/krb5.conf",
    "clockSkew": "5m0s",
}
_IDLE = ["/usr/bin/containerssh-agent", "wait-signal", "--signal", "INT", "--signal", "TERM"]
_SFTP = {"sftp": "/usr/lib/openssh/sftp-server"}
_IMAGE = "containerssh/containerssh-guest-image"

DEFAULTS: dict[str, Any] = {
    "ssh": {
        "listen": "0.0.0.0:2222",
        "serverVersion": "SSH-2.0-ContainerSSH",
        "ciphers": None,
        "kex": None,
        "macs": None,
        "compression": False,
        "banner": "",
        "hostkeys": [],
        "clientAliveInterval": "0s",
        "clientAliveCountMax": 3,
        "loginGraceTime": "2m0s",
        "maxAuthTries": 6,
        "shutdownTimeout": "20s",
        "maxChannels": 256,
        "maxEnvBytes": 65536,
        "maxKeyQueries": 20,
        "maxStartups": {"begin": 100, "rate": 30, "full": 200},
        "maxStartupsPerSource": 0,
        "maxConnections": 0,
        "maxConnectionsPerSource": 0,
        "maxConnectionsPerUser": 0,
        "sourceMask": {"ipv4": 32, "ipv6": 64},
        "penalties": {
            "enable": True,
            "authFailed": "5s",
            "noAuth": "1s",
            "graceExceeded": "10s",
            "min": "15s",
            "max": "10m0s",
            "exempt": ["127.0.0.0/8", "::1/128"],
        },
    },
    "configserver": {**_CLIENT, "transmitSensitiveMetadata": False},
    "auth": {
        "password": {"method": "", "webhook": _WEBHOOK, "kerberos": _KERBEROS},
        "publicKey": {"method": "", "webhook": _WEBHOOK},
        "keyboardInteractive": {
            "method": "",
            "oauth2": {
                "redirect": {**_SERVER, "webroot": ""},
                "clientId": "",
                "clientSecret": "",
                "provider": "",
                "github": {
                    **_TLS,
                    "url": "https://github.com",
                    "apiurl": "https://api.github.com",
                    "cacert": "",
                    "cert": "",
                    "key": "",
                    "enforceUsername": True,
                    "requireOrgMembership": "",
                    "require2FA": False,
                    "extraScopes": [],
                    "enforceScopes": False,
                    "timeout": "10s",
                },
                "oidc": {
                    **_CLIENT,
                    "deviceFlow": False,
                    "authorizationCodeFlow": False,
                    "usernameField": "sub",
                    "redirectURI": "",
                    "extraScopes": [],
                    "enforceScopes": False,
                },
                "generic": {"authorizeEndpointURL": "", "tokenEndpoint": _CLIENT, "redirectURI": ""},
                "qrCodeClients": [],
                "deviceFlowClients": [],
                "authTimeout": "2m0s",
            },
        },
        "gssapi": {"method": "", "kerberos": _KERBEROS},
        "authz": {"method": "", "webhook": _WEBHOOK},
        "users": {"file": ""},
    },
    "log": {
        "level": "notice",
        "format": "ljson",
        "destination": "stdout",
        "file": "/var/log/containerssh/containerssh.log",
        "syslog": {"destination": "/dev/log", "facility": "auth", "tag": "ContainerSSH", "pid": False},
    },
    "metrics": {**_SERVER, "listen": "0.0.0.0:9100", "enable": False, "path": "/metrics"},
    "geoip": {"provider": "dummy", "maxmind-geoip2-file": "/var/lib/GeoIP/GeoIP2-Country.mmdb"},
    "audit": {
        "enable": False,
        "format": "none",
        "storage": "none",
        "file": {"directory": "/var/log/audit"},
        "s3": {
            "local": "/var/lib/audit",
            "accessKey": "",
            "secretKey": "",
            "bucket": "",
            "region": "",
            "endpoint": "",
            "cacert": "",
            "acl": "",
            "pathStyleAccess": False,
            "uploadPartSize": 5242880,
            "parallelUploads": 20,
            "metadata": {"ip": False, "username": False},
        },
        "intercept": {"stdin": False, "stdout": False, "stderr": False, "passwords": False, "forwarding": False},
    },
    "health": {
        **_SERVER,
        "listen": "0.0.0.0:7000",
        "enable": False,
        "client": {**_CLIENT, "url": "http://127.0.0.1:7000/"},
    },
    "security": {
        "defaultMode": "",
        "forceCommand": "",
        "env": {"mode": "", "allow": [], "deny": []},
        "command": {"mode": "", "allow": []},
        "shell": {"mode": ""},
        "subsystem": {"mode": "", "allow": [], "deny": []},
        "tty": {"mode": ""},
        "signal": {"mode": "", "allow": [], "deny": []},
        "forwarding": {
            "reverseForwardingMode": "disable",
            "forwardingMode": "disable",
            "socketForwardingMode": "disable",
            "socketListenMode": "disable",
            "x11ForwardingMode": "disable",
            "agentForwardingMode": "disable",
            "allowedTargets": [],
            "allowedListeners": [],
        },
        "maxSessions": -1,
    },
    "backend": "docker",
    "docker": {
        "connection": {"host": "unix:///var/run/docker.sock", "cacert": "", "cert": "", "key": ""},
        "execution": {
            "container": {"image": _IMAGE},
            "host": {},
            "network": {},
            "platform": {},
            "containername": "",
            "auth": None,
            "mode": "connection",
            "idleCommand": _IDLE,
            "shellCommand": ["/bin/bash"],
            "agentPath": "/usr/bin/containerssh-agent",
            "disableAgent": False,
            "subsystems": _SFTP,
            "imagePullPolicy": "IfNotPresent",
            "exposeAuthMetadataAsEnv": False,
            "agent": "moorage",
            "stream": "auto",
        },
        "timeouts": {
            "containerStart": "1m0s",
            "containerStop": "1m0s",
            "commandStart": "1m0s",
            "signal": "1m0s",
            "window": "1m0s",
            "http": "15s",
        },
    },
    "kubernetes": {
        "connection": {
            "host": "kubernetes.default.svc",
            "path": "/api",
            "username": "",
            "password": "",
            "serverName": "",
            "certFile": "",
            "keyFile": "",
            "cacertFile": "",
            "cert": "",
            "key": "",
            "cacert": "",
            "bearerToken": "",
            "bearerTokenFile": "",
            "qps": 5,
            "burst": 10,
            "insecure": False,
        },
        "pod": {
            "metadata": {"namespace": "default", "generateName": "containerssh-"},
            "spec": {"containers": [{"name": "shell", "image": _IMAGE}]},
            "consoleContainerNumber": 0,
            "idleCommand": _IDLE,
            "shellCommand": ["/bin/bash"],
            "agentPath": "/usr/bin/containerssh-agent",
            "disableAgent": False,
            "subsystems": _SFTP,
            "mode": "connection",
            "createMissingPods": False,
            "exposeAuthMetadataAsEnv": {},
            "exposeAuthMetadataAsLabels": {},
            "exposeAuthMetadataAsAnnotations": {},
        },
        "timeouts": {
            "podStart": "1m0s",
            "podStop": "1m0s",
            "commandStart": "1m0s",
            "signal": "1m0s",
            "window": "1m0s",
            "http": "15s",
        },
    },
    "sshproxy": {
        "server": "",
        "port": 22,
        "usernamePassThrough": False,
        "username": "",
        "password": "",
        "privateKey": "",
        "allowedHostKeyFingerprints": [],
        "ciphers": None,
        "kex": None,
        "macs": None,
        "hostKeyAlgos": None,
        "timeout": "1m0s",
        "clientVersion": "SSH-2.0-ContainerSSH",
    },
    "sandbox": {
        "rootfs": "",
        "network": "none",
        "shell": None,
        "hostname": "moorage",
        "environment": {},
        "limits": {"processes": 256, "memory": "1Gi", "openFiles": 4096, "homeSize": "256Mi", "tmpSize": "256Mi"},
        "timeouts": {"start": "30s"},
    },
    "state": {"directory": ""},
}


def test_every_default_is_the_documented_one() -> None:
    assert plain(AppConfig(), secrets=True) == DEFAULTS


def test_defaults_are_not_shared_between_configurations() -> None:
    AppConfig().docker.execution.container["Image"] = "changed"
    AppConfig().docker.execution.subsystems["x"] = "changed"
    AppConfig().kubernetes.pod.spec["containers"][0]["image"] = "changed"
    assert plain(AppConfig(), secrets=True) == DEFAULTS


def test_nothing_counts_as_set_by_default() -> None:
    def check(section: Section) -> None:
        assert section.model_fields_set == set()
        for name in type(section).model_fields:
            value = getattr(section, name)
            if isinstance(value, Section):
                check(value)

    check(AppConfig())
