"""Keyboard-interactive and partial success on the wire, with OpenSSH's client and with clients that misbehave."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import asyncssh
from asyncssh.auth import MSG_USERAUTH_INFO_REQUEST, MSG_USERAUTH_INFO_RESPONSE
from asyncssh.packet import Boolean, String, UInt32
from tests.unit.ssh.conftest import Serve, Served
from tests.unit.ssh.fakes import FakeGateway
from tests.unit.ssh.test_auth import _manual

from moorage.gateway.model import Prompt, Round

FIRST = Round("Moorage", "Two questions.", (Prompt("Colour: ", echo=True), Prompt("Secret: ")))
SECOND = Round("", "", (Prompt("Code: "),))
NOTHING = Round("", "Just so you know.", ())
QUESTIONS = [(FIRST, ["blue", "gr\u00fcn"]), (NOTHING, []), (SECOND, ["123456"])]

FAILURE = 51


async def by_answers(served: Served, directory: Path, answers: dict[str, str]) -> tuple[int, bytes, bytes]:
    """OpenSSH's client, answering each prompt from a table."""
    ask = directory / "ask"
    cases = "".join(f"*{prompt!r}*) printf '%s\\n' {answer!r};;\n" for prompt, answer in answers.items())
    ask.write_text(f'#!/bin/sh\ncase "$1" in\n{cases}*) exit 1;; esac\n')
    ask.chmod(0o700)
    process = await asyncio.create_subprocess_exec(
        "ssh",
        *("-F", "none", "-p", str(served.port), "-o", "StrictHostKeyChecking=no", "-o", "IdentityAgent=none"),
        *("-o", f"UserKnownHostsFile={directory}/known", "-o", "LogLevel=INFO", "alice@localhost", "echo in"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"PATH": os.environ["PATH"], "SSH_ASKPASS": str(ask), "SSH_ASKPASS_REQUIRE": "force", "LC_ALL": "C.UTF-8"},
    )
    out, err = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode is not None
    return process.returncode, out, err


async def test_questions_reach_the_user_and_answers_the_gateway(serve: Serve, tmp_path: Path) -> None:
    served = await serve(FakeGateway(methods=("keyboard-interactive",), questions=QUESTIONS))
    answers = {"Colour": "blue", "Secret": "gr\u00fcn", "Code": "123456"}
    code, out, err = await by_answers(served, tmp_path, answers)
    assert (code, out) == (0, b"in\n"), err
    assert served.gateway.answers == [["blue", "gr\u00fcn"], [], ["123456"]]


async def test_a_wrong_answer_is_refused_and_asked_again(serve: Serve, tmp_path: Path) -> None:
    served = await serve(FakeGateway(methods=("keyboard-interactive",), questions=QUESTIONS))
    code, _, err = await by_answers(served, tmp_path, {"Colour": "red", "Secret": "x", "Code": "1"})
    assert code == 255
    assert b"Permission denied" in err or b"Too many authentication failures" in err
    assert len(served.gateway.answers) == 3, "OpenSSH asks three times"


async def test_a_second_factor_is_asked_for_after_the_first(serve: Serve, tmp_path: Path) -> None:
    served = await serve(
        FakeGateway(methods=("password",), second=("keyboard-interactive",), questions=[(SECOND, ["123456"])])
    )
    code, out, err = await by_answers(served, tmp_path, {"password": "secret", "Code": "123456"})
    assert (code, out) == (0, b"in\n"), err
    assert served.gateway.passwords == [("alice", b"secret")]
    assert served.gateway.connections[0].username == "alice"


async def test_the_first_factor_alone_lets_nobody_in(serve: Serve, tmp_path: Path) -> None:
    served = await serve(
        FakeGateway(methods=("password",), second=("keyboard-interactive",), questions=[(SECOND, ["123456"])])
    )
    code, _, err = await by_answers(served, tmp_path, {"password": "secret", "Code": "0"})
    assert code == 255
    assert b"Permission denied (keyboard-interactive)" in err
    assert served.gateway.connections[0].username == ""


async def test_a_conversation_is_given_up_for_another_method(serve: Serve) -> None:
    served = await serve(FakeGateway(questions=[(SECOND, ["123456"])]))
    client, received = await by_hand(served)
    ask(client)
    await heard(received, MSG_USERAUTH_INFO_REQUEST)
    request(client, b"password", Boolean(False) + String(b"secret"))
    await heard(received, 52)
    assert served.gateway.connections[0].username == "alice"
    assert served.gateway.answers == []
    client.abort()


async def test_more_answers_than_questions_are_a_failure(serve: Serve) -> None:
    for answers in ([], [b"1", b"2"], [b"\xff"], [b"x" * 4097]):
        served = await serve(FakeGateway(questions=[(SECOND, ["123456"])]))
        client, received = await by_hand(served)
        ask(client)
        await heard(received, MSG_USERAUTH_INFO_REQUEST)
        client.send_packet(MSG_USERAUTH_INFO_RESPONSE, UInt32(len(answers)), *map(String, answers))
        await heard(received, FAILURE)
        assert served.gateway.answers == []
        ask(client)  # and the connection goes on
        await heard(received, MSG_USERAUTH_INFO_REQUEST)
        client.send_packet(MSG_USERAUTH_INFO_RESPONSE, UInt32(1), String(b"123456"))
        await heard(received, 52)
        client.abort()


async def test_answers_that_nobody_asked_for_are_not_understood(serve: Serve) -> None:
    served = await serve(FakeGateway(questions=[(SECOND, ["123456"])]))
    client, received = await by_hand(served)
    client.send_packet(MSG_USERAUTH_INFO_RESPONSE, UInt32(1), String(b"123456"))
    await asyncio.wait_for(served.gateway.connections[0].end, 10)
    assert not [kind for kind, _ in received if kind == 52]


async def test_a_client_that_leaves_in_the_middle_leaves_nothing(serve: Serve) -> None:
    served = await serve(FakeGateway(questions=[(SECOND, ["123456"])]))
    client, received = await by_hand(served)
    ask(client)
    await heard(received, MSG_USERAUTH_INFO_REQUEST)
    client.abort()
    await asyncio.wait_for(served.gateway.connections[0].end, 10)


async def test_the_library_answers_too(serve: Serve) -> None:
    served = await serve(FakeGateway(methods=("keyboard-interactive",), questions=QUESTIONS))

    class Answering(asyncssh.SSHClient):
        def kbdint_auth_requested(self) -> str:
            return ""

        def kbdint_challenge_received(self, name: str, instructions: str, lang: str, prompts: Any) -> list[str]:
            return [{"Colour: ": "blue", "Secret: ": "gr\u00fcn", "Code: ": "123456"}[text] for text, _ in prompts]

    async with served.client(password=None, client_factory=Answering) as client:
        assert (await client.run("echo in", encoding=None)).stdout == b"in\n"


class Keeping:
    """Keeps what the server sends for a method under way."""

    def __init__(self, received: list[tuple[int, bytes]]) -> None:
        self._received = received

    def process_packet(self, kind: int, _number: int, packet: Any) -> bool:
        self._received.append((kind, packet.get_remaining_payload()))
        return True

    def log_received_packet(self, *_: object) -> None:
        """Nothing."""

    def cancel(self) -> None:
        """Nothing."""


async def by_hand(served: Served) -> tuple[Any, list[tuple[int, bytes]]]:
    """A client that sends what it is told, and what it has received."""
    client, received = await _manual(served)
    client._auth = Keeping(received)
    return client, received


def request(client: Any, method: bytes, rest: bytes) -> None:
    """One request to authenticate as alice."""
    client.send_packet(50, String(b"alice"), String(b"ssh-connection"), String(method), rest)


def ask(client: Any) -> None:
    """Ask for a conversation."""
    request(client, b"keyboard-interactive", String(b"") + String(b""))


async def heard(received: list[tuple[int, bytes]], kind: int) -> None:
    """Returns when a packet of this kind has arrived, and forgets it."""
    async with asyncio.timeout(10):
        while kind not in [number for number, _ in received]:
            await asyncio.sleep(0.005)
    received.clear()
