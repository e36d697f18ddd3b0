"""A client of the nodes: one request at a time, with a time limit, and a reply of the prescribed form.

Source: Maelstrom, ``src/maelstrom/client.clj``: replies are matched by ``in_reply_to`` alone, all others discarded;
their keys are exactly those prescribed. Null counts as an empty list, with a warning: Go programs encode a list that
was never appended to as null.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Final

import msgspec
import trio

from .errors import MalformedReply, RpcError, RpcTimeout
from .json_values import json_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .messages import NetworkMessage
    from .network import Network

    Shape = Mapping[str, Callable[[Any], bool]]

__all__ = [
    "TIMEOUT_S",
    "Client",
    "Clients",
    "is_anything",
    "is_integer",
    "is_list",
    "is_offsets",
    "is_polled",
]

TIMEOUT_S: Final = 5.0
"""The time limit of a request, unless its workload has another."""


def is_anything(_value: Any) -> bool:
    """Accept any JSON."""
    return True


def is_integer(value: Any) -> bool:
    """Accept whole numbers: neither 1.0 nor true."""
    return type(value) is int


def is_list(value: Any) -> bool:
    """Accept lists of anything, and null."""
    return value is None or type(value) is list


def is_offsets(value: Any) -> bool:
    """Accept objects whose values are whole numbers."""
    return type(value) is dict and all(type(offset) is int for offset in value.values())


def is_polled(value: Any) -> bool:
    """Accept objects whose values are lists of pairs of an offset and a message, or null."""
    return type(value) is dict and all(
        is_list(pairs) and all(type(pair) is list and len(pair) == 2 and type(pair[0]) is int for pair in pairs or ())  # noqa: PLR2004
        for pairs in value.values()
    )


class Client:
    """A client on the network, which sends requests to nodes.

    Args:
        name: its name, such as ``"c7"``.
        network: the network of the nodes.
        warn: called with a text when a reply is accepted in spite of its form.

    Attributes:
        name: its name.
        flaw: the fault of the last reply that had another form or did not match its request, in words; None if there
            was none. The reader resets it.
    """

    def __init__(self, name: str, network: Network, warn: Callable[[str], None] = lambda text: None) -> None:
        self.name = name
        self.flaw: str | None = None
        self._warn = warn
        self._network = network
        self._numbers = itertools.count(1)
        self._wanted: int | None = None
        self._reply: dict[str, Any] | None = None
        self._arrived = trio.lowlevel.ParkingLot()
        network.add(name, self._deliver)

    def close(self) -> None:
        """Leave the network: late replies are undeliverable."""
        self._network.remove(self.name)

    async def call(
        self, node: str, body: dict[str, Any], shape: Shape | None, timeout_s: float = TIMEOUT_S
    ) -> dict[str, Any]:
        """Send a request; return the reply's body.

        Args:
            node: the receiver.
            body: the request, without ``msg_id``.
            shape: the keys of the reply besides ``type`` and ``in_reply_to``, each with a function that accepts its
                value. None accepts all keys; the type must match.
            timeout_s: the time limit.

        Raises:
            RpcTimeout: no reply arrives in time.
            RpcError: the reply is an error.
            MalformedReply: the reply has another form.
        """
        reply = await self._ask(node, body, timeout_s)
        if reply.get("type") == "error":
            if not is_integer(reply.get("code")):
                self._blame(node, body, reply, "'code' is no integer")
            raise RpcError(reply)
        wrong = _what_is_wrong(reply, f"{body['type']}_ok", shape)
        if wrong:
            raise MalformedReply(self._blame(node, body, reply, wrong))
        return reply if shape is None else self._without_nulls(node, reply, shape)

    def _blame(self, node: str, body: dict[str, Any], reply: dict[str, Any], wrong: str) -> str:
        self.flaw = f"{node} answers {body['type']} with {json_of(reply):.300}: {wrong}"
        return self.flaw

    def _without_nulls(self, node: str, reply: dict[str, Any], shape: Shape) -> dict[str, Any]:
        """Return a reply with a list for each null in place of one; the shape has accepted it."""
        for key, value in reply.items():
            if shape.get(key, is_anything) is is_anything:
                continue
            inner = value.items() if type(value) is dict else ()
            if value is None:
                reply[key] = []
            elif any(each is None for _, each in inner):
                reply[key] = {which: [] if each is None else each for which, each in inner}
            else:
                continue
            self._warn(f"{node} replies {reply['type']} with null for a list in {key!r}: it counts as an empty one")
        return reply

    async def _ask(self, node: str, body: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        self._wanted, self._reply = next(self._numbers), None
        self._network.send(self.name, node, {**body, "msg_id": self._wanted})
        with trio.move_on_after(timeout_s):
            while self._reply is None:
                await self._arrived.park()
        self._wanted = None
        if self._reply is None:
            raise RpcTimeout(f"no reply within {timeout_s:g} s")
        return self._reply

    def _deliver(self, message: NetworkMessage) -> None:
        body = msgspec.json.decode(message.body)
        number = body.get("in_reply_to")
        if self._wanted is None or number != self._wanted:
            return
        if not is_integer(number):  # 1.0 and true are equal to 1 only here
            self.flaw = f"{message.src} replies with {number!r} in 'in_reply_to', which is no integer"
            return
        self._wanted, self._reply = None, body
        self._arrived.unpark()


def _what_is_wrong(reply: dict[str, Any], kind: str, shape: Shape | None) -> str:
    if reply.get("type") != kind:
        return f"its type should be {kind!r}"
    if shape is None:
        return ""
    for key, accepts in shape.items():
        if key not in reply:
            return f"{key!r} is missing"
        if not accepts(reply[key]):
            return f"{key!r} has a wrong value"
    for key in reply:
        if key not in shape and key not in {"type", "in_reply_to", "msg_id"}:
            return f"{key!r} is not allowed: a reply has exactly the keys that the workload prescribes"
    if "msg_id" in reply and not is_integer(reply["msg_id"]):
        return "'msg_id' is no integer"
    return ""


class Clients:
    """Opens clients, with the names c0, c1 and so on, each once."""

    def __init__(self, network: Network, warn: Callable[[str], None] = lambda text: None) -> None:
        self._network = network
        self._warn = warn
        self._count = itertools.count()

    def open(self) -> Client:
        """Return a new client."""
        return Client(f"c{next(self._count)}", self._network, self._warn)
