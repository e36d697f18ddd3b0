"""The messages between a spawner and its helper on another machine; the helper is driven by hand."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.launchers.misfit import SERVICES, speak_up
from tests.node_processes import ROOT
from tests.waiting import DEADLINE_S
from trionet import NodeAddress, NodeConfig
from trionet.launchers.far_frames import MAX_FRAME_BYTES, TOKEN_BYTES, FrameReader, Greeting, Hello, frames
from trionet.launchers.forked import RECORD
from trionet.launchers.needs import Needs
from trionet.launchers.supervised import Boot, Report, decode_line, encode_line
from trionet.processors import usable_processors
from trionet.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from tests.launchers.families import Family

TOKEN = bytes(range(1, TOKEN_BYTES + 1))

whole = st.tuples(st.sampled_from(b"DGXA"), st.integers(0, 2**31 - 1), st.binary(max_size=60))


def encoded(kind: int, number: int, data: bytes) -> bytes:
    letter = bytes([kind])
    return TOKEN + RECORD.pack(letter, number, len(data)) + (data if letter in b"DG" else b"")


@given(st.lists(st.tuples(st.binary(max_size=40), whole)), st.data())
def test_frames_are_found_amid_what_others_print_however_they_arrive(
    parts: list[tuple[bytes, tuple[int, int, bytes]]], data: st.DataObject
) -> None:
    stream = b"".join(junk.replace(TOKEN[:1], b"") + encoded(*frame) for junk, frame in parts)
    found: list[tuple[bytes, int, int, bytes]] = []
    reader = FrameReader(lambda *frame: found.append(frame), TOKEN)
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        reader.feed(stream[:size])
        stream = stream[size:]
    wanted = [
        (bytes([kind]), number, len(payload), payload if kind in b"DG" else b"") for _, (kind, number, payload) in parts
    ]
    assert found == wanted


@pytest.mark.parametrize("change", [lambda needs: needs[:1], lambda needs: [*needs, "what is not known yet"]])
def test_a_trionet_that_knows_other_needs_is_understood(change: Callable[[list[Any]], list[Any]]) -> None:
    hello = msgspec.json.decode(msgspec.json.encode(Hello("9.9.9", TOKEN, Needs(has_keys=True))))
    other = msgspec.json.encode(hello | {"needs": change(hello["needs"]), "more": 1})
    assert msgspec.json.decode(other, type=Hello) == Hello("9.9.9", TOKEN, Needs(has_keys=True))


@given(st.binary(max_size=3 * MAX_FRAME_BYTES), st.sampled_from([b"", TOKEN]))
def test_a_frame_is_no_longer_than_a_pipe_takes_at_once_and_all_bytes_arrive(data: bytes, token: bytes) -> None:
    parts = list(frames(b"D", 7, data, token))
    assert all(len(part) <= MAX_FRAME_BYTES <= select.PIPE_BUF for part in parts)
    found = bytearray()
    reader = FrameReader(lambda _kind, _number, _size, part: found.extend(part), token)
    reader.feed(b"".join(parts))
    assert found == data


def test_what_others_print_is_not_kept() -> None:
    reader = FrameReader(lambda *_: None, TOKEN)
    for _ in range(100):
        reader.feed(b"x" * 10_000 + TOKEN[:3])
    assert len(reader._data) < TOKEN_BYTES  # noqa: SLF001


class Helper:
    """A helper without ssh.

    Attributes:
        frames: those that it has sent and nobody has looked at.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.frames: list[tuple[bytes, int, int, bytes]] = []
        self._reader = FrameReader(lambda *frame: self.frames.append(frame), TOKEN)

    def send(self, data: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def receive(self, kind: bytes) -> tuple[int, int, bytes]:
        """Return the next frame of that kind, and drop those before it."""
        assert self.process.stdout is not None
        while True:
            while self.frames:
                letter, number, value, data = self.frames.pop(0)
                if letter == kind:
                    return number, value, data
            received = os.read(self.process.stdout.fileno(), 65_536)
            assert received, "the helper has ended"
            self._reader.feed(received)

    def boot(self, number: int, config: NodeConfig) -> NodeAddress:
        """Start a node."""
        self.send(RECORD.pack(b"F", number, 0))
        for frame in frames(b"D", number, encode_line(Boot(config))):
            self.send(frame)
        report = b""
        while not report.endswith(b"\n"):
            report += self.receive(b"D")[2]
        address = decode_line(report, Report).address
        assert address is not None
        return address


@contextmanager
def open_helper(before: str = "") -> Generator[Helper]:
    """Run a helper; it has greeted."""
    program = f"{before}\nfrom trionet.cli.node import main; main(['--supervised-many'])"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    ) as process:
        try:
            helper = Helper(process)
            helper.send(b"{}\nnull\n" + msgspec.json.encode(Hello(__version__, TOKEN)) + b"\n")
            greeting = msgspec.json.decode(helper.receive(b"G")[2], type=Greeting)
            assert greeting == Greeting(__version__, list(sys.version_info[:2]), "", usable_processors())
            yield helper
        finally:
            process.kill()


MISFIT = NodeConfig(services=SERVICES)


@pytest.mark.slow
def test_a_helper_that_hears_nothing_ends_with_its_nodes(family: Family) -> None:
    quick = "import trionet.launchers.far_frames as frames; frames.SILENCE_S = 1.0"
    with open_helper(quick) as helper:
        helper.boot(1, MISFIT)
        until = time.monotonic() + 2.0
        while time.monotonic() < until:
            helper.send(RECORD.pack(b"B", 0, 0))
            time.sleep(0.2)
        assert helper.process.poll() is None
        assert helper.process.wait(DEADLINE_S) == 0
    assert not family.left()


@pytest.mark.slow
def test_a_node_that_is_killed_is_reported_and_what_it_prints_is_on_standard_error(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with open_helper() as helper:
        helper.boot(3, NodeConfig(on_start=speak_up).portable())
        helper.send(RECORD.pack(b"K", 3, 0))
        assert helper.receive(b"X")[:2] == (3, -signal.SIGKILL)
        printed = capfd.readouterr()
        assert printed.out == ""
        assert "said on standard output" in printed.err
        helper.send(RECORD.pack(b"K", 3, 0) + RECORD.pack(b"C", 3, 0) + RECORD.pack(b"D", 9, 1) + b"x")
        helper.send(RECORD.pack(b"A", 0, 0))
        helper.receive(b"A")


@pytest.mark.slow
def test_nodes_that_nobody_can_be_told_of_are_ended_when_the_spawner_is_gone(family: Family) -> None:
    with open_helper("import trionet.cli.far_forkserver as far; far._MAX_HELD_BYTES = 2000") as helper:
        helper.boot(1, MISFIT)
        asked = 6_000  # they fit into one pipe; the answers do not, and then the helper waits
        for _ in range(asked):
            helper.send(RECORD.pack(b"A", 0, 0))
        assert helper.process.stdout is not None
        helper.process.stdout.close()
        assert helper.process.wait(DEADLINE_S) == 0
    assert not family.left()


@pytest.mark.slow
def test_a_helper_waits_for_a_spawner_that_reads_late_and_loses_nothing() -> None:
    with open_helper("import trionet.cli.far_forkserver as far; far._MAX_HELD_BYTES = 2000") as helper:
        asked = 6_000
        for _ in range(asked):
            helper.send(RECORD.pack(b"A", 0, 0))
        for _ in range(asked):
            helper.receive(b"A")
