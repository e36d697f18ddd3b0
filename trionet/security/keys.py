"""The key of a cluster, its text, and the keys that are derived from it.

A key is 32 random bytes. Its text is one line, ``trionet-key-v1:`` and 48 characters: base64url of the key and of a
checksum. Scanners for secrets find it by the pattern ``trionet-key-v1:[A-Za-z0-9_-]{48}``.

Invariants: no text of an error, no representation, and no variable of a frame in a traceback of this module shows key
material. Each purpose and each cluster has a derived key of its own, from which neither the key nor any other derived
key can be computed. The key id is that of the key alone, whatever the cluster is named: operators compare it.

Source: HKDF, RFC 5869, with SHA-256; the key is its input, and the purpose and the cluster's name are its info.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Final, Self

from trionet.errors import ConfigError
from trionet.identity import check_cluster
from trionet.key_texts import KEY_PREFIX, holds_key_text

from .base64url import from_text, to_text
from .holds_secrets import ImmutableSecrets

__all__ = ["KEY_BYTES", "KEY_ID_BYTES", "ClusterKey", "DerivedKeys", "derive"]

KEY_BYTES: Final = 32
KEY_ID_BYTES: Final = 4
_CHECKSUM_BYTES: Final = 4
_TEXT_CHARS: Final = 48  # 36 bytes: no bit of the last character is unused
_LEAST_DISTINCT: Final = 16
"""Of 32 random bytes at least so many differ from each other, but for one case in 10^15."""

_MAKE_ONE: Final = "make one with: trionet keys new FILE"


class ClusterKey(ImmutableSecrets):
    """The key of a cluster: whoever holds it is a member.

    Attributes:
        id: 4 bytes that name the key, and can be shown to anyone.
    """

    __slots__ = ("_secret", "id")

    _secret: bytes
    id: bytes

    def __new__(cls, secret: bytes) -> Self:
        """Return the key of 32 random bytes.

        Raises:
            ConfigError: these are not 32 bytes, or not random ones: a text, or too few different ones.
        """
        fault = _fault_of(secret)
        if fault is not None:
            del secret
            raise ConfigError(fault)
        return cls._holding({"_secret": secret, "id": _hkdf(secret, b"key_id", KEY_ID_BYTES)})

    @classmethod
    def parse(cls, text: str) -> ClusterKey:
        """Return the key with this text.

        Raises:
            ConfigError: there is none. The error does not quote the text.
        """
        found = _parsed(text)
        del text
        if isinstance(found, str):
            raise ConfigError(found)
        return found

    @property
    def name(self) -> str:
        """The key id for people: 8 hex digits."""
        return self.id.hex()

    def reveal(self) -> str:
        """Return the text of the key: for a key file, for the private pipe to a child process, or for a sealed link."""
        return KEY_PREFIX + to_text(self._secret + _checksum(self._secret))

    def __repr__(self) -> str:
        return f"<ClusterKey {self.name}>"

    def __eq__(self, other: object) -> bool:
        """Compare in constant time."""
        if not isinstance(other, ClusterKey):
            return NotImplemented
        return hmac.compare_digest(self._secret, other._secret)

    def __hash__(self) -> int:
        return hash(self.id)


class DerivedKeys(ImmutableSecrets):
    """The keys of one cluster that are derived from one cluster key, 32 bytes each.

    Attributes:
        cluster: the cluster's name.
        key_id: the id of the cluster key.
        link_psk: the pre-shared key of the handshake of links.
        datagram_key: the key from which those of datagrams are derived.
        token_key: the key of bearer tokens.
        http_key: the key of signatures between nodes over HTTP.
        code_key: the key of stamps of code.
    """

    __slots__ = ("cluster", "code_key", "datagram_key", "http_key", "key_id", "link_psk", "token_key")

    cluster: str
    key_id: bytes
    link_psk: bytes
    datagram_key: bytes
    token_key: bytes
    http_key: bytes
    code_key: bytes

    def __new__(cls, key: ClusterKey, cluster: str) -> Self:
        """Derive the keys; see `derive`."""
        if not isinstance(key, ClusterKey):
            raise ConfigError(f"keys are derived from a ClusterKey, not from a {type(key).__name__}")
        name = check_cluster(cluster).encode()
        secret = key._secret  # noqa: SLF001  the key's own module
        of = {
            purpose: _hkdf(secret, f"{purpose} of ".encode() + name, KEY_BYTES)
            for purpose in ("link_psk", "datagram_key", "token_key", "http_key", "code_key")
        }
        return cls._holding({"cluster": cluster, "key_id": key.id, **of})

    def __repr__(self) -> str:
        return f"<DerivedKeys {self.key_id.hex()} of {self.cluster!r}>"


def derive(key: ClusterKey, cluster: str) -> DerivedKeys:
    """Return the keys for the cluster of this name.

    Raises:
        ConfigError: `cluster` is no name, or `key` no key.
    """
    return DerivedKeys(key, cluster)


def _parsed(text: object) -> ClusterKey | str:
    """Return the key with this text, or what is wrong with it."""
    if not isinstance(text, str):
        return f"a key is a text, not a {type(text).__name__}"
    if not text.startswith(KEY_PREFIX):
        if KEY_PREFIX not in text and holds_key_text(text):
            return f"this key is of another version than {KEY_PREFIX.removesuffix(':')}: update trionet, or {_MAKE_ONE}"
        return (
            f"a key begins with {KEY_PREFIX} and nothing before it; passphrases are refused, because they can be "
            f"guessed: {_MAKE_ONE}"
        )
    rest = text.removeprefix(KEY_PREFIX)
    if any(char.isspace() or not char.isprintable() for char in rest):
        return "a key is one line without spaces, line ends and other invisible characters: remove these"
    if len(rest) != _TEXT_CHARS:
        return f"a key has {_TEXT_CHARS} characters after {KEY_PREFIX}, not {len(rest)}: copy it whole, or {_MAKE_ONE}"
    data = from_text(rest)
    if data is None:
        return f"a key consists of letters, digits, '-' and '_' after {KEY_PREFIX}: copy it again, or {_MAKE_ONE}"
    secret, checksum = data[:KEY_BYTES], data[KEY_BYTES:]
    if not hmac.compare_digest(checksum, _checksum(secret)):
        return f"a character of the key is wrong (its checksum differs): copy it again, or {_MAKE_ONE}"
    return _fault_of(secret) or ClusterKey(secret)


def _fault_of(secret: object) -> str | None:
    """Return why these can't be a key: they are not 32 random bytes, or keys can't be used here; None if they can."""
    if type(secret) is not bytes:
        return f"a key is made of bytes, not of a {type(secret).__name__}"
    if len(secret) != KEY_BYTES:
        return f"a key has {KEY_BYTES} random bytes, not {len(secret)}: {_MAKE_ONE}"
    is_text = all(byte in _TEXT_BYTES for byte in secret)
    if is_text or len(set(secret)) < _LEAST_DISTINCT:
        kind = "a text" if is_text else "nearly one byte repeated"
        return f"this key is {kind}, which can be guessed: a key is random; {_MAKE_ONE}"
    try:
        import cryptography  # noqa: F401  whether it is there
    except ImportError:
        return "keys need the package cryptography, an extra of trionet: pip install 'trionet[secure]'"
    return None


_TEXT_BYTES: Final = frozenset(b"\t\n\r" + bytes(range(0x20, 0x7F)))


def _checksum(secret: bytes) -> bytes:
    return hashlib.sha256(KEY_PREFIX.encode() + secret).digest()[:_CHECKSUM_BYTES]


def _hkdf(secret: bytes, purpose: bytes, length: int) -> bytes:
    """Return the HKDF output for a purpose."""
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return HKDF(algorithm=SHA256(), length=length, salt=None, info=b"trionet v1: " + purpose).derive(secret)
