"""The call in a rumor, as bytes: a rumor's payload.

Invariant: what one node writes, each node of any version reads; fields are added at the end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import structs

from trionet.codec import MESSAGEPACK
from trionet.errors import DecodeError
from trionet.message import Call
from trionet.principal import Principal
from trionet.trace_headers import valid_trace

from .protocol_driver import address_of

if TYPE_CHECKING:
    from trionet.access import Access
    from trionet.codec import Codec
    from trionet.message import Remote
    from trionet.protocols.gossip_messages import Delivered

__all__ = ["call_in", "method_in", "payload_of", "purpose_of"]


class _Payload(msgspec.Struct, array_like=True):
    gid: str
    service: str
    method: str
    args: msgspec.Raw
    kwargs: msgspec.Raw


class _Traced(_Payload, array_like=True):
    """A payload with the principal for whom it is forwarded, and the trace context of its sender; each may be empty."""

    principal: str = ""
    trace: bytes = b""


_decoder = msgspec.msgpack.Decoder(_Traced)
_encoder = msgspec.msgpack.Encoder()
_UNKNOWN: Final = ("", "")


def payload_of(
    remote: Remote, args: list[Any], kwargs: dict[str, Any], principal: Principal | None, trace: bytes
) -> bytes:
    """Return the payload of a rumor that calls `remote`.

    Args:
        remote: the method.
        args: the positional arguments.
        kwargs: those by name.
        principal: for whom it is forwarded; None for the sender itself.
        trace: the trace context of its sender; empty outside of a trace.

    Raises:
        EncodeError: an argument can't travel.
    """
    raw = (msgspec.Raw(MESSAGEPACK.encode(part)) for part in (args, kwargs))
    own = _Payload(remote.gid, remote.service, remote.method, *raw)
    if principal is not None or trace:
        own = _Traced(**structs.asdict(own), principal="" if principal is None else str(principal), trace=trace)
    return _encoder.encode(own)


def method_in(payload: bytes) -> tuple[str, str]:
    """Return the names of the service and the method that a payload calls; empty ones if it calls none."""
    try:
        found = _decoder.decode(payload)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return _UNKNOWN
    return found.service, found.method


def purpose_of(call: Call | Remote) -> str:
    """Return what the code in a rumor is for."""
    return f"gossip {call.service}/{call.method}"


def call_in(rumor: Delivered, codec: Codec, access: Access | None) -> Call:
    """Return the call in a rumor.

    Raises:
        DecodeError: there is none.
    """
    try:
        payload = _decoder.decode(rumor.payload)
    except (msgspec.MsgspecError, ValueError, RecursionError) as exc:
        raise DecodeError(f"not a call: {exc}") from exc
    args, kwargs = codec.decode(bytes(payload.args)), codec.decode(bytes(payload.kwargs))
    if not isinstance(args, list) or not isinstance(kwargs, dict):
        raise DecodeError("not a call: its arguments are no list and mapping")
    caller = address_of(rumor.origin)
    call = Call(
        payload.gid,
        payload.service,
        payload.method,
        args,
        kwargs,
        rumor.id.hex(),
        caller,
        trace=valid_trace(payload.trace),
    )
    if access is None or not access.is_believing:
        return call
    origin = Principal.node(caller)
    if not payload.principal:
        return msgspec.structs.replace(call, principal=origin)
    return msgspec.structs.replace(call, principal=Principal.parse(payload.principal), forwarder=origin)
