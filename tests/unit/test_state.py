"""The state directory: the instance's name and who may use it."""

from pathlib import Path

import pytest

from moorage.errors import ConfigError
from moorage.state import State, default_state_directory


def test_the_instance_is_the_same_from_run_to_run(tmp_path: Path) -> None:
    first = State(tmp_path / "state")
    first.close()
    second = State(tmp_path / "state")
    second.close()
    assert first.instance == second.instance
    assert len(first.instance) == 16


def test_a_second_gateway_in_the_directory_has_a_name_of_its_own(tmp_path: Path) -> None:
    first, second = State(tmp_path), State(tmp_path)
    assert first.instance != second.instance
    first.close()
    second.close()


def test_a_name_that_was_tampered_with_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "instance").write_text("../../../etc\n")
    state = State(tmp_path)
    state.close()
    assert state.instance.isalnum()
    assert (tmp_path / "instance").read_text() == f"{state.instance}\n"


def test_a_directory_that_cannot_be_used_is_told_with_the_mend(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"state\.directory"):
        State(tmp_path / "file" / "state")


def test_the_service_manager_says_where(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", "/srv/state:/srv/other")
    assert default_state_directory() == Path("/srv/state")


def test_who_is_not_root_keeps_state_at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_STATE_HOME", "/home/mia/state")
    assert default_state_directory() == Path("/home/mia/state/moorage")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert default_state_directory() == Path("/var/lib/moorage")
