"""The proofs of addresses, and the bytes that may be sent to unproven ones.

A packet only claims its sender: anyone can write another node's name into one, and the answer goes there. Invariant: an
unproven address is sent at most `FACTOR` times the bytes that came in its name. An address proves itself by returning a
token that only it can have received, or the peer of a link that claims the address: that one has made a connection
under its own. At rest all addresses are proven, and packets carry nothing extra.

A token is a keyed hash of the address, so addresses that never answer need no memory. A challenge rides along with any
packet to an unproven address, and its echo with any packet back. A separate packet is sent only after a refusal
without proof.

Source: RFC 9000 (QUIC), sections 8.1 (3 times, before an address is validated) and 8.1.2 (tokens).
"""

from __future__ import annotations

import math
from hashlib import blake2b
from typing import Annotated, Final

import msgspec

from .effects import ProtocolMessage
from .reach import Reach
from .recent import remember

__all__ = ["FACTOR", "PROOF_S", "Challenge", "Echo", "Proofs"]

FACTOR: Final = 3
"""How many bytes may go to an unproven address for each byte from it (RFC 9000, section 8)."""

PROOF_S: Final = 600.0
"""How long a proof holds: an address may pass to another machine."""

_MOST_PROVEN: Final = 1 << 17
_MOST_UNPROVEN: Final = 4096
_TOKEN_BYTES: Final = 8
_HIGH_BIT: Final = 1 << 63
_Token = Annotated[int, msgspec.Meta(ge=0)]


class Challenge(ProtocolMessage, frozen=True, gc=False, tag="?"):
    """Asks the receiver to return a token, which proves its address.

    Attributes:
        token: for the receiver alone.
        is_refused: whether an answer was refused without a proof: then the receiver sends the echo at once, and
            repeats its request.
    """

    token: _Token
    is_refused: bool = False


class Echo(ProtocolMessage, frozen=True, gc=False, tag="!"):
    """Returns the token of the receiver's challenge."""

    token: _Token


class Proofs:
    """The proofs of one node.

    Attributes:
        owed: tokens to return, by name; over the bound the oldest are dropped.
        reach: the unproven senders that this node can't connect to.
    """

    __slots__ = ("_credit", "_proven", "_secret", "owed", "reach")

    def __init__(self, secret: bytes) -> None:
        """Make tokens with `secret`: up to 64 bytes that no other node can know."""
        self._secret = secret
        self._proven: dict[str, float] = {}
        self._credit: dict[str, int] = {}
        self.owed: dict[str, int] = {}
        self.reach: Reach = Reach()

    def is_proven(self, name: str, now: float) -> bool:
        """Return whether `name` is proven."""
        return self._proven.get(name, -math.inf) > now

    def token(self, name: str) -> int:
        """Return the token that proves `name`; always the same length on the wire."""
        digest = blake2b(name.encode(errors="replace"), digest_size=_TOKEN_BYTES, key=self._secret).digest()
        return int.from_bytes(digest, "big") | _HIGH_BIT

    def accept_echo(self, name: str, token: int, now: float) -> bool:
        """Return whether a returned token proves `name`; if so, `name` is proven from now on."""
        if token != self.token(name):
            return False
        self._credit.pop(name, None)
        self.reach.forget(name)
        remember(self._proven, name, now + PROOF_S, _MOST_PROVEN)
        return True

    def note_challenge(self, name: str, token: int) -> None:
        """Owe `name` a token."""
        remember(self.owed, name, token, _MOST_UNPROVEN)

    def add_credit(self, name: str, size: int) -> int:
        """Credit an unproven `name` for a packet of `size` bytes; return the bytes that may be sent to it."""
        credit = self.credit(name) + FACTOR * size
        remember(self._credit, name, credit, _MOST_UNPROVEN)
        return credit

    def credit(self, name: str) -> int:
        """Return how many bytes may be sent to an unproven `name`."""
        return self._credit.get(name, 0)

    def spend(self, name: str, size: int) -> bool:
        """Return whether `size` bytes may be sent to an unproven `name`; if so, they count as sent."""
        credit = self.credit(name)
        if size > credit:
            return False
        self._credit[name] = credit - size
        return True
