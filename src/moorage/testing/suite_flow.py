"""Conformance, second part: bytes, their ends, and back-pressure."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Iterator

from moorage.gateway.contract import Guest
from moorage.testing.suite import Suite, ended, feed, resident_bytes, run, start

MUCH = 200_000_000
"""Bytes of a large transfer."""

MEMORY = 48_000_000
"""What a stuck reader or writer may cost this process: windows, kernel buffers' copies, and the allocator's slack."""

PATIENCE = 60.0
"""Seconds for a large transfer."""


def _chunks(total: int, seed: int) -> Iterator[bytes]:
    """`total` bytes that repeat themselves nowhere near, cut unevenly."""
    chance = random.Random(seed)
    block = chance.randbytes(1_000_003)
    while total > 0:
        at = chance.randrange(0, 900_000)
        chunk = block[at : at + min(total, chance.randrange(1, 100_000))]
        total -= len(chunk)
        yield chunk


class FlowTests(Suite):
    """Sentences of `Transport`, `Receiver` and `ProcessReceiver`."""

    async def test_output_and_error_are_kept_apart(self, guest: Guest) -> None:
        result = await run(guest, "echo out; echo err >&2; echo out again")
        assert result.stdout == b"out\nout again\n"
        assert result.stderr == b"err\n"

    async def test_any_byte_passes_both_ways(self, guest: Guest) -> None:
        everything = bytes(range(256)) * 17
        assert (await run(guest, "cat", everything)).stdout == everything
        assert (await run(guest, "cat >&2", everything)).stderr == everything

    async def test_output_follows_the_end_of_input(self, guest: Guest) -> None:
        """Half-close, our side first."""
        result = await run(guest, "wc -c; echo after; exit 6", b"x" * 12345)
        assert result.stdout.split() == [b"12345", b"after"]
        assert result.status.code == 6

    async def test_input_goes_on_after_the_end_of_output(self, guest: Guest) -> None:
        """Half-close, the process's side first: the end of output and error is not the end of the process."""
        path = self.path("half")
        process, recorder = await start(guest, f"exec >&- 2>&-; cat > {path}; exit 8")
        await recorder.until(lambda: "eof_received" in recorder.calls)
        for _ in range(10):
            process.write(b"0123456789" * 1000)
        process.write_eof()
        assert (await ended(process)).code == 8
        assert (await run(guest, f"wc -c < {path}; rm {path}")).stdout.strip() == b"100000"

    async def test_the_end_of_output_waits_for_error_too(self, guest: Guest) -> None:
        process, recorder = await start(guest, "exec >&-; read line; echo late >&2")
        process.write(b"go\n")
        assert (await ended(process)).code == 0
        await recorder.until_lost()
        assert recorder.stderr == b"late\n"
        assert recorder.calls[-2:] == ["eof_received", "connection_lost"]

    async def test_write_eof_is_idempotent_and_ends_writing(self, guest: Guest) -> None:
        process, recorder = await start(guest, "cat")
        process.write(b"before")
        process.write_eof()
        process.write_eof()
        process.write(b"after")
        assert (await ended(process)).code == 0
        assert recorder.stdout == b"before"

    async def test_empty_writes_are_nothing(self, guest: Guest) -> None:
        process, recorder = await start(guest, "cat")
        process.write(b"")
        process.write(b"x")
        process.write(b"")
        process.write_eof()
        assert (await ended(process)).code == 0
        assert recorder.stdout == b"x"

    async def test_an_orderly_end_has_no_cause(self, guest: Guest) -> None:
        process, recorder = await start(guest, "echo x")
        assert (await ended(process)).code == 0
        await recorder.until_lost()
        assert recorder.cause is None
        assert recorder.calls == ["eof_received", "connection_lost"]

    async def test_a_background_process_holds_the_pipes_and_so_the_session(self, guest: Guest) -> None:
        result = await run(guest, "(sleep 0.3; echo late) & echo early; exit 3")
        assert result.stdout == b"early\nlate\n"
        assert result.status.code == 3

    async def test_a_background_process_without_the_pipes_holds_nothing(self, guest: Guest) -> None:
        result = await run(guest, "sleep 61 < /dev/null > /dev/null 2>&1 & echo $!")
        assert result.status.code == 0
        await run(guest, f"kill {int(result.stdout)}")

    async def test_a_writer_that_writes_into_a_closed_pipe_is_not_an_error(self, guest: Guest) -> None:
        process, recorder = await start(guest, "exec <&-; echo closed; read x < /dev/null; sleep 0.1; exit 2")
        await recorder.until_output(b"closed")
        for _ in range(100):
            process.write(b"x" * 1000)
        assert (await ended(process)).code == 2

    async def test_much_goes_out_byte_for_byte(self, guest: Guest) -> None:
        process, recorder = await start(guest, f"head -c {MUCH} /dev/zero", keep=False)
        status = await asyncio.wait_for(process.wait(), PATIENCE)
        assert (status.code, recorder.count) == (0, MUCH)
        assert recorder.sha256.digest() == hashlib.sha256(bytes(MUCH)).digest()

    async def test_much_goes_in_byte_for_byte(self, guest: Guest) -> None:
        process, recorder = await start(guest, "sha256sum")
        wanted = hashlib.sha256()
        for chunk in _chunks(MUCH, 1):
            wanted.update(chunk)
        await asyncio.wait_for(feed(process, recorder, _chunks(MUCH, 1)), PATIENCE)
        assert (await asyncio.wait_for(process.wait(), PATIENCE)).code == 0
        assert recorder.stdout.split()[0].decode() == wanted.hexdigest()

    async def test_much_goes_both_ways_at_once(self, guest: Guest) -> None:
        total = MUCH // 4
        process, recorder = await start(guest, "cat", keep=False)
        wanted = hashlib.sha256()
        for chunk in _chunks(total, 2):
            wanted.update(chunk)
        await asyncio.wait_for(feed(process, recorder, _chunks(total, 2)), PATIENCE)
        assert (await asyncio.wait_for(process.wait(), PATIENCE)).code == 0
        assert (recorder.count, recorder.sha256.hexdigest()) == (total, wanted.hexdigest())

    async def test_a_paused_reader_is_told_nothing(self, guest: Guest) -> None:
        process, recorder = await start(guest, "read go; echo out; echo err >&2")
        process.pause_reading()
        process.pause_reading()
        process.write(b"go\n")
        assert (await run(guest, "sleep 0.2; echo other")).stdout == b"other\n"
        assert not recorder.stdout + recorder.stderr
        assert recorder.calls == []
        process.resume_reading()
        process.resume_reading()
        assert (await ended(process)).code == 0
        assert recorder.stdout == b"out\n"
        assert recorder.stderr == b"err\n"

    async def test_wait_returns_after_the_last_output_even_of_a_paused_reader(self, guest: Guest) -> None:
        process, recorder = await start(guest, "echo out; exit 3")
        process.pause_reading()
        waiting = asyncio.create_task(process.wait())
        assert (await run(guest, "sleep 0.2; echo other")).stdout == b"other\n"
        assert not waiting.done() or recorder.stdout == b"out\n"
        process.resume_reading()
        assert (await waiting).code == 3
        assert recorder.stdout == b"out\n"
        assert "eof_received" in recorder.calls

    async def test_a_reader_may_pause_and_resume_at_any_byte(self, guest: Guest) -> None:
        process, recorder = await start(guest, "head -c 20000000 /dev/zero", keep=False)
        loop = asyncio.get_running_loop()
        turns = 0

        def stutter(data: bytes) -> None:
            nonlocal turns
            turns += 1
            process.pause_reading()
            if turns % 3:
                loop.call_soon(process.resume_reading)
            else:
                process.resume_reading()

        recorder.on_data = stutter
        assert (await ended(process)).code == 0
        assert recorder.count == 20_000_000

    async def test_a_reader_that_stops_costs_bounded_memory_and_nobody_else_s_time(self, guest: Guest) -> None:
        process, recorder = await start(guest, f"head -c {MUCH} /dev/zero", keep=False)
        process.pause_reading()
        paused_at, before = recorder.count, resident_bytes()
        assert (await run(guest, "head -c 3000000 /dev/zero | wc -c")).stdout.strip() == b"3000000"
        other, other_recorder = await start(guest, "head -c 50000000 /dev/zero", keep=False)
        assert (await asyncio.wait_for(other.wait(), PATIENCE)).code == 0
        assert other_recorder.count == 50_000_000
        assert recorder.count == paused_at
        assert resident_bytes() - before < MEMORY
        process.resume_reading()
        assert (await asyncio.wait_for(process.wait(), PATIENCE)).code == 0
        assert recorder.count == MUCH

    async def test_a_process_that_does_not_read_stops_its_writer_and_nobody_else(self, guest: Guest) -> None:
        process, recorder = await start(guest, "read go < /dev/null; echo ready; exec sleep 61")
        await recorder.until_output(b"ready")
        written = 0
        before = resident_bytes()
        chunk = bytes(32_768)
        while not recorder.is_writing_paused:
            process.write(chunk)
            written += len(chunk)
            assert written < MEMORY, "the writer was never told to pause"
            await asyncio.sleep(0)
        assert (await run(guest, "cat", b"x" * 1_000_000)).stdout == b"x" * 1_000_000
        assert resident_bytes() - before < MEMORY
        process.close()
        await ended(process)

    async def test_a_writer_is_told_when_there_is_room_again(self, guest: Guest) -> None:
        process, recorder = await start(guest, "echo ready; read go < /dev/null; sleep 0.3; wc -c")
        await recorder.until_output(b"ready")
        written = 0
        while not recorder.is_writing_paused:
            process.write(bytes(32_768))
            written += 32_768
            assert written < MEMORY
            await asyncio.sleep(0)
        await recorder.until(lambda: not recorder.is_writing_paused)
        process.write_eof()
        assert (await ended(process)).code == 0
        assert int(recorder.stdout.split()[-1]) == written

    async def test_what_was_written_while_paused_arrives_in_order(self, guest: Guest) -> None:
        process, recorder = await start(guest, "sleep 0.2; sha256sum")
        wanted = hashlib.sha256()
        for chunk in _chunks(8_000_000, 3):
            wanted.update(chunk)
            process.write(chunk)
        process.write_eof()
        assert (await ended(process)).code == 0
        assert recorder.stdout.split()[0].decode() == wanted.hexdigest()

    async def test_close_hangs_up_a_process_whose_input_is_full(self, guest: Guest) -> None:
        path = self.path("hup")
        trap = f"trap 'echo gone > {path}; exit' HUP"
        # A shell that tells of its interrupted sleep on a closed pipe would be ended by that, before its trap.
        process, recorder = await start(guest, f"{trap}; exec 2> /dev/null; echo ready; while :; do sleep 0.05; done")
        await recorder.until_output(b"ready")
        process.write(bytes(8_000_000))
        process.close()
        process.close()
        await recorder.until_lost()
        assert recorder.cause is None
        await ended(process)
        result = await run(guest, f"while [ ! -s {path} ]; do sleep 0.05; done; cat {path}; rm {path}")
        assert result.stdout == b"gone\n"

    async def test_after_close_nothing_is_delivered(self, guest: Guest) -> None:
        process, recorder = await start(guest, "while :; do echo y; done", keep=False)
        await recorder.until(lambda: recorder.count > 100_000)
        process.close()
        count = recorder.count
        await ended(process)
        assert recorder.count == count
        assert recorder.calls == ["connection_lost"]

    async def test_a_receiver_may_close_from_inside_a_call(self, guest: Guest) -> None:
        process, recorder = await start(guest, "cat /dev/zero", keep=False)
        recorder.on_data = lambda data: process.close()
        await recorder.until_lost()
        await ended(process)
        assert recorder.calls == ["connection_lost"]
