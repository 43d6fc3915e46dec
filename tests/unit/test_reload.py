"""Reload: what may change while the server runs, and what is named instead."""

from moorage.config import load_text
from moorage.reload import reloaded

RUNNING = """
ssh: {listen: 127.0.0.1:2222, maxAuthTries: 6}
auth: {users: {file: users.yaml}}
backend: sandbox
log: {level: info}
"""


def test_what_each_login_is_given_changes() -> None:
    old = load_text(RUNNING, "a.yaml", look_at_files=False).config
    new = load_text(
        RUNNING.replace("info", "debug").replace("Tries: 6", "Tries: 3") + "security: {shell: {mode: disable}}",
        "b.yaml",
        look_at_files=False,
    ).config
    config, fixed = reloaded(old, new)
    assert config.security.shell.mode == "disable"
    assert config.log.level == "debug"
    assert config.ssh.max_auth_tries == 3
    assert fixed == ()


def test_what_cannot_change_is_named_and_stays() -> None:
    old = load_text(RUNNING, "a.yaml", look_at_files=False).config
    new = load_text(
        RUNNING.replace("2222", "2223").replace("users.yaml", "others.yaml"), "b.yaml", look_at_files=False
    ).config
    config, fixed = reloaded(old, new)
    assert config.ssh.listen == "127.0.0.1:2222"
    assert config.auth == old.auth
    assert set(fixed) == {"ssh.listen", "auth.users"}
