"""The seam for encryption: two cores behind a layer that expands and buffers, and connections cut at every byte."""

from __future__ import annotations

import itertools
from collections import deque
from hashlib import blake2b
from typing import TYPE_CHECKING, Final, TypeAlias

import pytest

from tests.certificates import certificates_in
from tests.protocols.link.cores import encoded, frames_in, hello
from tests.protocols.link.ends import GivenChannel, LinkEnd
from tests.security.sealed import WatchedKey
from trionet.errors import ConnectionLost, DefiniteError, NodeUnreachable
from trionet.protocols.link.channel import BOTH_MODE
from trionet.protocols.link.frames import CHUNK_BYTES, PREFACE, Bye, FrameError, Ping, Reply
from trionet.security.stacked_channel import StackedKey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from trionet.protocols.link.channel import LinkKey

    MakeKey: TypeAlias = Callable[[], LinkKey | None]
    Script: TypeAlias = Callable[["Connection"], None]

_LENGTH_BYTES: Final = 2
_CHECK_BYTES: Final = 16
_OPENING: Final = b"records, please"


class Records:
    """A channel whose records have a length and a checksum: a part of one is no plaintext.

    Its handshake is one message in each direction.

    Attributes:
        read_bytes: of plaintext that have come.
    """

    def __init__(self, record_bytes: int) -> None:
        self.peer = None
        self.is_open = False
        self.read_bytes = 0
        self._record_bytes = record_bytes
        self._due = _OPENING
        self._received = b""
        self._numbers = itertools.count()
        self._expected = itertools.count()
        self._unsent: deque[tuple[int, int]] = deque()
        self._sent_bytes = 0

    @property
    def is_amid_record(self) -> bool:
        return bool(self._received)

    def data_to_send(self) -> bytes:
        due, self._due = self._due, b""
        return due

    def receive(self, data: bytes) -> bytes:
        self._received += data
        if not self.is_open:
            if len(self._received) < len(_OPENING):
                return b""
            if not self._received.startswith(_OPENING):
                raise FrameError("it has another channel")
            self.is_open = True
            self._received = self._received[len(_OPENING) :]
        return b"".join(self._records())

    def _records(self) -> Iterator[bytes]:
        data, start = self._received, 0
        while len(data) - start >= _LENGTH_BYTES:
            stop = start + _LENGTH_BYTES + int.from_bytes(data[start : start + _LENGTH_BYTES], "big")
            if len(data) < stop:
                break
            hidden, check = data[start + _LENGTH_BYTES : stop - _CHECK_BYTES], data[stop - _CHECK_BYTES : stop]
            if check != _checksum(next(self._expected), hidden):
                raise FrameError("a record has another checksum")
            start = stop
            self.read_bytes += len(hidden)
            yield _hidden(hidden)
        self._received = data[start:]

    def send(self, data: bytes) -> bytes:
        assert self.is_open
        sealed = []
        for start in range(0, len(data), self._record_bytes):
            part = data[start : start + self._record_bytes]
            hidden = _hidden(part)
            record = (len(part) + _CHECK_BYTES).to_bytes(_LENGTH_BYTES, "big") + hidden
            sealed.append(record + _checksum(next(self._numbers), hidden))
            self._unsent.append((len(sealed[-1]), len(part)))
        return b"".join(sealed)

    def sent(self, count: int) -> int:
        self._sent_bytes += count
        readable = 0
        while self._unsent and self._sent_bytes >= self._unsent[0][0]:
            size, plain = self._unsent.popleft()
            self._sent_bytes -= size
            readable += plain
        return readable

    def refresh(self, now: float) -> None: ...


_FLIPPED: Final = bytes(255 - byte for byte in range(256))


def _hidden(data: bytes) -> bytes:
    return data.translate(_FLIPPED)


def _checksum(number: int, data: bytes) -> bytes:
    return blake2b(data, digest_size=_CHECK_BYTES, salt=number.to_bytes(8, "big")).digest()


def _records(record_bytes: int) -> LinkKey:
    return GivenChannel(Records(record_bytes))


KEYS: Final[dict[str, MakeKey]] = {
    "no channel": lambda: None,
    "short records": lambda: _records(100),
    "long records": lambda: _records(65_535 - _CHECK_BYTES),
    "sealed records": WatchedKey,
}


class Cut(Exception):
    """The connection is broken."""


class Connection:
    """Two ends, and the connection between them, which breaks when it has accepted so many bytes.

    Of the last write's bytes it loses a share.

    Attributes:
        accepted_bytes: of both directions.
        edges: the values of `accepted_bytes` at which a write began.
    """

    def __init__(self, make_key: MakeKey, cut_at: float = float("inf"), lost: float = 0) -> None:
        self.ends = (LinkEnd(is_initiator=True, key=make_key()), LinkEnd(is_initiator=False, key=make_key()))
        self.accepted_bytes = 0
        self.edges: list[int] = []
        self._cut_at = cut_at
        self._lost = lost

    def settle(self) -> None:
        """Carry bytes until nothing is to be sent, at most one write of each side at a time.

        Raises:
            Cut: the connection is broken.
        """
        is_quiet = False
        while not is_quiet:
            is_quiet = True
            for sender, receiver in (self.ends, self.ends[::-1]):
                if data := sender.data_to_send():
                    is_quiet = False
                    self._carry(sender, receiver, data)

    def _carry(self, sender: LinkEnd, receiver: LinkEnd, data: bytes) -> None:
        self.edges.append(self.accepted_bytes)
        accepted = int(min(len(data), self._cut_at - self.accepted_bytes))
        self.accepted_bytes += accepted
        if accepted == len(data):
            self.deliver(sender, receiver, data)
        else:
            sender.sent(accepted)
            if delivered := data[: round(accepted * (1 - self._lost))]:
                receiver.receive(delivered)
            raise Cut

    def deliver(self, sender: LinkEnd, receiver: LinkEnd, data: bytes) -> None:
        """Accept and deliver a whole write."""
        sender.sent(len(data))
        receiver.receive(data)


class Bytewise(Connection):
    """A connection that carries single bytes; after each, it might break."""

    def deliver(self, sender: LinkEnd, receiver: LinkEnd, data: bytes) -> None:
        for place in range(len(data)):
            sender.sent(1)
            receiver.receive(data[place : place + 1])
            if sender.core is not None:
                sent_bytes = sender.core.outbox.sent_bytes
                for number, call in sender.core.outgoing.in_progress.items():
                    assert not (call.is_unsent(sent_bytes) and number in receiver.arrived)


def _short(connection: Connection) -> None:
    """Short calls in batches in both directions, and short streams."""
    one, other = connection.ends
    for end in (one, other):
        end.on_open = end.call
    connection.settle()
    for end in (one, other):
        end.call()
        end.call(reply_bytes=30, request_bytes=200)
    connection.settle()
    one.stream([10, 20, 30])
    other.call()
    connection.settle()
    one.link.retire("idle")
    other.call()  # it meets the bye
    connection.settle()


def _long(connection: Connection) -> None:
    """A long call, a long answer, a stream of long items; and short ones between them."""
    one, other = connection.ends
    connection.settle()
    one.call(request_bytes=CHUNK_BYTES + 1000)
    one.call()
    connection.settle()
    one.call(reply_bytes=CHUNK_BYTES + 1000)
    other.call(request_bytes=100)
    connection.settle()
    other.stream([10, CHUNK_BYTES + 1000, 10])
    one.call(request_bytes=1000)
    connection.settle()


def _check(connection: Connection) -> None:
    """Check what is promised about the calls of a connection that has broken."""
    for end, peer in (connection.ends, connection.ends[::-1]):
        assert len(end.answered) == len(end.made)
        for number, call in end.made.items():
            assert call in end.answered
            if isinstance(call.answer, DefiniteError):
                assert isinstance(call.answer, NodeUnreachable)
                assert number not in peer.arrived
            if number in peer.arrived:
                assert not isinstance(call.answer, DefiniteError)
        end.check_values()
        assert end.account.partial_bytes + end.account.whole_bytes == 0


def _cut(script: Script, make_key: MakeKey, cut_at: int, lost: float) -> Connection:
    """Run a script on a connection that is cut at a byte."""
    connection = Connection(make_key, cut_at, lost)
    with pytest.raises(Cut):
        script(connection)
    for end in connection.ends:
        end.break_off()
    _check(connection)
    return connection


def _whole(script: Script, make_key: MakeKey) -> Connection:
    """Run a script on a connection that is not cut."""
    connection = Connection(make_key)
    script(connection)
    for end in connection.ends:
        assert end.failure is None
        assert len(end.answered) == len(end.made)
        assert not any(isinstance(call.answer, Exception) for call in end.answered)
        end.check_values()
    return connection


@pytest.mark.slow
@pytest.mark.parametrize("make_key", KEYS.values(), ids=KEYS)
@pytest.mark.parametrize("losses", [1, pytest.param(3, marks=pytest.mark.soak)])
def test_a_call_with_a_definite_error_never_arrived_whichever_byte_the_connection_is_cut_at(
    make_key: MakeKey, losses: int
) -> None:
    total = _whole(_short, make_key).accepted_bytes
    errors = set[type]()
    for cut_at in range(total):
        for lost in [(cut_at + number) % 3 / 2 for number in range(losses)]:
            for end in _cut(_short, make_key, cut_at, lost).ends:
                errors |= {type(call.answer) for call in end.answered if isinstance(call.answer, Exception)}
    assert errors == {NodeUnreachable, ConnectionLost}


@pytest.mark.slow
@pytest.mark.parametrize("make_key", KEYS.values(), ids=KEYS)
def test_so_it_is_with_long_calls_answers_and_items(make_key: MakeKey) -> None:
    whole = _whole(_long, make_key)
    near_edges = {edge + near for edge in whole.edges for near in range(-3, 3)}
    for cut_at in sorted({*range(0, whole.accepted_bytes, 1009), *near_edges} & set(range(whole.accepted_bytes))):
        _cut(_long, make_key, cut_at, cut_at % 3 / 2)


@pytest.mark.slow
@pytest.mark.parametrize("make_key", KEYS.values(), ids=KEYS)
def test_at_each_single_byte_of_a_long_exchange_no_call_that_arrived_counts_as_unsent(
    make_key: MakeKey,
) -> None:
    connection = Bytewise(make_key)
    _long(connection)
    assert [len(end.answered) for end in connection.ends] == [4, 2]


@pytest.mark.slow
@pytest.mark.parametrize("has_key", [False, True], ids=["certificates", "certificates and a key"])
@pytest.mark.parametrize("step", [11, pytest.param(1, marks=pytest.mark.soak)])
def test_so_it_is_with_tls(tmp_path: Path, has_key: bool, step: int) -> None:
    certificates = certificates_in(tmp_path)

    def make_key() -> LinkKey:
        return StackedKey(BOTH_MODE, WatchedKey(), certificates) if has_key else certificates

    _long(Bytewise(make_key))
    whole, errors = _whole(_short, make_key), set[type]()
    handshake_bytes = whole.edges[6 if has_key else 4]
    # The length of a signature varies by some bytes.
    for cut_at in [*range(0, handshake_bytes, 197), *range(handshake_bytes, whole.accepted_bytes - 16, step)]:
        for end in _cut(_short, make_key, cut_at, cut_at % 3 / 2).ends:
            errors |= {type(call.answer) for call in end.answered if isinstance(call.answer, Exception)}
    assert errors == {NodeUnreachable, ConnectionLost}


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("make_key", KEYS.values(), ids=KEYS)
def test_a_long_exchange_is_cut_at_every_byte(make_key: MakeKey) -> None:
    for cut_at in range(_whole(_long, make_key).accepted_bytes):
        _cut(_long, make_key, cut_at, cut_at % 3 / 2)


# ---- progress


@pytest.mark.parametrize("record_bytes", [100, 65_535 - _CHECK_BYTES])
def test_as_sent_count_the_bytes_that_the_peer_can_read(record_bytes: int) -> None:
    channels = list[Records]()

    def make_key() -> LinkKey:
        channels.append(Records(record_bytes))
        return GivenChannel(channels[-1])

    for cut_at in range(_whole(_short, make_key).accepted_bytes):
        one, other = _cut(_short, make_key, cut_at, lost=0).ends
        one_channel, other_channel = channels[-2:]
        if other.core is None:
            continue
        assert other.core.outbox.sent_bytes == one_channel.read_bytes
        if one.core is not None:
            assert one.core.outbox.sent_bytes == other_channel.read_bytes - len(encoded(hello()))


def test_without_a_channel_all_bytes_count() -> None:
    connection = _whole(_short, KEYS["no channel"])
    before = len(PREFACE + encoded(hello()))
    assert sum(end.link.outbox.sent_bytes for end in connection.ends) == connection.accepted_bytes - before


# ---- records that are incomplete or wrong


def _opened(make_key: MakeKey) -> Connection:
    connection = Connection(make_key)
    connection.settle()
    return connection


@pytest.mark.parametrize("size", [1, 10, -1])
def test_the_end_within_a_record_is_a_fault(size: int) -> None:
    connection = _opened(KEYS["short records"])
    one, other = connection.ends
    one.call()
    other.receive(one.data_to_send()[:size])
    other.receive_end()
    assert other.closed is not None
    assert (other.closed.reason, other.closed.is_fault) == (
        "it broke the protocol: it ended in the middle of a frame",
        True,
    )
    assert other.arrived == []


def test_a_record_that_is_not_the_peers_closes_the_link() -> None:
    connection = _opened(KEYS["short records"])
    one, other = connection.ends
    one.call()
    data = bytearray(one.data_to_send())
    data[-1] ^= 1
    other.receive(bytes(data))
    assert other.closed is not None
    assert (other.closed.reason, other.closed.is_fault) == (
        "it broke the protocol: a record has another checksum",
        True,
    )
    assert other.arrived == []


def test_a_part_of_a_record_makes_a_link_at_rest_look_at_its_peer() -> None:
    connection = _opened(KEYS["short records"])
    one, other = connection.ends
    now = 0.0
    while not other.link.liveness.is_resting:
        now += 1
        for end in connection.ends:
            end.advance(now)
        connection.settle()
        assert now < 10
    one.call()
    other.receive(one.data_to_send()[:5], now)
    assert other.link.liveness.deadline <= now + 1
    for _ in range(32):
        now += 1
        other.advance(now)
    assert other.closed is not None
    assert other.closed.reason == "there was no sign of life for 30 s"


# ---- the handshake behind a channel


def test_a_call_that_comes_in_one_piece_with_the_hello_is_read() -> None:
    """The acceptor's plaintext behind the hello is not passed through the channel twice."""
    one, other = _opened_up_to_hello()
    one.on_open = one.call
    other.on_open = lambda: [other.call(), other.call()]
    other.receive(one.data_to_send())
    one.receive(other.data_to_send())
    assert one.arrived == [1, 2]
    other.receive(one.data_to_send())
    assert other.arrived == [1]
    assert [call.answer for call in other.answered] == [Reply(1, b"\x01"), Reply(2, b"\x02")]


def _opened_up_to_hello() -> tuple[LinkEnd, LinkEnd]:
    one = LinkEnd(is_initiator=True, key=_records(65_000))
    other = LinkEnd(is_initiator=False, key=_records(65_000))
    other.receive(one.data_to_send())
    one.receive(other.data_to_send())
    return one, other


def test_a_refusal_behind_a_channel_passes_through_it() -> None:
    channel = Records(100)
    other = LinkEnd(is_initiator=False, key=_records(100))
    clear = PREFACE + _records(100).seal
    other.receive(clear + channel.data_to_send())
    assert not channel.receive(other.data_to_send().removeprefix(clear))
    other.receive(channel.send(encoded(Ping(1))))
    assert other.failure == "its first frame is a Ping, not a hello"
    (bye,) = frames_in(channel.receive(other.data_to_send()))
    assert bye == Bye("its first frame is a Ping, not a hello")


@pytest.mark.parametrize("has_channel", [(True, False), (False, True)], ids=["initiator", "acceptor"])
def test_where_only_one_side_has_a_channel_there_is_no_link(has_channel: tuple[bool, bool]) -> None:
    one, other = (
        LinkEnd(is_initiator=not number, key=_records(100) if has else None) for number, has in enumerate(has_channel)
    )
    for _ in range(3):
        for sender, receiver in ((one, other), (other, one)):
            if (data := sender.data_to_send()) and receiver.failure is None:
                receiver.receive(data)
    assert one.core is None
    assert other.core is None
    assert one.failure or other.failure
