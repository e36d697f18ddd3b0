"""What somebody who has recorded traffic can read once the cluster key has leaked: datagrams, and no links."""

from __future__ import annotations

import secrets
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

import pytest
import trio
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from tests.clusters import Counter
from tests.proxies import open_proxy
from tests.security.attacked import CLUSTER, HANDSHAKE_BYTES
from tests.security.keys import node_keys
from tests.security.sealed import split_records
from tests.waiting import wait_until
from trionet import NodeConfig, Remote, open_node
from trionet.protocols.link.channel import SEAL_BYTES
from trionet.protocols.link.frames import PREFACE
from trionet.security.datagram_format import Kind, head_of, opened
from trionet.security.noise import KEY_BYTES, NoiseError, SymmetricState
from trionet.transports.link import handshakes
from trionet.transports.memory import MemoryFabric

if TYPE_CHECKING:
    from random import Random

    from trio.testing import MockClock

    from trionet.transports.memory import Message, Verdict

KEYS: Final = node_keys(cluster=CLUSTER)
MARKER: Final = "what was said on this link"
CLEAR_BYTES: Final = len(PREFACE) + SEAL_BYTES


class Capture:
    """A link as somebody on the way has recorded it: what each side sent."""

    def __init__(self, sent: bytes, answered: bytes) -> None:
        self.prologue = sent[:CLEAR_BYTES] + CLUSTER.encode()
        self.first = sent[CLEAR_BYTES:HANDSHAKE_BYTES]
        self.second = answered[CLEAR_BYTES:HANDSHAKE_BYTES]
        self.records = split_records(sent[HANDSHAKE_BYTES:])
        self.answers = split_records(answered[HANDSHAKE_BYTES:])

    @property
    def public_keys(self) -> tuple[bytes, bytes]:
        """The ephemeral public keys of both sides, which are in the clear."""
        return self.first[:KEY_BYTES], self.second[:KEY_BYTES]

    def opened_with(self, psk: bytes, shared: bytes) -> bytes:
        """Follow the handshake as Noise defines it, with the key and with this outcome of X25519; return the plaintext.

        Raises:
            NoiseError: it does not open.
        """
        state = SymmetricState()
        state.mix_hash(self.prologue)
        state.mix_key_and_hash(psk)
        state.mix_hash(self.first[:KEY_BYTES])
        state.mix_key(self.first[:KEY_BYTES])
        assert state.decrypt_and_hash(self.first[KEY_BYTES:]) == b"", "whoever holds the key gets so far"
        state.mix_hash(self.second[:KEY_BYTES])
        state.mix_key(self.second[:KEY_BYTES])
        state.mix_key(shared)
        state.decrypt_and_hash(self.second[KEY_BYTES:])
        plaintext = b""
        for cipher, records in zip(state.split(), (self.records, self.answers), strict=True):
            for record in records:
                plaintext += cipher.decrypt(record[2:], b"")
        return plaintext


def _exchanged(private: bytes, public: bytes) -> bytes:
    return X25519PrivateKey.from_private_bytes(private).exchange(X25519PublicKey.from_public_bytes(public))


async def test_a_recorded_link_stays_closed_to_whoever_gets_the_key_later(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = list[bytes]()

    def draw(count: int) -> bytes:
        drawn.append(secrets.token_bytes(count))
        return drawn[-1]

    async with open_node(NodeConfig(), keys=KEYS) as one:
        await one.local.routes.put(Counter(), "counter")
        monkeypatch.setattr(handshakes, "secrets", SimpleNamespace(token_bytes=draw))
        async with open_node(NodeConfig(), keys=KEYS) as other, open_proxy(one.address) as proxy:
            remote = Remote(node=proxy.address, service="counter", method="count")
            await other.local.comm.send([MARKER], remote)
            capture = Capture(proxy.sent, proxy.answered)
    psk, (ours, theirs) = KEYS.sealing.link_psk, capture.public_keys
    public = (b"", bytes(KEY_BYTES), ours, theirs, psk, _exchanged(ours, theirs), _exchanged(theirs, ours))
    for guess in (
        *public,
        _exchanged(psk, ours),
        _exchanged(psk, theirs),
        *(secrets.token_bytes(32) for _ in range(99)),
    ):
        with pytest.raises(NoiseError):
            capture.opened_with(psk, guess)
    (private,) = drawn  # which the node has forgotten with the link
    assert MARKER.encode() in capture.opened_with(psk, _exchanged(private, theirs))
    with pytest.raises(NoiseError):
        capture.opened_with(node_keys(2, CLUSTER).sealing.link_psk, _exchanged(private, theirs))


async def _recorded(config: dict[str, Any]) -> list[Message]:
    """Return the datagrams of two members that meet."""
    fabric, recorded = MemoryFabric(), list[Any]()

    def record(message: Message, _: Random) -> Verdict:
        if message.kind == "datagram":
            recorded.append(message)
        return 0.001

    fabric.add_rules(record)
    async with (
        open_node(NodeConfig(join=[], tags={"secret": MARKER}, **config), fabric=fabric, keys=KEYS) as one,
        open_node(NodeConfig(join=[str(one.address)], **config), fabric=fabric, keys=KEYS) as other,
    ):
        await wait_until(lambda: len(one.all.members()) == len(other.all.members()) == 2)
        await one.local.membership.set_tags({"secret": f"{MARKER} again"})
        await trio.sleep(10)
    return recorded


async def test_recorded_datagrams_can_be_read_with_the_key(autojump_clock: MockClock) -> None:
    keys, plaintext = KEYS.datagram_keys(), b""
    recorded = await _recorded({})
    assert not any(MARKER.encode() in message.data for message in recorded)
    for message in recorded:
        head = head_of(message.data)
        assert head is not None
        if head.kind is Kind.PACKET:
            cipher = keys.subkey(head.key_id, head.boot_id, 0)
            to = str(message.target).encode()
            plaintext += opened(cipher, head, message.data, cluster=CLUSTER.encode(), to=to) or b""
    assert f"{MARKER} again".encode() in plaintext


async def test_without_datagrams_there_is_nothing_that_the_key_opens(autojump_clock: MockClock) -> None:
    assert await _recorded({"datagrams": False}) == []
