"""YAML is read as configuration files have always used it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from tests.unit.config.conftest import Fail, Read

from moorage.config import ConfigProblems, load_text


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("yes", "yes"),
        ("1e3", "1e3"),
        ("0123", "0123"),
        ("1.2", "1.2"),
        ("true", "true"),
        ("2001-01-01", "2001-01-01"),
        ("22:30", "22:30"),
        ("'null'", "null"),
        ('""', ""),
        ("!!str 12", "12"),
    ],
)
def test_a_text_is_what_the_file_says(read: Read, written: str, text: str) -> None:
    assert read(f"ssh: {{banner: {written}}}").config.ssh.banner == text


@pytest.mark.parametrize("written", ["", "~", "null", "Null", "NULL"])
def test_null_leaves_the_default(read: Read, written: str) -> None:
    ssh = read(f"ssh:\n  listen: {written}\n").config.ssh
    assert ssh.listen == "0.0.0.0:2222"
    assert ssh.model_fields_set == set()


def test_a_whole_section_may_be_null(read: Read) -> None:
    assert read("ssh:\ndocker:\n  execution:\n").config.ssh.listen == "0.0.0.0:2222"


@pytest.mark.parametrize("written", ["true", "True", "TRUE", "yes", "Y", "on", "ON", "'yes'", '"on"'])
def test_true_has_many_words(read: Read, written: str) -> None:
    assert read(f"metrics: {{enable: {written}}}").config.metrics.enable is True


@pytest.mark.parametrize("written", ["false", "False", "no", "N", "off", "'no'"])
def test_false_has_many_words_and_counts_over_a_default_of_true(read: Read, written: str) -> None:
    config = read(f"auth: {{gssapi: {{kerberos: {{enforceUsername: {written}}}}}}}").config
    assert config.auth.gssapi.kerberos.enforce_username is False


@pytest.mark.parametrize("written", ['"true"', "1", "0", "tRue", "ja", "[]", "{}"])
def test_other_words_are_no_truth_value(fail: Fail, written: str) -> None:
    (problem,) = fail(f"metrics: {{enable: {written}}}")
    assert "metrics.enable: expected true or false" in problem


@pytest.mark.parametrize(
    ("written", "number"),
    [("22", 22), ("0x16", 22), ("0o26", 22), ("0b10110", 22), ("026", 22), ("2_2", 22), ("22.0", 22), ("2.2e1", 22)],
)
def test_a_number_has_many_forms(read: Read, written: str, number: int) -> None:
    assert read(f"sshproxy: {{port: {written}}}").config.sshproxy.port == number


@pytest.mark.parametrize("written", ["'22'", "22.5", "65536", "-1", "x", "true", "[22]", "1e400", "9" * 5000])
def test_other_things_are_no_port(fail: Fail, written: str) -> None:
    assert fail(f"sshproxy: {{port: {written}}}")[0].startswith("c.yaml:1:12: sshproxy.port: ")


@pytest.mark.parametrize(
    ("written", "seconds"), [("90s", 90), ("1m30s", 90), ("'1m30s'", 90), ("90000000000", 90), ("0", 60), ("9e10", 90)]
)
def test_a_duration_is_a_text_or_nanoseconds_and_zero_is_the_default(read: Read, written: str, seconds: int) -> None:
    config = read(f"docker: {{timeouts: {{containerStart: {written}}}}}").config
    assert config.docker.timeouts.container_start == timedelta(seconds=seconds)


def test_no_duration_is_a_problem_with_a_mend(fail: Fail) -> None:
    (problem,) = fail("ssh: {clientAliveInterval: 1 day}")
    assert problem == ('c.yaml:1:7: ssh.clientAliveInterval: "1 day" is not a duration (write 30s, 1m30s, 500ms or 2h)')


@pytest.mark.parametrize("written", ["a", "{a: b}", "1"])
def test_a_list_must_be_one(fail: Fail, written: str) -> None:
    assert "ssh.hostkeys: expected a list" in fail(f"ssh: {{hostkeys: {written}}}")[0]


def test_empty_lists_and_maps_are_kept(read: Read) -> None:
    config = read("ssh: {ciphers: []}\ndocker: {execution: {subsystems: {}}}").config
    assert config.ssh.ciphers == ()
    assert config.docker.execution.subsystems == {}


def test_a_zero_where_the_default_is_something_else_is_the_default(read: Read) -> None:
    config = read(
        """
        ssh: {listen: "", clientAliveCountMax: 0}
        log: {format: "", file: ""}
        kubernetes: {connection: {qps: 0, burst: 0}}
        sshproxy: {port: 0}
        audit: {s3: {uploadPartSize: 0, parallelUploads: 0}}
        auth: {gssapi: {kerberos: {credentialCachePath: ""}}}
        """
    ).config
    assert (config.ssh.listen, config.ssh.client_alive_count_max) == ("0.0.0.0:2222", 3)
    assert (config.log.format, config.log.file) == ("ljson", "/var/log/containerssh/containerssh.log")
    assert (config.kubernetes.connection.qps, config.kubernetes.connection.burst) == (5.0, 10)
    assert config.sshproxy.port == 22
    assert (config.audit.s3.upload_part_size, config.audit.s3.parallel_uploads) == (5242880, 20)
    assert config.auth.gssapi.kerberos.credential_cache_path == "/tmp/krb5cc"


def test_zero_sessions_and_the_level_emerg_are_meant(read: Read) -> None:
    loaded = read("security: {maxSessions: 0}\nlog: {level: 0}")
    assert (loaded.config.security.max_sessions, loaded.config.log.level) == (0, "emerg")
    assert any("0 allows no session at all" in str(warning) for warning in loaded.warnings)


@pytest.mark.parametrize(
    ("written", "name"), [("debug", "debug"), ("7", "debug"), ("notice", "notice"), ("4", "warning")]
)
def test_a_log_level_is_a_name_or_a_number(read: Read, written: str, name: str) -> None:
    assert read(f"log: {{level: {written}}}").config.log.level == name


@pytest.mark.parametrize("written", ["'5'", "8", "DEBUG", "warn", "-1"])
def test_other_log_levels_are_refused(fail: Fail, written: str) -> None:
    assert "log.level: invalid log level" in fail(f"log: {{level: {written}}}")[0]


def test_keys_are_exact(fail: Fail) -> None:
    assert fail("SSH: {}\nssh: {ServerVersion: x}") == [
        "c.yaml:1:1: SSH: unknown key (did you mean ssh?)",
        "c.yaml:2:7: ssh.ServerVersion: unknown key (did you mean serverVersion?)",
    ]


@pytest.mark.parametrize("key", ["x-anchors", "connection", "oauth", ""])
def test_unknown_keys_are_problems_at_the_root(fail: Fail, key: str) -> None:
    assert "unknown key" in fail(f"'{key}': {{}}")[0]


def test_a_repeated_key_is_a_problem_that_names_both_lines(fail: Fail) -> None:
    assert fail("ssh:\n  banner: a\n  listen: :1\n  banner: b\n") == [
        "c.yaml:4:3: ssh.banner: the key is given twice, first in line 2"
    ]


def test_anchors_aliases_and_merges_work(read: Read) -> None:
    config = read(
        """
        auth:
          password:
            method: webhook
            webhook: &hook
              url: https://one.example
              timeout: 5s
          publicKey:
            method: webhook
            webhook:
              <<: *hook
              url: https://two.example
          authz:
            webhook: {<<: [{timeout: 7s}, *hook]}
        """
    ).config
    assert config.auth.public_key.webhook.url == "https://two.example"
    assert config.auth.public_key.webhook.timeout == timedelta(seconds=5)
    assert config.auth.authz.webhook.timeout == timedelta(seconds=7)
    assert config.auth.authz.webhook.url == "https://one.example"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("ssh: *nobody", "unknown anchor"),
        ("ssh: &a {banner: *a}", "contains itself"),
        ("ssh: {<<: 1}", "<< needs a map"),
        ("? [a]\n: 1", "a key must be a text"),
        ("ssh:\n\tbanner: x", "is not YAML"),
        ("ssh: [", "is not YAML"),
        ("ssh: }", "is not YAML"),
        ("ssh: {banner: '\x01'}", "control character"),
        ("[]", "expected a map, found a list"),
        ("just text", "expected a map, found a text"),
    ],
)
def test_what_cannot_be_read_is_one_problem_with_a_place(fail: Fail, text: str, what: str) -> None:
    (problem,) = fail(text)
    assert what in problem
    assert problem.startswith("c.yaml:")


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n"])
def test_an_empty_file_is_an_error(fail: Fail, text: str) -> None:
    assert fail(text) == ["c.yaml: EOF: the file is empty (write {} for a configuration of defaults)"]


@pytest.mark.parametrize("text", ["{}", "---\n", "~", "---\n...\nssh: [broken"])
def test_a_document_without_content_is_the_defaults(read: Read, text: str) -> None:
    assert read(text).config.model_fields_set == set()


def test_only_the_first_document_counts(read: Read) -> None:
    assert read("ssh: {banner: one}\n---\nssh: {banner: two}\n").config.ssh.banner == "one"


def test_text_may_be_utf_16_or_have_a_byte_order_mark() -> None:
    for content in ("ssh: {banner: é}".encode("utf-16"), b"\xef\xbb\xbfssh: {banner: \xc3\xa9}"):
        assert load_text(content, "c.yaml").config.ssh.banner == "é"


def test_latin_1_is_refused_at_its_place() -> None:
    with pytest.raises(ConfigProblems, match=r"c\.yaml:2:8: is not UTF-8 text"):
        load_text(b"ssh:\n banner\xe9: x", "c.yaml")


def test_billions_of_values_from_a_few_aliases_are_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    with pytest.raises(ConfigProblems, match="stand for too many values"):
        load_text("\n".join(lines), "c.yaml")


def test_a_pile_of_merges_is_refused() -> None:
    lines = ["m0: &m0 {a: 1}"]
    lines += [f"m{n}: &m{n} {{<<: [{', '.join([f'*m{n - 1}'] * 10)}]}}" for n in range(1, 10)]
    with pytest.raises(ConfigProblems, match="stand for too many values"):
        load_text("\n".join(lines), "c.yaml")


@pytest.mark.parametrize("text", ["[" * 100_000, "- " * 100_000, "a: {" * 100, "? " * 5000])
def test_deep_nesting_is_refused(text: str) -> None:
    with pytest.raises(ConfigProblems, match="nested deeper than 64"):
        load_text(text, "c.yaml")


def test_a_file_over_4_mib_is_refused() -> None:
    with pytest.raises(ConfigProblems, match="larger than 4 MiB"):
        load_text(b"#" * (4 * 1024 * 1024 + 1), "c.yaml")


def test_long_values_are_cut_in_messages(fail: Fail) -> None:
    (problem,) = fail(f"backend: {'x' * 10_000}")
    assert len(problem) < 300


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(f"key{n}: 1" for n in range(50_000)),
        "kubernetes: {pod: {spec: {containers: [" + "{a: 1}," * 30_000 + "]}}}",
        "ssh: {hostkeys: [" + "[]," * 30_000 + "]}",
    ],
    ids=["keys", "containers", "elements"],
)
def test_a_file_full_of_problems_lists_a_hundred(text: str) -> None:
    with pytest.raises(ConfigProblems) as caught:
        load_text(text, "c.yaml")
    assert len(caught.value.problems) == 100


def test_too_many_values_are_refused_while_they_are_read() -> None:
    with pytest.raises(ConfigProblems, match="there are too many values"):
        load_text("- x\n" * 250_000, "c.yaml")
