"""A webhook's answer is laid over the file by the zero rule, for one login only."""

from __future__ import annotations

import copy
from datetime import timedelta
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moorage.codes import Code
from moorage.config import AppConfig, ConfigProblems, load_text, overlay
from moorage.config.reading.shape import SectionKind, shape_of
from moorage.config.rendering import plain
from moorage.config.section import Section

FILE = """
docker:
  execution:
    container: {image: a, env: [A=1], labels: {x: "1"}, cmd: [sh], stoptimeout: 5}
    host: {memory: 100, capadd: [NET_ADMIN], restartpolicy: {name: "no"}, consolesize: [24, 80]}
    network: {endpointsconfig: {net: {aliases: [a], ipamconfig: {ipv4address: 10.0.0.2}}}}
    disableAgent: true
    mode: session
    subsystems: {sftp: /sftp, other: /other}
  timeouts: {containerStart: 10s}
kubernetes:
  pod:
    spec: {securityContext: {runAsUser: 5}, containers: [{name: one, image: i}]}
security: {maxSessions: 5, env: {mode: filter, allow: [A]}}
sandbox: {environment: {A: a}}
log: {level: info}
"""


def test_a_list_of_sections_replaces_the_files() -> None:
    mounts = [{"source": "/host/a", "target": "/srv/a", "writable": True}, {"source": "/host/b", "target": "/srv/b"}]
    config = overlay(AppConfig(), {"sandbox": {"mounts": mounts, "user": 4711}})
    assert [(one.source, one.target, one.writable) for one in config.sandbox.mounts] == [
        ("/host/a", "/srv/a", True),
        ("/host/b", "/srv/b", False),
    ]
    assert overlay(config, {"sandbox": {"mounts": []}}).sandbox.mounts == config.sandbox.mounts
    with pytest.raises(ConfigProblems, match=r"mounts\[0\].target"):
        overlay(AppConfig(), {"backend": "sandbox", "sandbox": {"mounts": [{"source": "/a", "target": "/usr/bin"}]}})


@cache
def base() -> AppConfig:
    return load_text(FILE, "c.yaml").config


def execution(answer: dict[str, Any]) -> Any:
    return overlay(base(), {"docker": {"execution": answer}}).docker.execution


def test_the_documented_example() -> None:
    got = execution({"container": {"env": ["B=2"], "labels": {"y": "2"}, "cmd": []}}).container
    expected = {"Image": "a", "Env": ["B=2"], "Labels": {"x": "1", "y": "2"}, "Cmd": ["sh"], "StopTimeout": 5}
    assert got == expected


ZEROS: dict[str, Any] = {
    "ssh": None,
    "backend": "",
    "log": {"level": "emerg", "format": "", "file": ""},
    "security": {"defaultMode": "", "maxSessions": 0, "env": {"mode": "", "allow": [], "deny": None}},
    "docker": {
        "connection": {"host": "", "cacert": "", "cert": "", "key": ""},
        "execution": {
            "container": {"Image": "", "Env": None, "Cmd": [], "Tty": False, "Labels": None, "StopTimeout": None},
            "network": None,
            "containername": "",
            "auth": None,
            "mode": "",
            "idleCommand": None,
            "disableAgent": False,
            "subsystems": None,
            "imagePullPolicy": "",
        },
        "timeouts": {"containerStart": 0, "http": "0s"},
    },
    "kubernetes": {
        "connection": {"qps": 0, "burst": 0},
        "pod": {"metadata": {"creationTimestamp": None}, "spec": {"containers": None}, "consoleContainerNumber": 0},
    },
    "sshproxy": {"port": 0, "timeout": 0, "allowedHostKeyFingerprints": None},
    "sandbox": {"environment": {}, "limits": {"memory": 0}},
    "auth": {"url": "", "password": True, "pubkey": False, "publicKey": None, "anything": {"at": ["all"]}},
    "audit": {"s3": {"uploadPartSize": 0}},
    "metrics": {"tlsVersion": "", "curves": None, "enable": False},
}


def test_an_answer_with_every_key_at_its_zero_changes_nothing() -> None:
    assert overlay(base(), ZEROS) == base()


@pytest.mark.parametrize(
    "answer", [None, {}, {"docker": {}}, {"docker": None}, {"docker": {"execution": {"host": None}}}]
)
def test_an_empty_answer_changes_nothing(answer: dict[str, Any] | None) -> None:
    assert overlay(base(), answer) == base()


def test_scalars_lists_maps_and_structs_each_have_their_rule() -> None:
    got = execution(
        {
            "mode": "connection",
            "shellCommand": ["/bin/sh"],
            "subsystems": {"sftp": "", "new": "/new"},
            "container": {"Labels": {"x": ""}, "StopTimeout": 0},
            "host": {"Memory": 0, "CapAdd": ["SYS_ADMIN"], "PidsLimit": 0, "OomKillDisable": False, "Init": None},
            "network": {"EndpointsConfig": {"net": {"IPAMConfig": {"IPv6Address": "::2"}}, "two": {"Aliases": ["b"]}}},
        }
    )
    assert (got.mode, got.shell_command, got.disable_agent) == ("connection", ("/bin/sh",), True)
    assert got.subsystems == {"sftp": "", "other": "/other", "new": "/new"}
    assert got.container["Labels"] == {"x": ""}
    assert got.container["StopTimeout"] == 5, "an optional number that is there is only replaced by another"
    assert got.host["CapAdd"] == ["SYS_ADMIN"]
    assert got.host["Memory"] == 100
    assert (got.host["PidsLimit"], got.host["OomKillDisable"]) == (0, False), "absent ones are taken even if zero"
    assert got.network["EndpointsConfig"] == {
        "net": {"Aliases": ["a"], "IPAMConfig": {"IPv4Address": "10.0.0.2", "IPv6Address": "::2"}},
        "two": {"Aliases": ["b"]},
    }


def test_the_console_size_always_comes_from_an_answer_with_a_host() -> None:
    assert "ConsoleSize" not in execution({"host": {}}).host
    assert "ConsoleSize" not in execution({"host": {"ConsoleSize": [0, 0]}}).host
    assert execution({"host": {"ConsoleSize": [1, 2]}}).host["ConsoleSize"] == [1, 2]
    assert execution({}).host["ConsoleSize"] == [24, 80]


def test_a_struct_of_zeros_is_not_taken_where_there_was_none() -> None:
    got = execution({"host": {"LogConfig": {"Type": "", "Config": None}, "MaskedPaths": []}})
    assert "LogConfig" not in got.host
    assert "MaskedPaths" not in got.host


def test_containers_of_a_pod_are_replaced_and_inherit_nothing() -> None:
    result = load_text("configserver: {url: 'http://h'}", "c.yaml").config
    got = overlay(result, {"kubernetes": {"pod": {"spec": {"containers": [{"image": "x"}], "hostNetwork": True}}}})
    assert got.kubernetes.pod.spec == {"containers": [{"image": "x"}], "hostNetwork": True}


def test_optional_parts_of_a_pod_keep_an_explicit_false() -> None:
    spec = {"automountServiceAccountToken": False, "securityContext": {"runAsUser": 0, "runAsGroup": 0}}
    got = overlay(base(), {"kubernetes": {"pod": {"spec": spec}}}).kubernetes.pod.spec
    assert got["automountServiceAccountToken"] is False
    assert got["securityContext"] == {"runAsUser": 5, "runAsGroup": 0}


def test_a_registry_login_is_taken_whole_or_key_by_key() -> None:
    first = overlay(base(), {"docker": {"execution": {"auth": {"username": "u", "password": "p"}}}})
    assert first.docker.execution.auth is not None
    second = overlay(first, {"docker": {"execution": {"auth": {"username": "", "password": "q"}}}})
    assert second.docker.execution.auth is not None
    assert second.docker.execution.auth.username == "u"
    assert second.docker.execution.auth.password.get_secret_value() == "q"


def test_keys_match_in_any_case_and_durations_have_both_forms() -> None:
    got = overlay(base(), {"Docker": {"TIMEOUTS": {"containerstart": "30s", "http": 5_000_000_000}}}).docker.timeouts
    assert (got.container_start, got.http) == (timedelta(seconds=30), timedelta(seconds=5))


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        ({"dockr": {}}, "dockr: unknown key (did you mean docker?)"),
        ({"docker": {"execution": {"mode": 1}}}, "docker.execution.mode: expected a text, found a number"),
        ({"docker": {"execution": {"disableAgent": "true"}}}, "expected true or false, found a text"),
        ({"docker": []}, "docker: expected a map, found a list"),
        ([], "expected a map, found a list"),
        ({"docker": {"execution": {"mode": "nonsense"}}}, "docker.execution.mode: invalid execution mode"),
        ({"security": {"defaultMode": "deny"}}, "security.defaultMode: invalid mode"),
        ({"ssh": {"listen": "nonsense"}}, "ssh.listen:"),
        ({"ssh": {"banner": "\ud800"}}, "ssh.banner: holds a character that is no text"),
        ({"docker": {"execution": {"container": {"Env": ["\udfff"]}}}}, "container.Env[0]: expected a text"),
        ({"backend": "nonsense"}, 'backend: invalid backend "nonsense"'),
        ({"security": {"env": {"allow": ["x"] * 300_000}}}, "too many values"),
        ({"docker": {"execution": {"host": {"x": {"y": [[]] * 250_000}}}}}, "too many values"),
    ],
)
def test_an_answer_that_cannot_be_used_is_refused(answer: Any, what: str) -> None:
    with pytest.raises(ConfigProblems) as caught:
        overlay(base(), answer)
    assert what in str(caught.value)
    assert caught.value.code == Code.BACKEND_CONFIG_ERROR


def test_an_answer_that_nests_too_deep_is_refused() -> None:
    deep: Any = []
    for _ in range(500):
        deep = [deep]
    with pytest.raises(ConfigProblems, match="too deep"):
        overlay(base(), {"docker": {"execution": {"host": {"x": deep}}}})


def test_a_file_that_leaves_security_to_the_webhook_is_checked_with_its_answer() -> None:
    config = load_text("configserver: {url: 'http://h'}\nsecurity: {defaultMode: nonsense}", "c.yaml").config
    with pytest.raises(ConfigProblems, match=r"security\.defaultMode: invalid mode"):
        overlay(config, {})
    assert overlay(config, {"security": {"defaultMode": "filter"}}).security.default_mode == "filter"


def mutable_parts(section: Section) -> list[Any]:
    found: list[Any] = []

    def collect(value: Any) -> None:
        if isinstance(value, Section):
            for name in type(value).model_fields:
                collect(getattr(value, name))
        elif isinstance(value, dict):
            found.append(value)
            for inner in value.values():
                collect(inner)
        elif isinstance(value, list):
            found.append(value)
            for inner in value:
                collect(inner)

    collect(section)
    return found


@pytest.mark.parametrize("execution", [{}, {"host": {"Binds": ["a"]}, "subsystems": {"a": "b"}}])
def test_nothing_that_can_be_changed_is_shared(execution: dict[str, Any]) -> None:
    config, answer = base(), {"docker": {"execution": execution}}
    first, second = overlay(config, answer), overlay(config, answer)
    ours = [id(part) for part in mutable_parts(first)]
    others = {id(part) for owner in (config, second) for part in mutable_parts(owner)}
    assert ours
    assert not others & set(ours)


def test_the_answer_is_not_shared_either() -> None:
    answer = {"docker": {"execution": {"host": {"Binds": ["a"]}}}}
    got = overlay(base(), answer)
    answer["docker"]["execution"]["host"]["Binds"].append("b")
    assert got.docker.execution.host["Binds"] == ["a"]


# laws, for any answer

texts = st.text(alphabet="abcxyz", max_size=4)
lists = st.lists(texts, max_size=3)
maps = st.dictionaries(texts, texts, max_size=3)
answers = st.fixed_dictionaries(
    {},
    optional={
        "log": st.fixed_dictionaries({}, optional={"level": st.sampled_from(["", "debug", "emerg", "error"])}),
        "security": st.fixed_dictionaries(
            {},
            optional={
                "forceCommand": texts,
                "maxSessions": st.integers(-1, 5),
                "env": st.fixed_dictionaries({}, optional={"mode": st.sampled_from(["", "enable"]), "allow": lists}),
            },
        ),
        "docker": st.fixed_dictionaries(
            {},
            optional={
                "timeouts": st.fixed_dictionaries({}, optional={"http": st.integers(0, 10**10)}),
                "execution": st.fixed_dictionaries(
                    {},
                    optional={
                        "container": st.fixed_dictionaries(
                            {}, optional={"Image": texts, "Env": lists, "Labels": maps, "Tty": st.booleans()}
                        ),
                        "host": st.fixed_dictionaries(
                            {}, optional={"Memory": st.integers(0, 9), "CapAdd": lists, "Init": st.booleans()}
                        ),
                        "subsystems": maps,
                        "shellCommand": lists,
                        "disableAgent": st.booleans(),
                    },
                ),
            },
        ),
    },
)


@settings(max_examples=100, deadline=None)
@given(answers)
def test_an_answer_given_twice_is_an_answer_given_once(answer: dict[str, Any]) -> None:
    once = overlay(base(), answer)
    assert overlay(once, answer) == once


@settings(max_examples=100, deadline=None)
@given(answers)
def test_neither_the_base_nor_the_answer_is_changed(answer: dict[str, Any]) -> None:
    config, kept = base(), copy.deepcopy(answer)
    before = plain(config, secrets=True)
    overlay(config, answer)
    assert plain(config, secrets=True) == before
    assert answer == kept


@settings(max_examples=100, deadline=None)
@given(answers, answers)
def test_what_neither_answer_names_stays_as_it_was(first: dict[str, Any], second: dict[str, Any]) -> None:
    got = overlay(overlay(base(), first), second)
    named = {*first, *second}
    for name in set(AppConfig.model_fields) - named:
        assert getattr(got, name) == getattr(base(), name)


@settings(max_examples=100, deadline=None)
@given(answers)
def test_an_answer_over_the_result_of_another_equals_the_result_read_from_a_dump(answer: dict[str, Any]) -> None:
    from moorage.config import dump

    got = overlay(base(), answer)
    assert load_text(dump(got, secrets=True), "c.yaml", look_at_files=False).config == got


def test_every_section_that_leads_to_a_map_is_copied() -> None:
    from moorage.config.merging import _HOLD_DICTS

    def leads(section: type[Section]) -> bool:
        return any(
            leads(entry.kind.section) if isinstance(entry.kind, SectionKind) else isinstance(entry.default, dict)
            for entry in shape_of(section).entries.values()
        )

    def check(section: type[Section]) -> None:
        for entry in shape_of(section).entries.values():
            if isinstance(entry.kind, SectionKind):
                if leads(entry.kind.section):
                    assert entry.attribute in _HOLD_DICTS
                check(entry.kind.section)

    check(AppConfig)
