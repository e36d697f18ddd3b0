"""A process that floods a node with forged and replayed datagrams, as somebody does who holds no key.

``python -m tests.security.flooding`` reads its `Orders` as JSON from its standard input, and sends them at a steady
rate. It has seen the traffic of the cluster: it knows names, key ids and boot ids, and repeats what it has recorded.
"""

from __future__ import annotations

import random
import secrets
import socket
import sys
import time
from typing import TYPE_CHECKING, Final

import msgspec

from trionet.protocols.gossip_messages import ID_BYTES, Rumor
from trionet.protocols.packets import VERSION
from trionet.protocols.statements import MOST_INCARNATION, State, Statement
from trionet.security.datagram_format import Kind, encoded_head, head_of

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Orders", "forged_packets", "lie"]

_BURST_S: Final = 0.01
_POOL: Final = 10_000


class Orders(msgspec.Struct):
    """What to send.

    Attributes:
        target: the address of the node.
        member: the name of a member of its cluster.
        key_id: that of the cluster's key.
        recorded: authentic datagrams to the node.
        count: how many to send.
        per_second: how many in a second; 0: as many as possible.
        seed: of the random numbers.
    """

    target: tuple[str, int]
    member: str
    key_id: bytes
    recorded: list[bytes]
    count: int
    per_second: int
    seed: int


def lie(rng: random.Random, member: str, *, invented: str = "") -> bytes:
    """Return a packet with a false statement: that a member is dead, that there is another one, or a rumor."""
    name = invented or f"127.0.0.1:{rng.randrange(1, 65536)}"
    kind = 1 if invented else rng.randrange(3)
    if kind == 0:
        message: object = Statement(member, MOST_INCARNATION, State.DEAD, rng.getrandbits(64))
    elif kind == 1:
        message = Statement(name, 1, State.ALIVE, rng.getrandbits(64), {"invented": "yes"})
    else:
        message = Rumor("all", rng.randbytes(ID_BYTES), member, 0, 0, rng.randbytes(60))
    return msgspec.msgpack.encode([VERSION, member, [message]])


def forged_packets(orders: Orders) -> Iterator[bytes]:
    """Yield datagrams of all kinds without an end."""
    rng = random.Random(orders.seed)
    heads = [head for data in orders.recorded if (head := head_of(data)) is not None]
    while True:
        head, packet = rng.choice(heads), lie(rng, orders.member)
        tail = rng.randbytes(len(packet) + 16)  # the cipher text of another key is as good as random
        yield packet
        yield encoded_head(rng.choice(list(Kind)), orders.key_id, rng.getrandbits(64), rng.getrandbits(32)) + tail
        yield encoded_head(Kind.PACKET, orders.key_id, head.boot_id, head.counter + rng.randrange(1, 1 << 20)) + tail
        yield encoded_head(Kind.PACKET, secrets.token_bytes(4), head.boot_id, head.counter) + tail
        yield rng.choice(orders.recorded)
        yield rng.randbytes(rng.randrange(1400))


def main() -> None:
    """Send all, and write how long it took, in seconds."""
    orders = msgspec.json.decode(sys.stdin.buffer.read(), type=Orders)
    packets = forged_packets(orders)
    pool = [next(packets) for _ in range(min(_POOL, orders.count))]
    begun, sent = time.monotonic(), 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(orders.target)
        while sent < orders.count:
            due = orders.count
            if orders.per_second:
                due = min(due, int((time.monotonic() - begun + _BURST_S) * orders.per_second))
            for number in range(sent, due):
                try:
                    sock.send(pool[number % len(pool)])
                except OSError:  # the node has answered, or its buffer is full
                    time.sleep(0)
            sent = due
            time.sleep(_BURST_S)
    sys.stdout.write(str(time.monotonic() - begun))


if __name__ == "__main__":
    main()
