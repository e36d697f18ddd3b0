"""Cores of links without drivers: hellos, handshakes, and what is in the bytes that a core sends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trionet.protocols.link.calls import STREAM_CREDIT_BYTES, OutgoingCall, OutgoingStream
from trionet.protocols.link.core import LinkCore
from trionet.protocols.link.decoding import FrameDecoder
from trionet.protocols.link.frames import CallFrame, Frame, Hello, encode_frame, with_length
from trionet.protocols.link.handshake import Greeted
from trionet.protocols.link.holdings import Account

if TYPE_CHECKING:
    from trionet.protocols.link.holdings import Holding

__all__ = [
    "IDLE_S",
    "KIB",
    "call_frame",
    "encoded",
    "frames_in",
    "greeted",
    "hello",
    "open_core",
    "start_call",
    "start_stream",
]

KIB = 1024
IDLE_S = 75.0


def hello(*, max_calls: int = 2, window_bytes: int = 256 * KIB, max_message_bytes: int = 256 * KIB) -> Hello:
    """Return the hello of a small node."""
    return Hello(None, max_calls, window_bytes, max_message_bytes)


def greeted(*, own: Hello | None = None, peer: Hello | None = None, first: bytes = b"") -> Greeted:
    """Return the outcome of a handshake without a channel."""
    return Greeted(own or hello(), peer or hello(), is_initiator=not first, rest=b"", first=first, channel=None)


def open_core(outcome: Greeted | None = None, holding: Holding | None = None, *, now: float = 0.0) -> LinkCore:
    """Return the core of a link whose handshake has ended."""
    return LinkCore(
        outcome or greeted(),
        holding or Account(64 * 1024 * KIB).open(_ignore),
        name="the peer",
        now=now,
        idle_timeout_s=IDLE_S,
        max_containers=10_000,
    )


def _ignore(_: str) -> None: ...


def encoded(*frames: Frame) -> bytes:
    """Return the bytes of frames, as they are on the wire."""
    return b"".join(with_length(encode_frame(frame)) for frame in frames)


def frames_in(data: bytes) -> list[Frame]:
    """Return the frames that bytes on the wire are, the last one complete."""
    decoder = FrameDecoder()
    frames = [frame for frame, _ in decoder.feed(data)]
    assert not decoder.rest
    return frames


def call_frame(number: int, *args: Any, credit: int | None = None, depth: int = 0) -> CallFrame:
    """Return a call."""
    return CallFrame(number, "local", "probe", "echo", list(args), None, "id", None, credit, depth)


def start_call(core: LinkCore, *args: Any, depth: int = 0) -> OutgoingCall:
    """Make a call."""
    call = OutgoingCall(depth)
    core.wake(core.liveness.heard_at)
    core.outgoing.call(call, call_frame(core.outgoing.next_number, *args, depth=depth))
    return call


def start_stream(core: LinkCore) -> OutgoingStream:
    """Start a stream."""
    stream = OutgoingStream()
    core.outgoing.call(stream, call_frame(core.outgoing.next_number, credit=STREAM_CREDIT_BYTES))
    return stream
