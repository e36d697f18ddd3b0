"""Bearer tokens for people and their programs: made from the cluster's key, checked without a database.

A token is ``trionet-token-v1.`` and base64url of ``key id 4 | scope 1 | issued 8 | expires 8 | cluster | HMAC 32``;
numbers are big-endian, times are seconds since 1970. The HMAC, by the token key, covers all before it and the prefix.

Invariants: a token is valid for one cluster, under a key that is not retired, from its issue to its expiry. Each token
has one text. The work for a wrong one is bounded: at most one HMAC of 150 bytes. The comparison takes constant time.

Source: RFC 6750 (bearer tokens); RFC 2104 (HMAC).
"""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import math
import struct
from typing import TYPE_CHECKING, Final

from trionet.errors import ConfigError
from trionet.identity import check_cluster

from .base64url import from_text, to_text
from .keys import DerivedKeys
from .refusals import FORBIDDEN, RequestRefused, unproven
from .token_scope import Scope

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

__all__ = [
    "CLOCKS_DIFFER_S",
    "DEFAULT_LIFETIME_S",
    "MAX_LIFETIME_S",
    "MAX_TOKEN_CHARS",
    "TOKEN_PREFIX",
    "Token",
    "TokenVerifier",
    "bearer_token",
    "issue_token",
]

TOKEN_PREFIX: Final = "trionet-token-v1."  # noqa: S105  the beginning of each token
MAX_TOKEN_CHARS: Final = 256
DEFAULT_LIFETIME_S: Final = 24 * 3600
MAX_LIFETIME_S: Final = 365 * 24 * 3600
CLOCKS_DIFFER_S: Final = 60
"""How far in the future a token may have been issued: clocks of machines differ."""

_HEAD: Final = struct.Struct(">4sBQQ")
_MAC_BYTES: Final = 32
_MAX_TIME_S: Final = 2**53


@dataclasses.dataclass(frozen=True, slots=True)
class Token:
    """What a valid token says.

    Attributes:
        id: 8 hex digits that identify it in a log, and from which it can't be made.
        key_id: the id of the key that it was made with.
        cluster: the name of its cluster.
        scope: what its holder may do.
        issued_s: when it was made, in seconds since 1970.
        expires_s: from when on it is invalid.
    """

    id: str
    key_id: bytes
    cluster: str
    scope: Scope
    issued_s: int
    expires_s: int

    def check(self, needed: Scope) -> None:
        """Raise `RequestRefused` unless its scope is this one, or a greater one."""
        if self.scope < needed:
            raise RequestRefused(
                f"this needs a token with the scope {needed.name.lower()}",
                reason=f"token {self.id} has the scope {self.scope.name.lower()}, not {needed.name.lower()}",
                status=FORBIDDEN,
            )


def issue_token(keys: DerivedKeys, scope: Scope, now_s: float, lifetime_s: float = DEFAULT_LIFETIME_S) -> str:
    """Return a new token.

    Args:
        keys: those of the key that seals, for the cluster.
        scope: what its holder may do.
        now_s: the time, in seconds since 1970.
        lifetime_s: how long it is valid: 1 second to a year.

    Raises:
        ConfigError: one of the arguments is of another type or range.
    """
    if not isinstance(keys, DerivedKeys):
        raise ConfigError(f"a token is made with DerivedKeys, not with a {type(keys).__name__}")
    if not isinstance(scope, Scope):
        raise ConfigError("a scope is Scope.READ, Scope.CALL or Scope.ADMIN")
    if not _is_number(lifetime_s) or not 1 <= lifetime_s <= MAX_LIFETIME_S:
        raise ConfigError(f"a token is valid for 1 to {MAX_LIFETIME_S} seconds (a year)")
    if not _is_number(now_s) or not 0 <= now_s < _MAX_TIME_S:
        raise ConfigError("the time is in seconds since 1970")
    issued_s = int(now_s)
    head = _HEAD.pack(keys.key_id, scope, issued_s, issued_s + int(lifetime_s))
    payload = head + keys.cluster.encode()
    return TOKEN_PREFIX + to_text(payload + _mac(keys, payload))


def bearer_token(values: Sequence[str]) -> str:
    """Return the token in the values of the header ``Authorization``.

    Raises:
        RequestRefused: there is none.
    """
    if not values:
        raise unproven("no token")
    if len(values) > 1:
        raise unproven("several Authorization headers")
    scheme, _, token = values[0].partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise unproven("the Authorization header has no bearer token")
    return token.lstrip(" ")  # RFC 9110, 11.4: one or more spaces


class TokenVerifier:
    """Checks tokens of one cluster.

    Args:
        cluster: its name.
        keys: the derived keys of all keys that open, by key id.
        retired: the ids of retired keys, whose tokens are refused even while the key still opens.
    """

    def __init__(self, cluster: str, keys: Mapping[bytes, DerivedKeys], retired: Collection[bytes] = ()) -> None:
        self._cluster = check_cluster(cluster)
        self._keys = dict(keys)
        self._retired = frozenset(retired)
        for derived in self._keys.values():
            if not isinstance(derived, DerivedKeys) or derived.cluster != cluster:
                raise ConfigError(f"the keys of tokens are DerivedKeys of the cluster {cluster}")

    def verify(self, text: str, now_s: float, needed: Scope) -> Token:
        """Return what a token says.

        Args:
            text: the token, as it was received.
            now_s: the time, in seconds since 1970.
            needed: the scope that the request needs.

        Raises:
            RequestRefused: the token is not valid, or its scope is too small.
        """
        token = self._authentic(text)
        if token.issued_s > now_s + CLOCKS_DIFFER_S:
            raise unproven(f"token {token.id} is from the future: do the clocks differ?")
        if not now_s < token.expires_s:  # also if `now_s` is not a number
            raise unproven(f"token {token.id} has expired {now_s - token.expires_s:.0f} s ago")
        token.check(needed)
        return token

    def _authentic(self, text: object) -> Token:
        """Return what a token says that was made with one of the keys."""
        payload, mac = _parts(text)
        key_id, scope, issued_s, expires_s = _HEAD.unpack_from(payload)
        keys = self._keys.get(key_id)
        if key_id in self._retired:
            raise unproven(f"the key {key_id.hex()} of the token is retired: make a new token")
        if keys is None:
            raise unproven(f"the key {key_id.hex()} of the token is unknown here")
        if not hmac.compare_digest(mac, _mac(keys, payload)):
            is_own = payload[_HEAD.size :] == self._cluster.encode()
            raise unproven("the token is forged or damaged" if is_own else "the token is of another cluster")
        lifetime_s = expires_s - issued_s
        if payload[_HEAD.size :] != self._cluster.encode() or not 1 <= lifetime_s <= MAX_LIFETIME_S:
            raise unproven("the token was made by another version of trionet")
        if scope not in set(Scope):
            raise unproven("the token has a scope of another version of trionet")
        digest = hashlib.sha256(payload + mac).hexdigest()[:8]
        return Token(digest, key_id, self._cluster, Scope(scope), issued_s, expires_s)


def _parts(text: object) -> tuple[bytes, bytes]:
    """Return the payload of a token, and its HMAC."""
    if not isinstance(text, str) or len(text) > MAX_TOKEN_CHARS:
        raise unproven("the token is no text, or too long")
    data = from_text(text.removeprefix(TOKEN_PREFIX)) if text.startswith(TOKEN_PREFIX) else None
    if data is None or len(data) <= _HEAD.size + _MAC_BYTES:
        raise unproven("the token is malformed")
    return data[:-_MAC_BYTES], data[-_MAC_BYTES:]


def _mac(keys: DerivedKeys, payload: bytes) -> bytes:
    return hmac.digest(keys.token_key, TOKEN_PREFIX.encode() + payload, "sha256")


def _is_number(value: object) -> bool:
    return type(value) is int or (type(value) is float and math.isfinite(value))
