"""Which test stands for which line of the lists of ContainerSSH's own tests: C1–C5, S1–S9, and the security layer."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
SUITE = TESTS.parent / "src" / "moorage" / "testing"
E2E = "e2e/test_reference_lists.py"

LISTS: Mapping[str, Sequence[tuple[str, str]]] = {
    "C1 singleProgramShouldRun": [(E2E, "test_c1_a_single_program_runs")],
    "C2 settingEnvVariablesShouldWork": [
        (E2E, "test_c2_variables_that_were_set_before_are_expanded_by_the_shell"),
    ],
    "C3 runningInteractiveShellShouldWork": [
        (E2E, "test_c3_an_interactive_shell_has_variables_a_size_and_an_exit_status"),
        ("e2e/test_terminal.py", "test_the_terminal_has_the_window_s_size_and_follows_it"),
    ],
    "C4 reportingExitCodeShouldWork": [
        (E2E, "test_c4_an_exit_code_is_reported"),
        ("e2e/test_programs.py", "test_an_exit_code_reaches_the_client"),
    ],
    "C5 sendingSignalsShouldWork": [
        (E2E, "test_c5_a_signal_reaches_the_program"),
        ("suite_programs.py", "test_signal_reaches_the_process"),
    ],
    "S1 TestReadyRejection": [
        (E2E, "test_s1_a_server_that_cannot_get_ready_ends_with_the_reason"),
        ("unit/test_service.py", "test_a_service_that_cannot_start_takes_down_those_that_could"),
    ],
    "S2 TestAuthFailed": [(E2E, "test_s2_a_wrong_password_is_a_failed_authentication_and_nothing_else")],
    "S3 TestAuthKeyboardInteractive": [
        (E2E, "test_s3_a_wrong_answer_is_refused_and_the_right_one_accepted"),
        ("unit/ssh/test_userauth.py", "test_a_wrong_answer_is_refused_and_asked_again"),
    ],
    "S4 TestAuthGSSAPI": [
        ("unit/ssh/test_gssapi.py", "test_a_wrong_mic_is_a_failure"),
        ("unit/auth/kerberos/test_login.py", "test_a_ticket_lets_its_principal_in"),
    ],
    "S5 TestSessionSuccess": [(E2E, "test_s5_a_login_by_password_gets_a_shell_that_answers")],
    "S6 TestSessionError": [(E2E, "test_s6_a_shell_that_fails_says_so_by_its_status")],
    "S7 TestPubKey": [
        (E2E, "test_s7_an_rsa_key_of_4096_bits_gets_in"),
        ("unit/ssh/test_auth.py", "test_keys_are_asked_as_one_line_and_decided_after_the_signature"),
    ],
    "S8 TestKeepAlive": [
        (E2E, "test_s8_keepalives_come_at_their_interval"),
        ("unit/ssh/test_keepalive.py", "test_after_count_unanswered_questions_it_gives_up_once"),
    ],
    "S9 TestProperShutdown": [
        (E2E, "test_s9_a_server_with_an_open_shell_that_ends_when_told_stops_long_before_its_deadline"),
        ("e2e/test_lifecycle.py", "test_a_drain_waits_for_sessions"),
    ],
    "security: TestMaxSessions": [
        ("unit/gateway/test_policy.py", "test_sessions_are_counted_while_they_are_open"),
    ],
    "security: TestEnvRequest": [("unit/gateway/test_policy.py", "test_the_mode_decides_which_list_counts")],
    "security: TestPTYRequest": [("unit/gateway/test_policy.py", "test_a_filter_without_a_list_is_a_refusal")],
    "security: TestCommand": [
        ("unit/gateway/test_policy.py", "test_a_command_must_match_as_a_whole"),
        ("unit/gateway/test_policy.py", "test_a_forced_command_replaces_the_program_and_tells_what_was_asked_for"),
    ],
    "security: TestShell": [("unit/gateway/test_policy.py", "test_a_filter_without_a_list_is_a_refusal")],
    "security: TestSubsystem": [
        ("unit/gateway/test_policy.py", "test_the_mode_decides_which_list_counts"),
        ("unit/gateway/test_policy.py", "test_a_forced_command_replaces_the_program_and_tells_what_was_asked_for"),
    ],
    "our own: forwarding by mode, list and kind": [
        ("unit/gateway/test_policy.py", "test_every_kind_of_forwarding_has_its_own_mode"),
        ("unit/gateway/test_policy.py", "test_a_filter_lets_through_what_its_list_names"),
        ("e2e/test_forwarding.py", "test_nothing_is_forwarded_unless_the_configuration_says_so"),
        ("e2e/test_forwarding.py", "test_a_filter_lets_through_what_it_lists"),
    ],
    "our own: tunnels of each kind": [
        ("e2e/test_forwarding.py", "test_many_local_tunnels_at_once"),
        ("e2e/test_forwarding.py", "test_much_goes_both_ways_through_a_tunnel"),
        ("e2e/test_forwarding.py", "test_a_stalled_tunnel_stalls_nothing_else"),
        ("e2e/test_forwarding.py", "test_unix_sockets_in_both_directions"),
        ("e2e/test_forwarding.py", "test_reverse_tunnels_with_a_fixed_port_and_one_of_the_guests_choice"),
        ("e2e/test_forwarding.py", "test_the_users_agent_is_there_and_gone_with_the_connection"),
        ("e2e/test_forwarding.py", "test_a_display"),
        ("e2e/test_forwarding.py", "test_jumping_through_a_guest"),
        ("suite_forward.py", "test_a_connection_that_nobody_takes_is_refused_with_the_reason"),
    ],
    "our own: sources and hours": [
        ("unit/gateway/test_policy.py", "test_a_login_comes_from_where_it_may"),
        ("unit/gateway/test_policy.py", "test_a_login_lasts_as_long_as_its_hours"),
        ("e2e/test_limits.py", "test_a_login_from_elsewhere_reads_why"),
    ],
    "our own: time limits": [
        ("e2e/test_limits.py", "test_a_connection_on_which_nothing_moves_is_warned_and_ended"),
        ("e2e/test_limits.py", "test_a_busy_connection_goes_on_and_what_is_no_terminal_gets_no_text"),
    ],
    "our own: SFTP in a directory": [
        ("unit/gateway/test_policy.py", "test_rules_for_files_reach_the_guest_and_close_the_ways_around"),
        ("e2e/test_limits.py", "test_an_sftp_client_sees_its_directory_and_nothing_else"),
        ("e2e/test_limits.py", "test_ways_around_are_closed"),
        ("e2e/test_limits.py", "test_a_forced_sftp_server_is_all_there_is"),
    ],
    "our own: nothing that is not recorded": [
        ("unit/gateway/test_restricting.py", "test_what_would_not_be_recorded_is_off_where_that_is_demanded"),
    ],
    "authintegration: TestAuthentication": [
        ("e2e/test_auth.py", "test_a_password_webhook_decides_and_prepares_the_guest"),
    ],
}
"""Every line and the tests for it, each as file and function; files of the shipped suite by their names alone."""


def functions(file: str) -> set[str]:
    """The functions of a file of tests, methods too."""
    path = SUITE / file if "/" not in file else TESTS / file
    tree = ast.parse(path.read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize("line", LISTS)
def test_every_line_has_a_test(line: str) -> None:
    assert LISTS[line]
    for file, name in LISTS[line]:
        assert name in functions(file), f"{line}: {name} is not in {file}"


def test_no_line_is_missing() -> None:
    named = {line.split()[0] for line in LISTS}
    assert {f"C{number}" for number in range(1, 6)} | {f"S{number}" for number in range(1, 10)} <= named
