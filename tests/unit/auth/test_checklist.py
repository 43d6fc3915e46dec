"""Every line of the list of what a drop-in replacement has to do, and the tests that show it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SECURITY = (ROOT / "docs" / "security.md").read_text()

CHECKLIST: dict[str, list[str]] = {
    "1 requests: fields in order, empty maps left out, sensitive always written, headers": [
        "tests/unit/auth/test_compatibility.py::test_1_requests_are_posts_of_json_with_the_fields_in_order_and_empty_maps_left_out",
        "tests/unit/auth/test_compatibility.py::test_1_sensitive_is_always_written",
        "tests/unit/net/test_http.py::test_a_request_is_a_post_with_the_headers_of_the_protocol",
        "tests/unit/webhook/test_openapi.py::test_fields_and_types_are_those_of_the_reference",
    ],
    "2 URLs: one slash, the config URL unchanged, user info is Basic": [
        "tests/unit/auth/test_compatibility.py::test_2_paths_are_appended_with_one_slash_and_the_config_url_is_kept",
        "tests/unit/auth/test_compatibility.py::test_2_user_info_in_the_url_is_basic_authentication",
    ],
    "3 answers of all servers": [
        "tests/unit/auth/test_compatibility.py::test_3_answers_of_all_servers_are_understood",
        "tests/unit/net/test_http.py::test_any_content_type_and_a_compressed_answer_are_read",
        "tests/e2e/test_webhook_failures.py::test_what_harmless_servers_say_is_understood",
    ],
    "4 only status 200 with valid JSON": [
        "tests/unit/auth/test_compatibility.py::test_4_only_status_200_is_an_answer",
        "tests/e2e/test_webhook_failures.py::test_a_failing_webhook_denies_with_a_reference",
    ],
    "5 times, and an end with the client's": [
        "tests/unit/auth/test_compatibility.py::test_5_the_times_are_those_of_the_reference",
        "tests/unit/auth/test_compatibility.py::test_5_the_budget_cuts_a_running_call_and_a_disconnect_stops_it",
    ],
    "6 merging per key and per attempt; the verified name is kept": [
        "tests/unit/auth/test_compatibility.py::test_6_answers_merge_key_by_key_and_the_verified_name_is_kept",
        "tests/unit/auth/test_compatibility.py::test_6_what_one_attempt_brings_stays_with_it",
    ],
    "7 the order of the hooks; keys at query time, reused for the signature; six failures": [
        "tests/unit/gateway/test_connection.py::test_a_key_is_asked_about_once_and_authorized_only_when_it_signed",
        "tests/e2e/test_auth.py::test_a_key_webhook_decides_once_a_connection",
        "tests/unit/gateway/test_connection.py::test_refusals_count_and_accepted_key_queries_do_not",
        "tests/unit/gateway/test_connection.py::test_no_guest_is_opened_before_the_login_is_complete",
    ],
    "8 redirects off, PEM or file, mutual TLS, TLS 1.3 by default": [
        "tests/unit/auth/test_compatibility.py::test_8_redirects_are_off_unless_switched_on",
        "tests/unit/auth/test_compatibility.py::test_8_certificates_are_pem_or_file_both_sides_are_verified_and_tls_1_3_is_the_least",
        "tests/e2e/test_webhook_failures.py::test_a_webhook_that_is_not_to_be_trusted_denies_with_a_reference",
    ],
    "9 all keys, also of 0.4; dead ones warn or work": [
        "tests/unit/config/test_samples.py::test_every_sample_is_read_without_looking_elsewhere",
        "tests/unit/config/test_samples.py::test_flags_and_the_time_limit_of_the_old_auth_layout_are_honoured",
        "tests/unit/config/test_rules.py::test_dead_and_doubtful_keys_are_warnings",
        "tests/unit/auth/test_compatibility.py::test_9_secrets_go_to_later_hooks_only_with_transmit_sensitive_metadata",
        "tests/unit/auth/oauth2/test_login.py::test_a_qr_code_is_for_those_clients_that_are_listed",
        "tests/unit/auth/oauth2/test_login.py::test_the_whole_login_has_an_end",
    ],
    "10 names of metadata, metrics, labels, codes": [
        "tests/unit/auth/test_compatibility.py::test_10_labels_and_codes_are_those_of_the_reference",
        "tests/unit/auth/oauth2/test_oidc.py::test_the_code_flow_gives_name_claims_and_metadata",
        "tests/unit/auth/kerberos/test_login.py::test_delegated_tickets_become_a_file_of_the_guest",
    ],
    "11 discovery with and without the final slash": [
        "tests/unit/auth/oauth2/test_oidc.py::test_11_the_address_may_end_in_a_slash_or_not",
    ],
    "12 none of the known mistakes; switches where a set-up may depend on the old ways": [
        "tests/unit/auth/test_compatibility.py::test_12_only_methods_that_are_on_are_offered",
        "tests/unit/auth/test_webhook_options.py::test_release_0_4_is_asked_as_it_was",
        "tests/unit/auth/test_checklist.py::test_every_mistake_in_the_table_has_its_test",
    ],
}
NAMED = re.findall(r"`(tests/\S+::\S+)`", SECURITY)


def exists(name: str) -> bool:
    path, _, test = name.partition("::")
    file = ROOT / path
    return file.is_file() and re.search(rf"^(async )?def {test}\(", file.read_text(), re.MULTILINE) is not None


@pytest.mark.parametrize("line", CHECKLIST)
def test_every_line_of_the_checklist_has_its_tests(line: str) -> None:
    assert CHECKLIST[line]
    assert [name for name in CHECKLIST[line] if not exists(name)] == []


def test_every_mistake_in_the_table_has_its_test() -> None:
    assert len(NAMED) > 25
    assert [name for name in NAMED if not exists(name)] == []


def test_the_list_is_whole() -> None:
    assert [int(line.split()[0]) for line in CHECKLIST] == list(range(1, 13))
