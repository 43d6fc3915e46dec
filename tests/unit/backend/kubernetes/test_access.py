"""How a cluster is reached: what the configuration, a kubeconfig file and the pod around us say."""

from __future__ import annotations

import base64
import json
import stat
from pathlib import Path
from typing import Any

import pytest

from moorage.backend.kubernetes.access import Access, access
from moorage.backend.kubernetes.credentials import Plugin, Proof, TokenFile
from moorage.backend.kubernetes.failures import ApiUnreachableError
from moorage.config.sections.kubernetes import KubernetesConnectionConfig
from moorage.errors import ConfigError


def reached(**values: Any) -> Access:
    return access(KubernetesConnectionConfig.model_validate(values))


def kubeconfig(path: Path, user: dict[str, Any], **cluster: Any) -> Path:
    path.write_text(
        json.dumps(
            {
                "clusters": [
                    {"name": "c", "cluster": {"server": "https://k.example:6443/prefix", **cluster}},
                    {"name": "other", "cluster": {"server": "https://other.example"}},
                ],
                "users": [{"name": "u", "user": user}],
                "contexts": [
                    {"name": "x", "context": {"cluster": "c", "user": "u"}},
                    {"name": "y", "context": {"cluster": "other"}},
                ],
                "current-context": "x",
            }
        )
    )
    return path


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("k.example", "https://k.example"),
        ("k.example:6443", "https://k.example:6443"),
        ("http://127.0.0.1:8001", "http://127.0.0.1:8001"),
        ("https://user:pw@k.example/x", "https://k.example"),
    ],
)
def test_a_host_without_a_scheme_is_reached_over_tls(host: str, url: str) -> None:
    assert reached(host=host).url == url


def test_a_path_other_than_api_stands_in_front() -> None:
    assert reached(host="k.example", path="/k8s/clusters/c/api").prefix == "/k8s/clusters/c"
    assert reached(host="k.example", path="/api").prefix == ""


async def test_a_token_wins_over_a_password() -> None:
    found = reached(host="k", username="mia", password="pw", bearerToken="tok")
    assert (await found.credentials.proof()).authorization == "Bearer tok"
    found = reached(host="k", username="mia", password="pw")
    assert (await found.credentials.proof()).authorization == "Basic bWlhOnB3"


async def test_a_token_file_wins_and_is_read_again_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("one\n")
    found = reached(host="k", bearerToken="fixed", bearerTokenFile=str(path))
    assert (await found.credentials.proof()).authorization == "Bearer one"
    path.write_text("the second\n")
    assert (await found.credentials.proof()).authorization == "Bearer the second"
    path.unlink()
    with pytest.raises(ApiUnreachableError, match="token"):
        await found.credentials.proof()


async def test_in_a_cluster_nothing_needs_to_be_configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "token").write_text("pod")
    (tmp_path / "ca.crt").write_text("CA")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "6443")
    found = access(KubernetesConnectionConfig(), in_cluster=tmp_path)
    assert (found.url, found.ca) == ("https://[fd00::1]:6443", "CA")
    assert (await found.credentials.proof()).authorization == "Bearer pod"
    explicit = KubernetesConnectionConfig.model_validate({"bearerToken": "mine"})
    assert access(explicit, in_cluster=tmp_path).url == "https://kubernetes.default.svc"


async def test_a_kubeconfig_says_where_and_who(tmp_path: Path) -> None:
    (tmp_path / "ca").write_text("CA")
    user = {"client-certificate-data": base64.b64encode(b"CERT").decode(), "client-key-data": "S0VZ"}
    path = kubeconfig(tmp_path / "config", user, **{"certificate-authority": "ca", "tls-server-name": "name"})
    found = reached(kubeconfig=str(path), host="ignored")
    assert (found.url, found.prefix) == ("https://k.example:6443", "/prefix")
    assert (found.ca, found.server_name, found.insecure) == ("CA", "name", False)
    assert await found.credentials.proof() == Proof("", "CERT", "KEY")
    assert reached(kubeconfig=str(path), context="y").url == "https://other.example"


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{current-context: none}", "clusters: 5", "{a: &a [*a]}", "\0"],
)
def test_a_kubeconfig_that_is_none_is_a_clear_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config"
    path.write_text(text)
    with pytest.raises(ConfigError, match="kubeconfig"):
        reached(kubeconfig=str(path))


@pytest.mark.parametrize(
    ("user", "cluster", "said"),
    [({"auth-provider": {"name": "gcp"}}, {}, "auth-provider"), ({}, {"proxy-url": "http://p"}, "proxy-url")],
)
def test_what_a_kubeconfig_asks_for_and_we_cannot_is_named(
    tmp_path: Path, user: dict[str, Any], cluster: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        reached(kubeconfig=str(kubeconfig(tmp_path / "config", user, **cluster)))


def plugin(tmp_path: Path, script: str) -> Path:
    path = tmp_path / "plugin"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    entry = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": "./plugin",
        "args": ["-x"],
        "env": [{"name": "GIVEN", "value": "env"}],
    }
    return kubeconfig(tmp_path / "config", {"exec": entry})


async def test_a_plugin_is_asked_once_until_its_answer_expires_or_is_rejected(tmp_path: Path) -> None:
    script = f"""
    echo run >> {tmp_path}/runs
    test "$GIVEN$1" = env-x || exit 9
    echo "$KUBERNETES_EXEC_INFO" | grep -q ExecCredential || exit 8
    echo '{{"status": {{"token": "t-'$(wc -l < {tmp_path}/runs)'", "expirationTimestamp": "2999-01-01T00:00:00Z"}}}}'
    """
    found = reached(kubeconfig=str(plugin(tmp_path, script)))
    assert isinstance(found.credentials, Plugin)
    assert (await found.credentials.proof()).authorization == "Bearer t-1"
    assert (await found.credentials.proof()).authorization == "Bearer t-1"
    found.credentials.rejected()
    assert (await found.credentials.proof()).authorization == "Bearer t-2"


async def test_an_answer_that_has_expired_is_not_used(tmp_path: Path) -> None:
    script = f"""echo run >> {tmp_path}/runs
    echo '{{"status": {{"token": "t", "expirationTimestamp": "2001-01-01T00:00:00Z"}}}}'"""
    found = reached(kubeconfig=str(plugin(tmp_path, script)))
    await found.credentials.proof()
    await found.credentials.proof()
    assert (tmp_path / "runs").read_text() == "run\nrun\n"


@pytest.mark.parametrize("script", ["exit 3", "echo nothing", "echo '{}'", "echo '{\"status\": 5}'", "exec /no/such"])
async def test_a_plugin_that_fails_is_named_and_its_output_is_not_told(tmp_path: Path, script: str) -> None:
    found = reached(kubeconfig=str(plugin(tmp_path, script)))
    with pytest.raises(ApiUnreachableError, match="plugin") as caught:
        await found.credentials.proof()
    assert "nothing" not in str(caught.value)


async def test_secrets_are_not_shown(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("s3cret")
    found = TokenFile(path, Proof("", "CERT", "s3cret"))
    await found.proof()
    shown = repr(reached(host="k", bearerToken="s3cret")) + repr(await found.proof()) + repr(found)
    assert "s3cret" not in shown
