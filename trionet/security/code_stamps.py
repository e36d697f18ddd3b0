"""Code that travels by value, and the stamp that proves who made it.

A stamp is made with a secret that only the nodes of one cluster, or of one run, hold. So it proves that the code comes
from one of them, whatever way it came: a link, HTTP, or a rumor that others have passed on.

Invariants: nothing here reads the code. A stamp is good for one cluster, one purpose and a minute, and at each receiver
once. No representation shows the secret.

Source: HMAC-SHA256, RFC 2104; the nonces are those of signed requests, see `nonces`.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Final, Self

import msgspec

from trionet.registered import register_type

from .holds_secrets import ImmutableSecrets
from .nonces import nonce_of

__all__ = ["CodeKey", "SentCode"]

_DOMAIN: Final = b"trionet code v1"
_LENGTH_BYTES: Final = 8


@register_type(name="trionet:SentCode")
class SentCode(msgspec.Struct, frozen=True):
    """Code as it travels.

    Attributes:
        pickle: the code, pickled. It must not be read before the stamp has been verified.
        what: what it is, for a person.
        key_id: the id of the cluster's key that has stamped it; empty for the secret of a run.
        nonce: its time and random bytes.
        stamp: the proof.
    """

    pickle: bytes
    what: str
    key_id: bytes
    nonce: bytes
    stamp: bytes

    def __repr__(self) -> str:
        return f"<code of {self.what!s:.100}>"

    def is_well_formed(self) -> bool:
        """Whether its fields have their types: it may come from anyone."""
        parts = (self.pickle, self.key_id, self.nonce, self.stamp)
        return all(type(part) is bytes for part in parts) and type(self.what) is str


class CodeKey(ImmutableSecrets):
    """The secret with which code is stamped.

    Attributes:
        key_id: the id of the cluster's key that it is derived from; empty for the secret of a run.
        cluster: the name of the cluster.
    """

    __slots__ = ("_secret", "cluster", "key_id")

    _secret: bytes
    cluster: str
    key_id: bytes

    def __new__(cls, secret: bytes, cluster: str, key_id: bytes = b"") -> Self:
        """Return the key with this secret of 32 bytes."""
        return cls._holding({"_secret": secret, "cluster": cluster, "key_id": key_id})

    def __repr__(self) -> str:
        return f"<CodeKey {self.key_id.hex() or 'of a run'}>"

    def stamp(self, pickle: bytes, what: str, purpose: str, now_us: int, random: bytes) -> SentCode:
        """Return code that may travel.

        Args:
            pickle: the code, pickled.
            what: what it is, for a person.
            purpose: the method that it is for, ``"service/method"``: it is of no use for another one.
            now_us: the time, in microseconds since 1970.
            random: 16 random bytes.
        """
        nonce = nonce_of(now_us, random)
        return SentCode(pickle, what, self.key_id, nonce, self._proof(pickle, what, purpose, nonce))

    def has_stamped(self, code: SentCode, purpose: str) -> bool:
        """Return whether a holder of this key has stamped `code` for this purpose. Takes constant time."""
        proof = self._proof(code.pickle, code.what, purpose, code.nonce)
        return hmac.compare_digest(proof, code.stamp)

    def _proof(self, pickle: bytes, what: str, purpose: str, nonce: bytes) -> bytes:
        parts = (_DOMAIN, self.cluster.encode(), self.key_id, purpose.encode(), _encoded(what), nonce, pickle)
        mac = hmac.new(self._secret, digestmod=hashlib.sha256)
        for part in parts:
            mac.update(len(part).to_bytes(_LENGTH_BYTES, "big") + part)
        return mac.digest()


def _encoded(text: str) -> bytes:
    return text.encode(errors="surrogatepass")
