"""Opens the datagrams that one node receives, and proves that their senders are alive.

A datagram of a boot id that is not proven is answered with a challenge: a cookie, and the counter of the datagram. Its
sender returns the cookie in an echo, with the age of the datagram; then the datagram is delivered, unless it is older
than this opener, and later ones as they come. A challenge that names a recent counter proves the challenger, too, so
one question and its answer prove both sides with two datagrams. A link proves by its authenticated hello.

Invariants:

- Only authenticated input changes state, and what is kept of a life is kept only once it is proven, one packet for a
  second excepted. So replays of authentic datagrams can't fill or displace what is kept of others.
- No packet is delivered twice, nor one that was sent before this opener was made: a replay of what went to an earlier
  life of this node.
- An answer goes to the address from which the datagram came, and is not longer than it. Nothing answers an echo, and no
  challenge answers a challenge or an echo.

Source: RFC 6479 (replay window); RFC 6347, section 4.2.1 (cookies); RFC 9000, section 8.1 (no amplification).
"""

from __future__ import annotations

import enum
import math
import struct
from typing import TYPE_CHECKING, Final

import msgspec

from .cookies import COOKIE_BYTES, Cookies
from .datagram_format import BLOCK_BITS, OVERHEAD_BYTES, Kind, head_of, opened
from .held import HeldPackets
from .holds_secrets import HoldsSecrets
from .lives import Life, Lives

if TYPE_CHECKING:
    from collections.abc import Callable

    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    from .datagram_format import Head
    from .datagram_keys import DatagramKeys
    from .held import Held
    from .sealed_datagrams import DatagramSealer

__all__ = ["CHALLENGE_BYTES", "DatagramOpener", "Opened", "Refusal", "RefusalCounts"]

_BODY: Final = struct.Struct(f">{COOKIE_BYTES}sI")
_LOW: Final = (1 << 32) - 1
_MS_PER_S: Final = 1000
CHALLENGE_BYTES: Final = OVERHEAD_BYTES + _BODY.size
"""The size of a challenge, and of an echo. A shorter datagram is not challenged; no packet is so short.

A challenge names the lowest 32 bits of a counter, one of the last 2^32; an echo, an age in milliseconds, rounded up.
"""


class Refusal(enum.Enum):
    """Why a datagram was not delivered.

    Attributes:
        MALFORMED: it has no head of this version, or its content is none.
        UNKNOWN_KEY: no key here has its key id.
        FORGED: it is not authentic, or for another receiver or cluster.
        UNASKED: a challenge or an echo that does not open: it is forged, or for an earlier life at this address.
        REPLAYED: its counter was received before or is too old, or it answers nothing that is recent.
        UNPROVEN: its sender is not proven to be alive; it is challenged.
    """

    MALFORMED = "malformed"
    UNKNOWN_KEY = "unknown_key"
    FORGED = "forged"
    UNASKED = "unasked"
    REPLAYED = "replayed"
    UNPROVEN = "unproven"


class RefusalCounts(msgspec.Struct):
    """Counts of refused datagrams, by `Refusal`; a packet that is held and delivered later counts as unproven, too."""

    malformed: int = 0
    unknown_key: int = 0
    forged: int = 0
    unasked: int = 0
    replayed: int = 0
    unproven: int = 0


class Opened(msgspec.Struct, frozen=True, gc=False):
    """The outcome of a received datagram.

    Attributes:
        plaintext: a packet to handle; None if there is none. Its sender is authenticated as a member of the cluster.
        answer: a datagram to send to the address from which this one came; None if there is none.
        refused: why the datagram is not delivered; None if it is, or is a proof.
    """

    plaintext: bytes | None = None
    answer: bytes | None = None
    refused: Refusal | None = None


_NOTHING: Final = Opened()


class DatagramOpener(HoldsSecrets):
    """Opens what one node receives. One thread uses it.

    Attributes:
        refused: counts of refused datagrams.
    """

    __slots__ = ("_cookies", "_held", "_lives", "_sealer", "_sender_of", "_since", "refused")

    def __init__(
        self, sealer: DatagramSealer, cookies: Cookies, sender_of: Callable[[bytes], str | None], now: float
    ) -> None:
        """Open what is sealed for the node of `sealer`, with its keys.

        Args:
            sealer: seals the answers.
            cookies: makes the cookies.
            sender_of: returns the canonical name that a packet gives its sender; None for a malformed packet.
            now: the time in seconds, on the clock of all later calls: nothing that was sent earlier is delivered.
        """
        self.refused: RefusalCounts = RefusalCounts()
        self._sealer = sealer
        self._cookies = cookies
        self._sender_of = sender_of
        self._since = now
        self._lives = Lives()
        self._held = HeldPackets()

    @property
    def lives(self) -> int:
        """The number of lives that are kept."""
        return len(self._lives)

    @property
    def held(self) -> int:
        """The number of packets that wait for the proofs of their senders."""
        return len(self._held)

    @property
    def unanswered(self) -> int:
        """The number of packets that were dropped because their senders did not prove themselves in time."""
        return self._held.dropped

    def pop_unanswered(self, now: float) -> list[str]:
        """Return where such packets came from, since the last time."""
        if not self._held and not self._held.dropped:
            return []
        self._held.expire(now)
        return self._held.pop_sources()

    def open(self, data: bytes, source: str, now: float) -> Opened:
        """Open a datagram. Never raises, whatever it contains.

        Args:
            data: the datagram.
            source: the address from which it came; the answer goes there.
            now: the time in seconds, on a monotonic clock.
        """
        head = head_of(data)
        if head is None:
            return self._refuse(Refusal.MALFORMED)
        if head.key_id not in self._sealer.keys:
            return self._refuse(Refusal.UNKNOWN_KEY)
        if head.boot_id == self._sealer.boot_id:
            return self._refuse(Refusal.FORGED)  # reflected
        life = self._lives.get(head.boot_id)
        if life is not None and not life.window.is_new(head.counter):
            return self._refuse(Refusal.REPLAYED)
        block = head.counter >> BLOCK_BITS
        kept = None if life is None else life.cipher(head.key_id, block)
        cipher = kept or self._sealer.keys.subkey(head.key_id, head.boot_id, block)
        plaintext = opened(cipher, head, data, cluster=self._sealer.cluster, to=self._receiver(head.kind))
        if plaintext is None:
            return self._refuse(Refusal.FORGED if head.kind is Kind.PACKET else Refusal.UNASKED)
        return self._receive(head, plaintext, source, now, life, cipher if kept is None else None, len(data))

    def prove(self, name: str, boot_id: int, counter: int, now: float) -> bytes | None:
        """Take the hello of an authenticated link as the proof of a life.

        Args:
            name: the node's canonical name.
            boot_id: its boot id, as in the hello.
            counter: that of its last datagram before the hello; -1 if there was none.
            now: the time in seconds.

        Returns:
            A packet of that life that was held and was sent after the hello; None if there is none.
        """
        life = self._lives.prove(boot_id, counter, now)
        self._lives.bind(life, name, now)
        held = self._held.release(boot_id, now)
        return held.plaintext if held is not None and life.window.accept(held.counter) else None

    def forget(self, name: str, now: float) -> None:
        """Require a new proof of the node `name`, which is no member any more."""
        self._lives.forget(name, now)

    def use_keys(self, keys: DatagramKeys) -> None:
        """Open, and seal, with other keys from now on; what one opened that is not among them is not kept."""
        self._sealer.use_keys(keys)
        self._lives.drop_ciphers(keys.__contains__)

    def _receiver(self, kind: Kind) -> bytes:
        sealer = self._sealer
        return sealer.name.encode(errors="surrogatepass") if kind is Kind.PACKET else sealer.boot_id.to_bytes(8, "big")

    def _receive(
        self, head: Head, plaintext: bytes, source: str, now: float, life: Life | None, fresh: AESGCM | None, size: int
    ) -> Opened:
        """Handle an authentic datagram; `fresh` is its cipher unless its life keeps it."""
        if head.kind is not Kind.PACKET:
            return self._receive_proof(head, plaintext, source, now, life)
        if life is None or not life.is_proven:
            return self._challenge(head, plaintext, source, now, size)
        if fresh is not None:
            life.keep_cipher(head.key_id, head.counter >> BLOCK_BITS, fresh)
        life.window.accept(head.counter)
        return self._deliver(life, plaintext, now)

    def _deliver(self, life: Life, plaintext: bytes, now: float) -> Opened:
        if life.name is None:
            name = self._sender_of(plaintext)
            if name is None:
                return self._refuse(Refusal.MALFORMED)
            self._lives.bind(life, name, now)
        return Opened(plaintext)

    def _challenge(self, head: Head, plaintext: bytes, source: str, now: float, size: int) -> Opened:
        """Hold a packet, and ask its sender whether it is alive."""
        answer = None
        if size >= CHALLENGE_BYTES:
            self._held.hold(head.boot_id, head.counter, plaintext, source, now)
            body = _BODY.pack(self._cookies.cookie(head.boot_id, source, now), head.counter & _LOW)
            answer = self._sealer.seal_for_life(Kind.CHALLENGE, head.boot_id, body, now)
        self.refused.unproven += 1
        return Opened(None, answer, Refusal.UNPROVEN)

    def _receive_proof(self, head: Head, body: bytes, source: str, now: float, life: Life | None) -> Opened:
        """Handle a challenge or an echo, for this life of this node."""
        if len(body) != _BODY.size:
            return self._refuse(Refusal.MALFORMED)
        cookie, number = _BODY.unpack(body)
        if head.kind is Kind.CHALLENGE:
            age_s = self._sealer.age_s(_last_with(number, self._sealer.counter), now)
            is_proof = age_s < math.inf
        else:
            age_s = number / _MS_PER_S
            is_proof = self._cookies.is_valid(cookie, head.boot_id, source, now)
        if not is_proof:
            return self._refuse(Refusal.REPLAYED)
        life = self._lives.prove(head.boot_id, head.counter, now)
        life.window.accept(head.counter)
        if head.kind is Kind.CHALLENGE:
            body = _BODY.pack(cookie, math.ceil(age_s * _MS_PER_S))
            return Opened(None, self._sealer.seal_for_life(Kind.ECHO, head.boot_id, body, now))
        held = self._held.release(head.boot_id, now)
        return _NOTHING if held is None else self._deliver_held(life, held, age_s, now)

    def _deliver_held(self, life: Life, held: Held, age_s: float, now: float) -> Opened:
        """Deliver a packet that was held, unless it may be a replay.

        `age_s` is the age of a packet of this life that was sent no later, at a time after this one began to be held.
        """
        if held.since - age_s < self._since:
            return self._refuse(Refusal.REPLAYED)
        if held.counter > life.window.start and not life.window.accept(held.counter):
            return self._refuse(Refusal.REPLAYED)
        return self._deliver(life, held.plaintext, now)

    def _refuse(self, why: Refusal) -> Opened:
        setattr(self.refused, why.value, getattr(self.refused, why.value) + 1)
        return _REFUSED[why]


def _last_with(low: int, counter: int) -> int:
    """Return the greatest number up to `counter` whose lowest 32 bits are `low`; a negative one is no counter."""
    return counter - (counter - low & _LOW)


_REFUSED: Final = {why: Opened(refused=why) for why in Refusal}
