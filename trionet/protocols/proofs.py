"""Which addresses have shown that they are there, and how much may go to those that have not.

A packet only claims who sent it: whoever writes another node's name into one has the answer sent there. Invariant: to
an address without a proof go at most `FACTOR` times the bytes that came in its name. An address proves itself by
sending back a token, which only it can have received. At rest all are proven, and nothing is added to any packet.

A token is a keyed hash of the address, so that no memory is needed for those that never answer. A challenge rides along
with whatever goes to an unproven address, and its echo with whatever goes back; a packet of its own takes only what was
refused for want of a proof.

Source: RFC 9000 (QUIC), sections 8.1 (3 times, before an address is validated) and 8.1.2 (tokens).
"""

from __future__ import annotations

import math
from hashlib import blake2b
from typing import Annotated, Final

import msgspec

from .effects import ProtocolMessage

__all__ = ["FACTOR", "PROOF_S", "Challenge", "Echo", "Proofs"]

FACTOR: Final = 3
"""RFC 9000, section 8: what may go to an address that isn't validated, as a multiple of what came from it."""

PROOF_S: Final = 600.0
"""For how long a proof holds: an address may come to belong to another machine."""

_MOST_PROVEN: Final = 1 << 17
_MOST_UNPROVEN: Final = 4096
_TOKEN_BYTES: Final = 8
_HIGH_BIT: Final = 1 << 63
_Token = Annotated[int, msgspec.Meta(ge=0)]


class Challenge(ProtocolMessage, frozen=True, gc=False, tag="?"):
    """Send me this token, so that I know that you are where you say.

    Attributes:
        token: for the receiver alone.
        is_refused: whether an answer was left out for want of it: then the echo goes at once, and the question again.
    """

    token: _Token
    is_refused: bool = False


class Echo(ProtocolMessage, frozen=True, gc=False, tag="!"):
    """The token of the receiver's challenge."""

    token: _Token


class Proofs:
    """The proofs of one node.

    Attributes:
        owed: tokens that others want back, by name; the oldest go when there are too many.
    """

    __slots__ = ("_credit", "_proven", "_secret", "owed")

    def __init__(self, secret: bytes) -> None:
        """`secret`: up to 64 bytes that nobody else can know."""
        self._secret = secret
        self._proven: dict[str, float] = {}
        self._credit: dict[str, int] = {}
        self.owed: dict[str, int] = {}

    def is_proven(self, name: str, now: float) -> bool:
        """Return whether `name` has shown, not long ago, that it is there."""
        return self._proven.get(name, -math.inf) > now

    def token(self, name: str) -> int:
        """Return the token that proves `name`; always the same length on the wire."""
        digest = blake2b(name.encode(errors="replace"), digest_size=_TOKEN_BYTES, key=self._secret).digest()
        return int.from_bytes(digest, "big") | _HIGH_BIT

    def take_echo(self, name: str, token: int, now: float) -> bool:
        """Take what came back in the name of `name`; return whether it proves it."""
        if token != self.token(name):
            return False
        self._credit.pop(name, None)
        self._proven.pop(name, None)
        self._proven[name] = now + PROOF_S
        if len(self._proven) > _MOST_PROVEN:
            del self._proven[next(iter(self._proven))]
        return True

    def take_challenge(self, name: str, token: int) -> None:
        """Take that `name` wants a token back."""
        self.owed.pop(name, None)
        self.owed[name] = token
        if len(self.owed) > _MOST_UNPROVEN:
            del self.owed[next(iter(self.owed))]

    def came(self, name: str, size: int) -> int:
        """Take that a packet of `size` bytes came in the name of `name`, unproven; return what may go there."""
        credit = self._credit.pop(name, 0) + FACTOR * size
        self._credit[name] = credit
        if len(self._credit) > _MOST_UNPROVEN:
            del self._credit[next(iter(self._credit))]
        return credit

    def credit(self, name: str) -> int:
        """Return how many bytes may go to `name`, unproven."""
        return self._credit.get(name, 0)

    def spend(self, name: str, size: int) -> bool:
        """Return whether `size` bytes may go to `name`, unproven; they count as sent then."""
        credit = self._credit.get(name, 0)
        if size > credit:
            return False
        self._credit[name] = credit - size
        return True
