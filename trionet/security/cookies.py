"""The cookies of challenges: whoever returns one has received it a moment ago.

A cookie is a keyed hash of what it is for and of the time in steps of `STEP_S`, so outstanding ones need no memory.

Invariant: a cookie is accepted for at least `STEP_S` seconds and at most twice as long, for the boot id and the source
address for which it was made.

Source: RFC 6347 (DTLS 1.2), section 4.2.1 (stateless cookies).
"""

from __future__ import annotations

from hashlib import blake2b
from hmac import compare_digest
from typing import Final

from .holds_secrets import HoldsSecrets

__all__ = ["COOKIE_BYTES", "STEP_S", "Cookies"]

COOKIE_BYTES: Final = 8
STEP_S: Final = 5.0


class Cookies(HoldsSecrets):
    """The cookies of one node."""

    __slots__ = ("_secret",)

    def __init__(self, secret: bytes) -> None:
        """Make cookies with `secret`: up to 64 random bytes of this start of the node, which no other node knows."""
        self._secret = secret

    def cookie(self, boot_id: int, source: str, now: float) -> bytes:
        """Return the cookie for a boot id at a source address."""
        return self._made(boot_id, source, int(now // STEP_S))

    def is_valid(self, cookie: bytes, boot_id: int, source: str, now: float) -> bool:
        """Return whether `cookie` was made for `boot_id` at `source` a moment ago. Takes constant time."""
        step = int(now // STEP_S)
        found = [compare_digest(cookie, self._made(boot_id, source, one)) for one in (step, step - 1)]
        return any(found)

    def _made(self, boot_id: int, source: str, step: int) -> bytes:
        content = b"%d %d %b" % (step, boot_id, source.encode(errors="surrogatepass"))
        return blake2b(content, digest_size=COOKIE_BYTES, key=self._secret).digest()
