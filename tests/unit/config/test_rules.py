"""What each section refuses, in the order of the file and all at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.config.conftest import Fail, Read

from moorage.config import AppConfig, ConfigProblems, load_text
from moorage.config.problems import dotted

HOOK = "method: webhook, webhook: "

TLS_SERVER = "{}: {{enable: true, cert: /c, key: /k, cipher: TLS_AES_128_GCM_SHA256}}"
OAUTH2 = "auth: {keyboardInteractive: {method: oauth2, oauth2: {clientId: a, clientSecret: b, provider: "
PROXY = "backend: sshproxy\nsshproxy: {server: h, usernamePassThrough: true, allowedHostKeyFingerprints: "
SESSION = "docker: {execution: {mode: session, host: {restartpolicy: {name: "

BAD: list[tuple[str, str]] = [
    ("ssh: {listen: localhost}", 'ssh.listen: "localhost" has no port'),
    ("ssh: {listen: 'h:99999'}", "ssh.listen: invalid port"),
    ("ssh: {listen: '::1:22'}", "ssh.listen: an IPv6 address needs brackets"),
    ("ssh: {alsoListen: ['[::]:22', '::1:22']}", "ssh.alsoListen[1]: an IPv6 address needs brackets"),
    ("ssh: {proxyProtocolAllowedCIDRs: [10.0.0.1/8]}", "ssh.proxyProtocolAllowedCIDRs[0]: invalid network"),
    ("ssh: {proxyProtocolTimeout: 1ms}", "ssh.proxyProtocolTimeout: must be at least 100ms"),
    ("ssh: {serverVersion: SSH-1.0-x}", "ssh.serverVersion: invalid version"),
    ("ssh: {serverVersion: SSH-2.0-a-b}", "ssh.serverVersion: invalid version"),
    ("ssh: {serverVersion: SSH-2.0-" + "a" * 250 + "}", "ssh.serverVersion: is longer than 253"),
    (
        "ssh: {ciphers: [aes256-ctr, aes257-ctr]}",
        'ssh.ciphers[1]: unknown cipher "aes257-ctr" (did you mean aes256-ctr?)',
    ),
    ("ssh: {kex: []}", "ssh.kex: the list is empty"),
    ("ssh: {macs: [x]}", "ssh.macs[0]: unknown MAC"),
    ("ssh: {clientAliveInterval: 500ms}", "ssh.clientAliveInterval: must be 0 or at least 1s"),
    ("ssh: {clientAliveCountMax: -1}", "ssh.clientAliveCountMax: must be at least 1"),
    ("ssh: {loginGraceTime: 1ms}", "ssh.loginGraceTime: must be at least 1s"),
    ("ssh: {maxAuthTries: 1001}", "ssh.maxAuthTries: is not between 0 and 1000"),
    ("configserver: {url: /foo}", "configserver.url: the URL is not http or https"),
    ("configserver: {url: 'ftp://h'}", "configserver.url: the URL is not http or https"),
    ("configserver: {url: 'http://'}", "configserver.url: invalid URL"),
    ("configserver: {url: 'http://h:x'}", "configserver.url: invalid URL"),
    ("configserver: {url: 'http://[::1'}", "configserver.url: invalid URL"),
    ("configserver: {url: 'http://h', timeout: 50ms}", "configserver.timeout: must be at least 100ms"),
    ("configserver: {url: 'https://h', tlsVersion: 1.1}", "configserver.tlsVersion: unknown TLS version"),
    ("configserver: {url: 'https://h', curves: 'x25519:p1'}", "configserver.curves[1]: unknown curve"),
    ("configserver: {url: 'https://h', cipher: []}", "configserver.cipher: the list is empty"),
    ("configserver: {url: 'https://h', cipher: [RC4]}", "configserver.cipher[0]: unknown cipher suite"),
    ("configserver: {url: 'http://h', cert: /c}", "configserver.key: cert is given without key"),
    ("configserver: {url: 'http://h', key: /k}", "configserver.cert: key is given without cert"),
    (f"auth: {{password: {{{HOOK}{{}}}}}}", "auth.password.webhook.url: no URL is given"),
    (f"auth: {{authz: {{{HOOK}{{url: 'http://h', authTimeout: 1ms}}}}}}", "authTimeout: must be at least 100ms"),
    ("auth: {password: {method: nis}}", 'auth.password.method: invalid authentication method "nis"'),
    ("auth: {publicKey: {method: kerberos}}", "auth.publicKey.method: invalid authentication method"),
    (
        "auth: {authz: {method: webhook, webhook: {url: 'http://x/', protocol: '0.4'}}}",
        "auth.authz.webhook.protocol: release 0.4 has no such hook",
    ),
    ("auth: {password: {method: users}}", "auth.users.file: is required for the methods users and totp"),
    ("auth: {method: kerberos}", "auth.method: unknown key (every way to log in has its own"),
    ("auth: {oauth2: {}}", "(OAuth2 is set up under auth.keyboardInteractive.oauth2)"),
    ("auth: {pubkey: {method: webhook}}", "auth.pubkey: unknown key (it is called publicKey)"),
    ("auth: {keyboardInteractive: {method: oauth2}}", "oauth2.clientId: is required"),
    (
        OAUTH2 + "oidc, oidc: {url: 'http://h'}}}}",
        "oauth2.oidc.deviceFlow: no flow is switched on",
    ),
    (
        OAUTH2 + "oidc, oidc: {url: 'http://h', authorizationCodeFlow: true}}}}",
        "oauth2.oidc.redirectURI: no URL is given",
    ),
    (
        OAUTH2 + "generic}}}",
        "oauth2.generic.authorizeEndpointURL: no URL is given",
    ),
    (
        OAUTH2 + "gitlab}}}",
        "oauth2.provider: invalid provider",
    ),
    ("log: {format: xml}", "log.format: invalid log format"),
    ("log: {destination: test}", "log.destination: invalid log destination"),
    ("log: {destination: syslog, syslog: {facility: nope}}", "log.syslog.facility: invalid facility"),
    ("log: {destination: syslog, syslog: {format: rfc1}}", "log.syslog.format: invalid"),
    (
        "log: {destination: syslog, syslog: {destination: 'http://h:1'}}",
        "log.syslog.destination: http is none of unix, udp, tcp, tls",
    ),
    ("log: {destination: syslog, syslog: {destination: 'tls://h'}}", 'log.syslog.destination: "h" has no port'),
    (
        "log: {destination: syslog, syslog: {destination: 'h:1', cacert: '-----BEGIN CERTIFICATE-----'}}",
        "log.syslog.cacert: has no effect without TLS",
    ),
    ("log: {destination: syslog, syslog: {destination: localhost}}", 'log.syslog.destination: "localhost" has no port'),
    ("metrics: {enable: true, path: m}", "metrics.path: must begin with a slash"),
    ("metrics: {enable: true, listen: x}", 'metrics.listen: "x" has no port'),
    ("metrics: {enable: true, clientcacert: /c}", "metrics.clientcacert: has no effect without TLS"),
    ("health: {enable: true, client: {url: x}}", "health.client.url: the URL is not http"),
    ("tracing: {enable: true, url: localhost}", "tracing.url: "),
    ("auth: {password: {method: honeypot}, honeypot: {accept: [root]}}", "auth.honeypot.accept"),
    ("tracing: {percent: 101}", "tracing.percent: "),
    ("geoip: {provider: other}", "geoip.provider: invalid provider"),
    ("audit: {enable: true, format: xml}", "audit.format: invalid audit format"),
    ("audit: {enable: true, storage: s3}", "audit.s3.bucket: is required for storage s3"),
    ("audit: {enable: true, storage: s3, s3: {bucket: b, accessKey: k}}", "audit.s3.secretKey: is missing"),
    ("audit: {enable: true, storage: s3, s3: {bucket: b, secretKey: k}}", "audit.s3.accessKey: is missing"),
    (
        "audit: {enable: true, storage: s3, s3: {uploadPartSize: 5}}",
        "audit.s3.uploadPartSize: must be at least",
    ),
    ("security: {defaultMode: deny}", "security.defaultMode: invalid mode"),
    ("security: {shell: {mode: allow}}", "security.shell.mode: invalid mode"),
    ("security: {forwarding: {forwardingMode: deny}}", "security.forwarding.forwardingMode: invalid mode"),
    (
        "security: {signal: {allow: [SIGTERM]}}",
        'allow[0]: unknown signal "SIGTERM" (did you mean TERM?)',
    ),
    ("security: {maxSessions: -2}", "security.maxSessions: must be at least -1"),
    ("backend: Docker", 'backend: invalid backend "Docker" (did you mean docker?)'),
    ("docker: {connection: {host: 'npipe:////./pipe/x'}}", "docker.connection.host: unknown scheme"),
    ("docker: {connection: {cert: '-----BEGIN X'}}", "docker.connection.key: TLS needs cacert, cert and key"),
    ("docker: {connection: {cacert: /ca, cert: /c, key: /k}}", "docker.connection.cacert: is not a PEM text"),
    ("docker: {execution: {mode: persistent}}", "docker.execution.mode: invalid execution mode"),
    ("docker: {execution: {idleCommand: []}}", "docker.execution.idleCommand: is required in connection mode"),
    ("docker: {execution: {shellCommand: []}}", "docker.execution.shellCommand: is required in connection mode"),
    ("docker: {execution: {imagePullPolicy: always}}", 'invalid pull policy "always" (did you mean Always?)'),
    (
        SESSION + "always}}}}",
        "docker.execution.host.restartpolicy.name: must be empty or no in session mode",
    ),
    ("docker: {execution: {agent: other}}", "docker.execution.agent: invalid agent"),
    ("docker: {timeouts: {http: -1s}}", "docker.timeouts.http: must not be negative"),
    ("backend: kubernetes\nkubernetes: {pod: {spec: {containers: []}}}", "a pod needs at least one container"),
    ("backend: kubernetes\nkubernetes: {pod: {spec: {containers: [{}, {}]}}}", "containers[1].image: no image name"),
    ("backend: kubernetes\nkubernetes: {pod: {consoleContainerNumber: -1}}", "there is no such container"),
    ("backend: kubernetes\nkubernetes: {pod: {metadata: {namespace: ''}}}", "metadata.namespace: must not be empty"),
    ("backend: kubernetes\nkubernetes: {pod: {createMissingPods: true}}", "createMissingPods: needs mode persistent"),
    (
        "backend: kubernetes\nkubernetes: {pod: {mode: session, spec: {restartPolicy: Always}}}",
        "must be empty or Never",
    ),
    ("backend: kubernetes\nkubernetes: {connection: {cacert: /ca}}", "cacert: is not a PEM text"),
    ("backend: sshproxy\nsshproxy: {server: h}", "sshproxy.username: is required"),
    ("backend: sshproxy\nsshproxy: {allowedHostKeyFingerprints: [SHA255:x]}", "is not a SHA256 fingerprint"),
    ("backend: sshproxy\nsshproxy: {hostKeyAlgos: []}", "sshproxy.hostKeyAlgos: the list is empty"),
    ("backend: sandbox\nsandbox: {network: bridge}", "sandbox.network: invalid network"),
    ("backend: sandbox\nsandbox: {hostname: a_b}", "sandbox.hostname: is not a host name"),
    ("backend: sandbox\nsandbox: {shell: []}", "sandbox.shell: the list is empty"),
    ("backend: sandbox\nsandbox: {rootfs: here}", "sandbox.rootfs: is not an absolute path"),
    ("backend: sandbox\nsandbox: {environment: {A=B: c}}", "is not the name of a variable"),
    ("backend: sandbox\nsandbox: {limits: {memory: 1Mi}}", "sandbox.limits.memory: must be at least 16777216"),
    ("backend: sandbox\nsandbox: {limits: {memory: much}}", '"much" is not a size'),
]


@pytest.mark.parametrize(("text", "what"), BAD, ids=[what[:60] for _, what in BAD])
def test_it_is_refused_with_its_key(fail: Fail, text: str, what: str) -> None:
    problems = fail(text)
    assert any(what in problem for problem in problems), problems
    assert all(problem.startswith("c.yaml:") for problem in problems)


GOOD = [
    "ssh: {listen: '[::]:22', serverVersion: 'SSH-2.0-x.y_z a comment', ciphers: [], kex: [mlkem768x25519-sha256]}",
    "ssh: {hostkeys: [/a, /b], clientAliveInterval: 1s}",
    "configserver: {url: 'https://u:p@h:8443/x?y=z', curves: X25519:prime256v1, cipher: ECDHE-RSA-AES256-GCM-SHA384}",
    "configserver: {url: 'http://h', curve: [nonsense], cipher: []}",
    "configserver: {tlsVersion: 0.9, timeout: 1ms}",
    "metrics: {listen: nonsense}",
    "audit: {format: xml, storage: y}",
    "auth: {password: {method: '', webhook: {url: nonsense}}}",
    "backend: sandbox\nsshproxy: {port: 1}\nkubernetes: {pod: {consoleContainerNumber: 9}}",
    PROXY + "['SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA'], hostKeyAlgorithms: [ssh-ed25519]}",
    "docker: {connection: {host: '127.0.0.1:2375'}}",
    "docker: {execution: {mode: session, idleCommand: [], host: {restartpolicy: {name: 'no'}}}}",
    "docker: {execution: {auth: {username: u, password: p, serveraddress: r}}}",
    "security: {signal: {mode: filter, allow: [TERM, KILL]}, forwarding: {forwardingMode: ''}}",
    "configserver: {url: 'http://h'}\nbackend: whatever\nsecurity: {defaultMode: nonsense}",
    "auth: {users: {file: /users}}",
]


@pytest.mark.parametrize("text", GOOD)
def test_it_is_accepted(read: Read, text: str) -> None:
    assert read(text).config


def test_all_problems_come_at_once_in_the_order_of_the_file(fail: Fail) -> None:
    problems = fail(
        """
        security: {defaultMode: deny}
        ssh:
          macs: [none]
          bannner: x
          listen: nowhere
        metrics: {enable: maybe}
        backend: dokcer
        """
    )
    assert [problem.split(": ")[1] for problem in problems] == [
        "security.defaultMode",
        "ssh.macs[0]",
        "ssh.bannner",
        "ssh.listen",
        "metrics.enable",
        "backend",
    ]


def test_a_value_that_cannot_be_read_is_not_reported_twice(fail: Fail) -> None:
    assert len(fail("auth: {password: {method: webhook, webhook: {url: [x]}}}")) == 1


def test_a_users_file_alone_switches_on_passwords_and_public_keys(read: Read) -> None:
    auth = read("auth: {users: {file: /users}}").config.auth
    assert (auth.password.method, auth.public_key.method) == ("users", "users")
    built = AppConfig.model_validate({"auth": {"users": {"file": "/users"}}}).auth
    assert (built.password.method, built.public_key.method) == ("users", "users")


def test_a_users_file_beside_a_chosen_method_switches_nothing_on(read: Read) -> None:
    text = "auth: {users: {file: /users}, password: {method: webhook, webhook: {url: 'http://h'}}}"
    assert read(text).config.auth.public_key.method == ""


@pytest.mark.parametrize(
    ("text", "key", "what"),
    [
        ("{}", "auth", "nobody can log in"),
        ("configserver: {url: 'https://h', cipher: TLS_AES_128_GCM_SHA256}", "configserver.cipher", "cannot be chosen"),
        (TLS_SERVER.format("metrics"), "metrics.cipher", "cannot be chosen"),
        (TLS_SERVER.format("health"), "health.cipher", "cannot be chosen"),
        (
            "health: {enable: true, client: {url: 'https://h', cipher: TLS_AES_128_GCM_SHA256}}",
            "health.client.cipher",
            "cannot be chosen",
        ),
        ("ssh: {ciphers: [tripledescbcID, aes128-ctr]}", "ssh.ciphers[0]", "names no cipher"),
        ("docker: {execution: {disableAgent: true}}", "docker.execution.disableAgent", "without an agent"),
        (
            OAUTH2 + "github, authTimeout: 1s, github: {tlsVersion: 1.2}}}}",
            "auth.keyboardInteractive.oauth2.github.tlsVersion",
            "has no effect",
        ),
        (
            OAUTH2 + "oidc, oidc: {url: 'https://h', deviceFlow: true}}}}",
            "auth.keyboardInteractive.oauth2",
            "under any name",
        ),
        (
            OAUTH2 + "oidc, oidc: {url: 'http://h', deviceFlow: true}}}}",
            "auth.keyboardInteractive.oauth2.oidc.url",
            "without TLS",
        ),
    ],
)
def test_dead_and_doubtful_keys_are_warnings(read: Read, text: str, key: str, what: str) -> None:
    warnings = read(text).warnings
    assert any(dotted(warning.path) == key and what in warning.what for warning in warnings), warnings


def test_kerberos_without_its_package_is_a_problem_with_the_line_to_install_it(
    fail: Fail, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    problems = fail("auth: {gssapi: {method: kerberos}}")
    assert any("a package that is missing" in problem and "moorage[kerberos]" in problem for problem in problems)


def test_files_that_it_names_are_looked_at(tmp_path: Path) -> None:
    text = f"ssh: {{hostkeys: [{tmp_path}/key]}}\nauth: {{users: {{file: {tmp_path}}}}}"
    with pytest.raises(ConfigProblems) as caught:
        load_text(text, "c.yaml")
    said = [str(problem) for problem in caught.value.problems]
    assert "ssh.hostkeys[0]: the file cannot be read: no such file or directory" in said[0]
    assert "auth.users.file: is a directory, not a file" in said[1]
