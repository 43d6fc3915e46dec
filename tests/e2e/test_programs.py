"""Commands through OpenSSH's client: their bytes, their ends, and how many at once."""

from __future__ import annotations

import hashlib
import random
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.e2e.places import Place
from tests.e2e.waiting import until


@pytest.mark.parametrize("code", [0, 1, 7, 127, 254])
def test_an_exit_code_reaches_the_client(place: Place, code: int) -> None:
    assert place.user.run(f"exit {code}").returncode == code


def test_a_program_ended_by_a_signal_is_not_a_success(place: Place) -> None:
    done = place.user.run("kill -KILL $$; echo still here")
    assert done.returncode == 255  # what OpenSSH makes of an exit-signal
    assert done.stdout == b""


def test_an_unknown_program_is_127_and_says_so(place: Place) -> None:
    done = place.user.run("no-such-program-here")
    assert done.returncode == 127
    assert b"not found" in done.stderr


def test_output_and_errors_stay_apart(place: Place) -> None:
    done = place.user.run("echo out; echo err >&2")
    assert (done.stdout, done.stderr) == (b"out\n", b"err\n")


def test_a_command_may_hold_any_bytes(place: Place) -> None:
    done = place.user.run(b"printf %s '\xff\xfe\x80\xc3(' | od -An -tx1")
    assert done.stdout.split() == [b"ff", b"fe", b"80", b"c3", b"28"]


def test_a_command_keeps_its_quotes_and_lines(place: Place) -> None:
    done = place.user.run("printf '[%s]' \"a  b\" 'c\nd' \"it's\"")
    assert done.stdout == b"[a  b][c\nd][it's]"


def test_the_end_of_input_reaches_the_program(place: Place) -> None:
    assert place.user.run("wc -c", input=b"x\n").stdout.strip() == b"2"


def test_output_goes_on_after_the_end_of_input(place: Place) -> None:
    given = b"line\n" * 1000
    assert place.user.run("cat; echo done", input=given).stdout == given + b"done\n"


def test_input_goes_on_after_the_end_of_output(place: Place) -> None:
    given = b"x" * 300_000
    done = place.user.run("exec >&-; wc -c >&2", input=given)
    assert (done.stdout, done.stderr.strip()) == (b"", b"300000")


def test_no_input_at_all(place: Place) -> None:
    assert place.user.run("cat; echo end", flags=["-n"]).stdout == b"end\n"


def test_a_program_that_reads_nothing_ends_the_session(place: Place) -> None:
    assert place.user.run("exit 3", input=b"y" * 2_000_000).returncode == 3


def test_two_hundred_megabytes_come_back_byte_for_byte(place: Place, tmp_path: Path) -> None:
    big, copy = tmp_path / "big", tmp_path / "copy"
    big.write_bytes(random.Random(20).randbytes(200_000_000))
    with big.open("rb") as source, copy.open("wb") as target:
        command = place.user.command("cat")
        done = subprocess.run(command, stdin=source, stdout=target, env=place.user.environment, timeout=55, check=False)
    assert done.returncode == 0
    with big.open("rb") as one, copy.open("rb") as other:
        assert hashlib.file_digest(one, "sha256").digest() == hashlib.file_digest(other, "sha256").digest()


def test_a_reader_that_leaves_ends_an_endless_program(place: Place) -> None:
    client = place.user.start("yes; echo left >&2")
    assert client.stdout is not None
    assert client.stdout.read(4) == b"y\ny\n"
    client.stdout.close()
    client.terminate()
    client.wait(10)
    assert client.stdin is not None
    assert client.stderr is not None
    client.stdin.close()
    client.stderr.close()


def test_the_session_has_its_own_environment(place: Place) -> None:
    done = place.user.run('echo "$USER $HOME $SHELL $SSH_CONNECTION"; pwd')
    first, where = done.stdout.decode().splitlines()
    name, home, *_ = first.split()
    assert name
    assert home == where
    assert str(place.server.directory) not in first


def test_an_unknown_subsystem_is_refused(place: Place) -> None:
    done = place.user.run("no-such-subsystem", flags=["-s"])
    assert done.returncode != 0
    assert b"subsystem request failed" in done.stderr


def test_ten_sessions_share_one_connection(place: Place) -> None:
    with place.user.opened() as shared, ThreadPoolExecutor(10) as pool:
        shared.run("echo common >common")
        done = list(pool.map(lambda n: shared.run(f"cat common; echo {n}; exit {n}"), range(10)))
    assert [d.stdout for d in done] == [f"common\n{n}\n".encode() for n in range(10)]
    assert [d.returncode for d in done] == list(range(10))


def test_a_connection_without_a_session_stays_and_ends_when_asked(place: Place) -> None:
    with place.user.opened() as shared:
        assert shared.tool("ssh", "-O", "check", "guest").returncode == 0
        assert shared.tool("ssh", "-O", "exit", "guest").returncode == 0


def test_twenty_logins_at_once(place: Place) -> None:
    with ThreadPoolExecutor(20) as pool:
        done = list(pool.map(lambda n: place.user.run(f"echo {n}", timeout=50), range(20)))
    assert [d.stdout.split()[:1] for d in done] == [[str(n).encode()] for n in range(20)], [d.stderr for d in done]


def test_each_login_has_a_guest_of_its_own(place: Place) -> None:
    with place.user.opened() as one, place.user.opened() as other:
        one.run("echo mine >/tmp/mine")
        assert other.run("cat /tmp/mine").returncode != 0
        assert one.run("cat /tmp/mine").stdout == b"mine\n"


def test_a_hang_up_of_the_client_ends_its_programs(place: Place) -> None:
    with place.user.opened() as shared:
        client = shared.start("echo $$; exec sleep 1000")
        assert client.stdout is not None
        pid = client.stdout.readline().decode().strip()
        assert shared.run(f"kill -0 {pid}").returncode == 0
        client.kill()
        until(lambda: shared.run(f"kill -0 {pid}").returncode != 0, "the program ends with its session")
        client.communicate(timeout=10)
