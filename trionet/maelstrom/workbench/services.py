"""The services that nodes can use: ``lin-kv``, ``seq-kv``, ``lww-kv`` and ``lin-tso``, with their quirks.

Invariants: a request takes effect at one moment, on arrival. An unknown type gets no reply. Keys and values are any
JSON, and equal only if their JSON is: 1 is neither "1" nor 1.0.

Source: Maelstrom, ``doc/services.md`` for their guarantees, ``src/maelstrom/service.clj`` for their behaviour.
"""

from __future__ import annotations

import bisect
from typing import TYPE_CHECKING, Any, Final

import msgspec

from .json_values import identity, json_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from .messages import NetworkMessage
    from .network import Network

__all__ = ["SERVICES", "LinearizableKV", "LwwKV", "SequentialKV", "TimestampOracle", "add_services"]

SERVICES: Final = frozenset(("lin-kv", "seq-kv", "lww-kv", "lin-tso"))

_KEPT_STATES: Final = 32
_REPLICAS: Final = 2
_NOTHING: Final = object()

_Body = dict[str, Any]


def _missing() -> _Body:
    return {"type": "error", "code": 20, "text": "key does not exist"}


def _other(value: Any, wanted: Any) -> _Body:
    return {"type": "error", "code": 22, "text": f"current value {json_of(value)} is not {json_of(wanted)}"}


def _respond(body: _Body, current: Any, *, can_create: bool = True) -> tuple[Any, _Body] | None:
    """Return the new value of a key, and the reply; `_NOTHING` stands for no value. None: the type is unknown."""
    match body.get("type"):
        case "read":
            return current, _missing() if current is _NOTHING else {"type": "read_ok", "value": current}
        case "write":
            return body.get("value"), {"type": "write_ok"}
        case "cas" if current is _NOTHING:
            create = body.get("create_if_not_exists")
            if can_create and create is not None and create is not False:
                return body.get("to"), {"type": "cas_ok"}
            return current, _missing()
        case "cas":
            if identity(current) == identity(body.get("from")):
                return body.get("to"), {"type": "cas_ok"}
            return current, _other(current, body.get("from"))
    return None


def _is_same(one: Any, other: Any) -> bool:
    if one is _NOTHING or other is _NOTHING:
        return one is other
    return bool(identity(one) == identity(other))


class LinearizableKV:
    """A store in which each request takes effect at one moment, for all.

    Args:
        can_create: whether a compare-and-set may create a key.
    """

    def __init__(self, *, can_create: bool = True) -> None:
        self._values: dict[Any, Any] = {}
        self._can_create = can_create

    def handle(self, _src: str, body: _Body) -> _Body | None:
        """Handle a request; return the reply's body."""
        key = identity(body.get("key"))
        done = _respond(body, self._values.get(key, _NOTHING), can_create=self._can_create)
        if done is None:
            return None
        if done[0] is not _NOTHING:
            self._values[key] = done[0]
        return done[1]


class SequentialKV:
    """A store in which a request may see an old state, but none older than the last one of its sender.

    It keeps 32 states; a sender that is further behind sees one that is as far behind modulo 32, which may be older
    than its last one.

    Args:
        random: chooses the states.
    """

    def __init__(self, random: Random) -> None:
        self._random = random
        self._last = 0
        self._seen: dict[str, int] = {}
        self._values: dict[Any, tuple[list[int], list[Any]]] = {}  # by key: states of change, and values

    def handle(self, src: str, body: _Body) -> _Body | None:
        """Handle a request of `src`; return the reply's body."""
        key = identity(body.get("key"))
        seen = self._seen.get(src, 0)
        index = seen + self._random.randrange(self._last - seen + 1)
        current = self._value_at(key, self._last - (self._last - index) % _KEPT_STATES)
        done = _respond(body, current)
        if done is None:
            return None
        if _is_same(done[0], current):
            self._seen[src] = index
            return done[1]
        done = _respond(body, self._value_at(key, self._last))
        assert done is not None
        self._last += 1
        self._seen[src] = self._last
        if done[0] is not _NOTHING:
            self._put(key, done[0])
        return done[1]

    def _value_at(self, key: Any, index: int) -> Any:
        since, values = self._values.get(key, ((), ()))
        position = bisect.bisect_right(since, index)
        return values[position - 1] if position else _NOTHING

    def _put(self, key: Any, value: Any) -> None:
        since, values = self._values.setdefault(key, ([], []))
        since.append(self._last)
        values.append(value)
        forgotten = bisect.bisect_right(since, self._last - _KEPT_STATES) - 1
        if forgotten > 0:
            del since[:forgotten], values[:forgotten]


class LwwKV:
    """A store of two replicas that never converge; a request uses either.

    This is as in Maelstrom, which merges two replicas at each request, and discards the result.

    Args:
        random: chooses the replicas.
    """

    def __init__(self, random: Random) -> None:
        self._random = random
        self._replicas = [LinearizableKV(can_create=False) for _ in range(_REPLICAS)]

    def handle(self, src: str, body: _Body) -> _Body | None:
        """Handle a request; return the reply's body."""
        return self._replicas[self._random.randrange(_REPLICAS)].handle(src, body)


class TimestampOracle:
    """Returns the timestamps 0, 1, 2 and so on."""

    def __init__(self) -> None:
        self._next = 0

    def handle(self, _src: str, body: _Body) -> _Body | None:
        """Handle a request; return the reply's body."""
        if body.get("type") != "ts":
            return None
        self._next += 1
        return {"type": "ts_ok", "ts": self._next - 1}


def add_services(network: Network, random: Random, warn: Callable[[str], None]) -> None:
    """Put all services on the network.

    Args:
        network: the network.
        random: their source of randomness.
        warn: called with a text about each request without a reply.
    """
    services = {
        "lin-kv": LinearizableKV(),
        "seq-kv": SequentialKV(random),
        "lww-kv": LwwKV(random),
        "lin-tso": TimestampOracle(),
    }
    for name, service in services.items():
        network.add(name, _server(network, name, service, warn))


def _server(network: Network, name: str, service: Any, warn: Callable[[str], None]) -> Callable[[NetworkMessage], None]:
    def deliver(message: NetworkMessage) -> None:
        body = msgspec.json.decode(message.body)
        reply = service.handle(message.src, body)
        if reply is None:
            warn(f"{name} does not answer {message.src}: it knows no requests of type {body.get('type')!r:.80}")
        elif message.src in network:
            network.send(name, message.src, {**reply, "in_reply_to": body.get("msg_id")})

    return deliver
