"""Hostile bytes, and peers that don't read, against a node in a process of its own."""

from __future__ import annotations

import random
import subprocess
import sys
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import httpx
import msgspec
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.node_processes import ROOT, clean_environment, wait_ready
from tests.security.attacked import read_to_end
from tests.transports.link.ends import MIB, HandPeer, connect, hello
from tests.waiting import DEADLINE_S, wait_until
from trionet import Node, NodeAddress, NodeConfig, Remote
from trionet.protocols.link.decoding import FrameDecoder
from trionet.protocols.link.frames import (
    MAJOR_VERSION,
    MARK,
    PREFACE,
    Bye,
    CallFrame,
    Cancel,
    Frame,
    Ping,
    Reply,
    encode_frame,
    with_length,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator

    StartNode = Callable[..., Awaitable[Node]]

pytestmark = pytest.mark.slow

PATIENT = NodeConfig(on_start="tests.crowd:expose", connect_timeout_s=DEADLINE_S)
IMPATIENT = NodeConfig(on_start="tests.transports.link.impatience:expose_impatiently", connect_timeout_s=2)


class Logged(NamedTuple):
    """A node process and its log."""

    pid: int
    address: NodeAddress
    log: Path

    def log_since(self, place: int) -> str:
        return self.log.read_bytes()[place:].decode()


def _launch(stack: ExitStack, log: Path, config: NodeConfig) -> Logged:
    command = [sys.executable, "-m", "trionet.cli.node", "--json", "--config", msgspec.json.encode(config).decode()]
    errors = stack.enter_context(log.open("wb"))
    process = stack.enter_context(
        subprocess.Popen(command, cwd=ROOT, env=clean_environment(), stdout=subprocess.PIPE, stderr=errors)
    )
    stack.callback(process.kill)
    ready = wait_ready(process)
    return Logged(ready.pid, ready.address, log)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Generator[Logged]:
    """One node for the tests of this file, which must serve after each of them as before."""
    with ExitStack() as stack:
        yield _launch(stack, tmp_path_factory.mktemp("port") / "log", PATIENT)


@pytest.fixture(scope="module")
def impatient_node(tmp_path_factory: pytest.TempPathFactory) -> Generator[Logged]:
    """Another one, for what is to end by silence."""
    with ExitStack() as stack:
        yield _launch(stack, tmp_path_factory.mktemp("port") / "log", IMPATIENT)


@pytest.fixture
def fresh_node(tmp_path: Path) -> Generator[Logged]:
    """A node of the test's own, whose memory is to be measured."""
    with ExitStack() as stack:
        yield _launch(stack, tmp_path / "log", PATIENT)


@asynccontextmanager
async def _others_are_served(start_node: StartNode, node: Logged) -> AsyncGenerator[None]:
    """A call of another node is in progress while the block lasts, and is ended by its caller after it."""
    other = await start_node()
    hold = Remote(node=node.address, service="tally", method="hold")
    counts = Remote(node=node.address, service="tally", method="counts")
    key, scope = str(other.address), trio.CancelScope()
    ended = False

    async def stay() -> None:
        nonlocal ended
        with scope:
            await other.local.comm.send([key], hold)
        ended = True

    async with trio.open_nursery() as nursery:
        nursery.start_soon(stay)
        with trio.fail_after(DEADLINE_S):
            while not (await other.local.comm.send([key], counts))["running"]:
                pass
        yield
        assert (await other.local.comm.send([key], counts))["running"] == 1
        assert not ended
        scope.cancel()
    assert scope.cancelled_caught


def _call(number: int, method: str, *args: object, credit: int | None = None) -> CallFrame:
    return CallFrame(number, "local", "tally", method, list(args), None, f"hand-{number}", None, credit)


def _framed(*frames: Frame) -> bytes:
    return b"".join(with_length(encode_frame(frame)) for frame in frames)


HELLO = _framed(hello())

# What comes on a new connection, what comes then, and the reason in the log.
AT_FIRST: dict[str, tuple[bytes, str, str]] = {
    "the mark alone, then the end": (MARK, "end", "the connection was closed during the handshake"),
    "the mark alone, then silence": (MARK, "silence", "it took longer than 2 s to send its hello"),
    "half a preface, then the end": (PREFACE[:5], "end", "the connection was closed during the handshake"),
    "half a preface, then silence": (PREFACE[:5], "silence", "it took longer than 2 s to send its hello"),
    "half a hello, then the end": (PREFACE + HELLO[:9], "end", "the connection was closed during the handshake"),
    "half a hello, then silence": (PREFACE + HELLO[:9], "silence", "it took longer than 2 s to send its hello"),
    "another word after the mark": (MARK + b"other", "", "it does not begin as a link does"),
    "a mode that needs a key": (PREFACE + b"garbage", "", "it has a cluster key, and this node has none"),
    "a refusal at first": (PREFACE + b"\xff\xff\xff\xff", "", "it does not begin as a link does"),
    "a frame of 2^24 - 1 bytes": (PREFACE + b"\x00\xff\xff\xff", "", "a frame of 16,777,215 bytes"),
    "a frame that is none": (PREFACE + with_length(b"\xc1" * 10), "", "not a frame"),
    "no hello at first": (PREFACE + _framed(Ping(1)), "", "its first frame is a Ping, not a hello"),
    "another version": (
        PREFACE[:-1] + b"\x07" + HELLO,
        "",
        f"it speaks version 7 of the link, and this node version {MAJOR_VERSION}",
    ),
}


@pytest.mark.parametrize(("data", "then", "reason"), AT_FIRST.values(), ids=AT_FIRST.keys())
async def test_what_does_not_become_a_link_is_closed_alone_with_a_reason_in_the_log(
    start_node: StartNode, request: pytest.FixtureRequest, data: bytes, then: str, reason: str
) -> None:
    node: Logged = request.getfixturevalue("impatient_node" if then == "silence" else "node")
    place = node.log.stat().st_size
    async with (
        _others_are_served(start_node, node),
        await trio.open_tcp_stream(node.address.ip, node.address.port) as stream,
    ):
        await stream.send_all(data)
        if then == "end":
            await stream.send_eof()
        await read_to_end(stream)
        await wait_until(lambda: reason in node.log_since(place))
    (line,) = node.log_since(place).splitlines()
    assert " WARNING trionet.transports.link.transport: a connection that began as a link was closed: " in line


async def test_a_peer_of_another_version_is_told_so(node: Logged) -> None:
    async with await trio.open_tcp_stream(node.address.ip, node.address.port) as stream:
        await stream.send_all(PREFACE[:-1] + b"\x02" + b"whatever comes then")
        got = await read_to_end(stream)
    assert got.startswith(PREFACE)
    ((farewell, _),) = FrameDecoder().feed(got[len(PREFACE) :])
    assert farewell == Bye(f"it speaks version 2 of the link, and this node version {MAJOR_VERSION}")


# The same, once the link is there.
LATER: dict[str, tuple[bytes, str, str]] = {
    "half a length, then the end": (b"\0\0", "end", "it ended in the middle of a frame"),
    "half a frame, then the end": (_framed(Ping(1))[:-1], "end", "it ended in the middle of a frame"),
    "half a frame, then silence": (_framed(Ping(1))[:-1], "silence", "no sign of life for 2 s"),
    "a frame of 2^32 - 1 bytes": (b"\xff\xff\xff\xff", "", "a frame of 4,294,967,295 bytes"),
    "garbage": (b"garbage", "", "a frame of 1,734,439,522 bytes"),
    "zeros": (bytes(1000), "", "not a frame"),
    "http": (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "", "a frame of 1,195,725,856 bytes"),
    "a second preface": (PREFACE, "", f"a frame of {int.from_bytes(PREFACE[:4], 'big'):,} bytes"),
    "a second hello": (HELLO, "", "a second hello"),
}


@pytest.mark.parametrize(("data", "then", "reason"), LATER.values(), ids=LATER.keys())
async def test_a_link_with_hostile_bytes_is_closed_alone_with_a_reason_in_the_log(
    start_node: StartNode, request: pytest.FixtureRequest, data: bytes, then: str, reason: str
) -> None:
    node: Logged = request.getfixturevalue("impatient_node" if then == "silence" else "node")
    place = node.log.stat().st_size
    async with _others_are_served(start_node, node), connect(node.address) as peer:
        await peer.send(_call(1, "hold", f"hostile {data!r} {then}"))
        await peer.send_bytes(data)
        if then == "end":
            await peer.stream.send_eof()
        peer.ponging = False
        await peer.wait_closed()
        await wait_until(lambda: reason in node.log_since(place))
    (line,) = node.log_since(place).splitlines()
    assert " WARNING trionet.transports.link.link: the link with a node without address is closed: " in line


async def test_a_preface_that_is_dribbled_byte_by_byte_begins_a_link(node: Logged) -> None:
    sock = trio.socket.socket()
    await sock.connect((node.address.ip, node.address.port))
    sock.setsockopt(trio.socket.IPPROTO_TCP, trio.socket.TCP_NODELAY, 1)
    async with trio.SocketStream(sock) as stream:
        for byte in PREFACE + HELLO + _framed(_call(1, "make", 3)):
            await stream.send_all(bytes([byte]))
            await wait_all_tasks_blocked()
        peer = HandPeer(stream)
        await peer.take_hello()
        assert await peer.receive_a(Reply) == Reply(1, bytes(3))


async def test_http_is_served_on_the_same_port_at_the_same_time(start_node: StartNode, node: Logged) -> None:
    client = httpx.AsyncClient(base_url=f"http://{node.address}", timeout=DEADLINE_S)
    async with _others_are_served(start_node, node), client:
        assert (await client.get("/healthz")).status_code == 200
        response = await client.put("/local/tally/make", content=b"[3]")
        assert response.json() == {"value": {"$bytes": "AAAA"}}


async def test_many_streams_of_mutated_frames_harm_nobody(start_node: StartNode, node: Logged) -> None:
    rng = random.Random(seed := random.randrange(2**32))
    valid = _framed(hello(), _call(1, "make", 3), Ping(1), Cancel(1), _call(2, "hold", "mutated"), Reply(1, None))

    async def attack() -> None:
        for _ in range(30):
            data = bytearray(PREFACE + valid)
            for _ in range(rng.randint(1, 3)):
                place = rng.randrange(len(data))
                data[place : place + rng.randint(0, 4)] = rng.randbytes(rng.randint(0, 4))
            async with await trio.open_tcp_stream(node.address.ip, node.address.port) as stream:
                with suppress(trio.BrokenResourceError):
                    await stream.send_all(data)
                    if rng.random() < 0.5:
                        await stream.send_eof()
                        await read_to_end(stream)

    async with _others_are_served(start_node, node):
        place = node.log.stat().st_size
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(attack)
        assert "Traceback" not in node.log_since(place), f"with seed {seed}"


# ---- memory


def _resident_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return 1024 * int(next(line for line in status.splitlines() if line.startswith("VmRSS:")).split()[1])


needs_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="there is no /proc here")


@needs_proc
@pytest.mark.parametrize(
    ("frames", "most_bytes"),
    [
        # Short answers: what the outbox holds, and what handlers hold that wait for it.
        pytest.param([_call(number, "make", 1000) for number in range(1, 1001)] * 40, 40 * MIB, id="small answers"),
        pytest.param([_call(n, "make", 60_000) for n in range(1, 1001)], 120 * MIB, id="short answers"),
        # Long ones: four times the window of 32 MiB.
        pytest.param([_call(n, "make", MIB) for n in range(1, 1001)], 200 * MIB, id="long answers"),
        pytest.param([_call(1, "flow", 1000, credit=2**40)], 40 * MIB, id="a stream of small items"),
        pytest.param([_call(1, "flow", MIB, credit=2**40)], 80 * MIB, id="a stream of large items"),
    ],
)
async def test_a_peer_that_does_not_read_cannot_grow_the_nodes_memory(
    start_node: StartNode, fresh_node: Logged, frames: list[Frame], most_bytes: int
) -> None:
    data = _framed(*frames)
    async with (
        _others_are_served(start_node, fresh_node),
        # What it says that it can hold is nothing to count on.
        connect(
            fresh_node.address, hello(window_bytes=2**40, max_message_bytes=2**40), receive_buffer_bytes=65_536
        ) as peer,
    ):
        before, most = _resident_bytes(fresh_node.pid), 0

        async def send() -> None:
            with suppress(trio.BrokenResourceError):
                await peer.stream.send_all(data)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            for _ in range(100):
                most = max(most, _resident_bytes(fresh_node.pid) - before)
                await trio.sleep(0.02)  # it is a time, for want of a condition, in which memory could grow
            nursery.cancel_scope.cancel()
        assert most < most_bytes
