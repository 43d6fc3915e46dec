"""The agent's image: one file, made of nothing else, the same every time."""

from __future__ import annotations

import hashlib
import json
import tarfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from moorage.agent.install import agent_binary
from moorage.cli.agent_image import command


def written(path: Path, *arguments: str) -> tarfile.TarFile:
    done = CliRunner().invoke(command, [*arguments, str(path)])
    assert (done.exit_code, done.output) == (0, "")
    return tarfile.open(path)


@pytest.mark.parametrize("architecture", ["amd64", "arm64"])
def test_it_holds_the_agent_and_says_for_which_processor(tmp_path: Path, architecture: str) -> None:
    with written(tmp_path / "a.tar", "--architecture", architecture, "--name", "r.example/a:1") as image:

        def content(name: str) -> bytes:
            file = image.extractfile(name)
            assert file is not None
            return file.read()

        (manifest,) = json.loads(content("manifest.json"))
        config = json.loads(content(manifest["Config"]))
        (layer,) = manifest["Layers"]
        assert manifest["RepoTags"] == ["r.example/a:1"]
        assert (config["architecture"], config["os"]) == (architecture, "linux")
        assert config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(content(layer)).hexdigest()}"]
        (tmp_path / "layer.tar").write_bytes(content(layer))
    with tarfile.open(tmp_path / "layer.tar") as layers:
        (member,) = layers.getmembers()
        file = layers.extractfile(member)
        assert file is not None
        assert (member.name, member.mode, file.read()) == (
            "moorage-agent",
            0o555,
            agent_binary(architecture).read_bytes(),
        )


def test_it_is_the_same_every_time(tmp_path: Path) -> None:
    for name in ("a", "b"):
        written(tmp_path / name).close()
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_file_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    done = CliRunner().invoke(command, [str(tmp_path / "none" / "a.tar")])
    assert done.exit_code == 1
    assert "No such file" in done.output
