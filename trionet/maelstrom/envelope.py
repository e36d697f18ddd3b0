"""Maelstrom's messages: one JSON object per line, ``{"src", "dest", "body"}``.

Invariant: for any bytes, `decode` returns a message or raises `BadLine`, which has the sender if that is readable, so
that the node can reply. Source: Maelstrom, ``doc/protocol.md``, "Messages".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from trionet.bounds import MAX_CONTAINERS, json_holds_more
from trionet.errors import EncodeError, MalformedRequest

__all__ = ["BadLine", "Envelope", "decode", "encode", "reply_body"]

_SHOWN_BYTES: Final = 120


class Envelope:
    """One message as a handler receives it.

    Attributes:
        src: the sender: a node such as ``"n1"``, a client such as ``"c3"``, a service such as ``"lin-kv"``.
        dest: the receiver: this node.
        body: the content; ``body["type"]`` is its type.
        is_answered: whether it has a reply.
    """

    __slots__ = ("body", "dest", "is_answered", "src")

    def __init__(self, src: str, dest: str, body: dict[str, Any]) -> None:
        self.src: str = src
        self.dest: str = dest
        self.body: dict[str, Any] = body
        self.is_answered: bool = False

    @property
    def type(self) -> str:
        """The type of the message, ``body["type"]``."""
        kind: str = self.body["type"]
        return kind

    @property
    def msg_id(self) -> int | None:
        """The sender's number of the message, to which a reply refers; None if no reply is expected."""
        return self.body.get("msg_id")

    def __getitem__(self, key: str) -> Any:
        """Return ``body[key]``; raise `MalformedRequest`, which becomes the reply, if there is none."""
        try:
            return self.body[key]
        except KeyError:
            raise MalformedRequest(f"a message of type {self.type!r} needs {key!r}") from None

    def __repr__(self) -> str:
        return f"<Envelope {self.src} -> {self.dest} {self.body!r:.200}>"


class BadLine(Exception):
    """A line is no message.

    Attributes:
        reason: why it is none.
        src, msg_id: the sender and its number of the message; None if they are unreadable.
    """

    def __init__(self, reason: str, line: bytes, src: str | None = None, msg_id: int | None = None) -> None:
        shown = line[:_SHOWN_BYTES].decode("utf-8", "replace") + ("…" if len(line) > _SHOWN_BYTES else "")
        super().__init__(f"{reason}: {shown}")
        self.reason = reason
        self.src = src
        self.msg_id = msg_id


class _Line(msgspec.Struct):
    src: str
    dest: str
    body: dict[str, Any]


_decode = msgspec.json.Decoder(_Line).decode
_encode = msgspec.json.Encoder().encode


def decode(line: bytes) -> Envelope:
    """Return the message of a line.

    Raises:
        BadLine: the line has no JSON, another envelope, a body without a type, or too many containers.
    """
    if len(line) > MAX_CONTAINERS and json_holds_more(line, MAX_CONTAINERS):
        raise BadLine(f"more than {MAX_CONTAINERS:,} lists and objects", line)
    try:
        envelope = _decode(line)
    except msgspec.ValidationError as exc:
        raise _bad_line(str(exc), line) from exc
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise BadLine(f"no JSON ({exc})", line) from exc
    except RecursionError as exc:
        raise BadLine("nested too deeply", line) from exc
    body = envelope.body
    if type(body.get("type")) is not str:
        raise _bad_line("the body has no type", line)
    for key in ("msg_id", "in_reply_to"):
        if key in body and type(body[key]) is not int:
            raise _bad_line(f"{key} is no integer", line)
    return Envelope(envelope.src, envelope.dest, body)


def _bad_line(reason: str, line: bytes) -> BadLine:
    """Return the error with the sender and the number, as far as they are readable."""
    try:
        whole = msgspec.json.decode(line)
    except (ValueError, msgspec.DecodeError, RecursionError):
        return BadLine(reason, line)
    src = msg_id = None
    if isinstance(whole, dict):
        body = whole.get("body")
        src = whole["src"] if isinstance(whole.get("src"), str) else None
        msg_id = body["msg_id"] if isinstance(body, dict) and type(body.get("msg_id")) is int else None
    return BadLine(reason, line, src, msg_id)


def encode(src: str, dest: str, body: dict[str, Any]) -> bytes:
    r"""Return a message as a line, with the ``\n`` at its end.

    Raises:
        EncodeError: the body has a value that JSON does not have.
    """
    try:
        return _encode({"src": src, "dest": dest, "body": body}) + b"\n"
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as exc:
        raise EncodeError(f"the body of a message to {dest} can't be JSON: {exc}", path="$.body") from exc


def reply_body(message: Envelope, body: object) -> dict[str, Any]:
    """Return the body of the reply to `message`, with the keys of `body`: a mapping, or None for no keys.

    Raises:
        EncodeError: `body` is neither, a key of it is no text, or its ``type`` is no text.
    """
    if not isinstance(body, Mapping | None):
        hint = "; is an await missing?" if hasattr(type(body), "__await__") else ""
        raise EncodeError(f"a reply's body is a mapping or None, not a {type(body).__name__}{hint}", path="$.body")
    whole: dict[str, Any] = {"type": f"{message.type}_ok", **(body or {})}
    if type(whole["type"]) is not str or not all(isinstance(key, str) for key in whole):
        raise EncodeError("the keys of a reply's body and its type are texts", path="$.body")
    if message.msg_id is not None:
        whole["in_reply_to"] = message.msg_id
    return whole
