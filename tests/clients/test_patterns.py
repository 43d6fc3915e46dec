"""What editors do over SSH when they move in, forwarding left out."""

from __future__ import annotations

from pathlib import Path

from tests.clients.driving import digest
from tests.clients.recorder import Recorder
from tests.e2e.clients import Client

_INSTALLER = b"""
set -e
mkdir -p "$HOME/.editor-server"
cat >"$HOME/.editor-server/run" <<'END'
#!/bin/sh
echo $$ >"$HOME/.editor-server/pid"
while :; do sleep 1; done
END
chmod +x "$HOME/.editor-server/run"
nohup "$HOME/.editor-server/run" >"$HOME/.editor-server/log" 2>&1 </dev/null &
until [ -s "$HOME/.editor-server/pid" ]; do sleep 0.05; done
echo "listening=$(cat "$HOME/.editor-server/pid")"
"""


def test_vs_code_installs_over_stdin_and_its_server_outlives_the_command(shared: Client, record: Recorder) -> None:
    done = shared.run("sh", input=_INSTALLER)
    assert done.returncode == 0, done.stderr
    pid = int(done.stdout.decode().removeprefix("listening="))
    again = shared.run(f"kill -0 {pid} && echo found")
    assert again.stdout == b"found\n"
    record("VS Code Remote (pattern)", "key", "exec", "input", "long-lived server")


def test_jetbrains_uploads_its_worker_and_keeps_it_running(
    shared: Client, record: Recorder, medium: Path, tmp_path: Path
) -> None:
    worker = tmp_path / "worker"
    worker.write_text("#!/bin/sh\necho started\nwhile read line; do echo got $line; done\n")
    batch = f"mkdir .worker\nput {worker} .worker/run\nchmod 755 .worker/run\nput {medium} .worker/data\n"
    batch += f"get .worker/data {tmp_path}/down\n"
    assert shared.tool("sftp", "-b", "-", "guest", input=batch.encode()).returncode == 0
    assert digest(tmp_path / "down") == digest(medium)
    with shared.start("exec ./.worker/run") as running:
        assert running.stdin is not None
        assert running.stdout is not None
        assert running.stdout.readline() == b"started\n"
        assert shared.run("pwd").returncode == 0
        running.stdin.write(b"work\n")
        running.stdin.flush()
        assert running.stdout.readline() == b"got work\n"
        running.stdin.close()
        assert running.wait(10) == 0
    record("JetBrains Gateway (pattern)", "key", "exec", "files", "long-lived server")
