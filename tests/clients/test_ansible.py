"""Ansible: a playbook with pipelining, and one that sends its modules by SFTP."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.clients.recorder import Recorder
from tests.e2e.places import USER, Place

_PLAYBOOK = """
- hosts: all
  gather_facts: false
  tasks:
    - name: answer
      ping:
    - name: send a file
      copy: {content: "from a playbook\\n", dest: "{{ remote }}/sent", mode: "0640"}
    - name: run a command
      command: "wc -c {{ remote }}/sent"
      register: counted
    - name: fetch it back
      fetch: {src: "{{ remote }}/sent", dest: "{{ back }}", flat: true}
    - assert: {that: "counted.stdout.startswith('16 ')"}
"""


@pytest.fixture
def short() -> Iterator[str]:
    """A directory whose sockets have names that fit an address."""
    with tempfile.TemporaryDirectory(prefix="ma-") as directory:
        yield directory


@pytest.mark.timeout(120)
@pytest.mark.parametrize("way", ["pipelining", "sftp"])
def test_a_playbook(place: Place, record: Recorder, libraries: Path, tmp_path: Path, short: str, way: str) -> None:
    if place.user.run("python3 -V").returncode:
        pytest.fail("the guest has no Python")
    assert place.user.key is not None
    (tmp_path / "playbook.yaml").write_text(_PLAYBOOK)
    (tmp_path / "ansible.cfg").touch()  # nothing of this machine's
    settings = {
        "ANSIBLE_CONFIG": str(tmp_path / "ansible.cfg"),
        "ANSIBLE_HOME": str(tmp_path / "ansible"),
        "ANSIBLE_HOST_KEY_CHECKING": "false",
        "ANSIBLE_PIPELINING": str(way == "pipelining"),
        "ANSIBLE_SSH_TRANSFER_METHOD": "piped" if way == "pipelining" else "sftp",
        "ANSIBLE_SSH_CONTROL_PATH_DIR": short,
        "ANSIBLE_SSH_COMMON_ARGS": f"-F none -o UserKnownHostsFile={tmp_path}/known",
    }
    variables = {
        "ansible_port": place.server.port,
        "ansible_user": USER,
        "ansible_ssh_private_key_file": str(place.user.key),
        "ansible_python_interpreter": "/usr/bin/python3",
        "ansible_remote_tmp": "/tmp/ansible",
        "remote": "/tmp",
        "back": str(tmp_path / "back"),
    }
    done = subprocess.run(
        [libraries / "ansible-playbook", "-i", "127.0.0.1,", "-e", json.dumps(variables), tmp_path / "playbook.yaml"],
        env={"PATH": f"{libraries}:/usr/bin:/bin", "HOME": str(tmp_path), "LC_ALL": "C.UTF-8", **settings},
        capture_output=True,
        text=True,
        timeout=100,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    assert (tmp_path / "back").read_text() == "from a playbook\n"
    version = subprocess.run([libraries / "ansible", "--version"], capture_output=True, text=True, check=True).stdout
    record("Ansible", "key", "status", "files", f"`{way}`", version=version.split("]")[0].split()[-1])
