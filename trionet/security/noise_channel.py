"""The sealed channel of a link: Noise below, the link's plaintext above.

The handshake is two messages of 48 bytes. Records follow: a 16-bit big-endian length, and that many bytes of ciphertext
with its tag. A record without plaintext says that the sender's key changes after it (`Rekey()`), so that both sides
change it at the same place of the stream, each direction for itself.

The acceptor has authenticated its peer when the first record opens, not before: the first message may be a replay.
Until then it holds no more than `FIRST_RECORD_BYTES` of a record.

Progress is counted in plaintext. A record counts as sent from its first byte on, although its peer can't read it before
the last one: nothing that the peer might have read ever counts as unsent.

Invariants: what `receive` returns is a prefix of what the peer's `send` was given, in whole records, whatever happens
on the way. After a failure it returns nothing more.
"""

from __future__ import annotations

import struct
from collections import deque
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidTag

from trionet.protocols.link.frames import FrameError

from .holds_secrets import HoldsSecrets
from .noise import MAX_MESSAGE_BYTES, MESSAGE_BYTES, TAG_BYTES, UNOPENED, CipherState, HandshakeState, NoiseError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["FIRST_RECORD_BYTES", "MAX_PLAINTEXT_BYTES", "REKEY_BYTES", "REKEY_S", "NoiseChannel"]

FIRST_RECORD_BYTES: Final = 4096
"""The largest first record that an acceptor takes: the initiator's hello."""

MAX_PLAINTEXT_BYTES: Final = MAX_MESSAGE_BYTES - TAG_BYTES
"""The most plaintext in one record."""

REKEY_BYTES: Final = 2**38
REKEY_S: Final = 3600.0

_VIEW_BYTES: Final = 8192
"""Of longer records a view is cheaper than a copy."""

_LENGTH = struct.Struct(">H")
_LENGTH_BYTES: Final = _LENGTH.size
_OVERHEAD_BYTES: Final = _LENGTH_BYTES + TAG_BYTES
_pack_length: Callable[[int], bytes] = _LENGTH.pack
_unpack_length = _LENGTH.unpack_from


class NoiseChannel(HoldsSecrets):
    """A `Channel` over Noise_NNpsk0.

    Args:
        is_initiator: whether this side made the connection.
        psk, prologue, ephemeral: see `HandshakeState`.
        rekey_bytes, rekey_s: the bytes of plaintext under one key, and its age, from which on a rekey is due.
    """

    __slots__ = (
        "_begun_bytes",
        "_due",
        "_handshake",
        "_is_broken",
        "_is_rekeying",
        "_keyed_at",
        "_max_record_bytes",
        "_max_short_bytes",
        "_received",
        "_receiving",
        "_rekey_bytes",
        "_rekey_s",
        "_sealed_bytes",
        "_sending",
        "_unsent",
    )

    def __init__(
        self,
        *,
        is_initiator: bool,
        psk: bytes,
        prologue: bytes,
        ephemeral: bytes,
        rekey_bytes: int = REKEY_BYTES,
        rekey_s: float = REKEY_S,
    ) -> None:
        self._handshake: HandshakeState | None = HandshakeState(
            is_initiator=is_initiator, psk=psk, prologue=prologue, ephemeral=ephemeral
        )
        self._due = self._handshake.write_message() if is_initiator else b""
        self._sending: CipherState | None = None
        self._receiving: CipherState | None = None
        self._is_broken = False
        self._received = b""
        self._max_record_bytes = MAX_MESSAGE_BYTES if is_initiator else FIRST_RECORD_BYTES
        self._max_short_bytes = 0  # of the records that are received in the shortest way: none before the first one
        self._unsent: deque[int] = deque()  # bytes of plaintext of each record
        self._begun_bytes = 0  # of a record that counts as sent, those to be sent yet
        self._rekey_bytes = rekey_bytes
        self._rekey_s = rekey_s
        self._sealed_bytes = 0
        self._keyed_at: float | None = None
        self._is_rekeying = False

    @property
    def peer(self) -> None:
        """Nobody in particular: all holders of the key are alike."""
        return

    @property
    def is_open(self) -> bool:
        """Whether its handshake has ended and nothing has failed, so that plaintext can be sent."""
        return self._sending is not None and not self._is_broken

    @property
    def is_amid_record(self) -> bool:
        """Whether an incomplete record has been received."""
        return bool(self._received)

    def data_to_send(self) -> bytes:
        """Return the due bytes of its own handshake."""
        due, self._due = self._due, b""
        return due

    # ---- receiving

    def receive(self, data: bytes) -> bytes:
        """Return the plaintext of the records that `data` completes.

        Raises:
            FrameError: a message or record does not open, or has an invalid length; the channel is unusable.
        """
        cipher, size = self._receiving, len(data) - _LENGTH_BYTES
        try:
            if cipher is None:
                return self._receive_handshake(data)
            if self._received:
                data = self._received + data
            elif TAG_BYTES < size <= self._max_short_bytes and _unpack_length(data)[0] == size:  # the common case
                return cipher.unseal(next(cipher.nonces), data[_LENGTH_BYTES:], None)
            return self._open(data, cipher)
        except (NoiseError, InvalidTag) as exc:
            self._receiving, self._is_broken, self._received = None, True, b""
            raise FrameError(UNOPENED if isinstance(exc, InvalidTag) else str(exc)) from None

    def _receive_handshake(self, data: bytes) -> bytes:
        if self._is_broken:
            raise NoiseError("this channel has failed before")
        data = self._received + data
        if len(data) < MESSAGE_BYTES:
            self._received = data
            return b""
        self._receiving = self._read_handshake(data[:MESSAGE_BYTES])
        return self._open(data[MESSAGE_BYTES:], self._receiving)

    def _read_handshake(self, message: bytes) -> CipherState:
        """Handle the peer's message, and end the handshake; return the cipher of what is received."""
        handshake = self._handshake
        assert handshake is not None
        try:
            handshake.read_message(message)
        except NoiseError as exc:
            raise NoiseError(f"its cluster key or its cluster's name is not this node's: {exc}") from None
        if handshake.is_own_turn:
            self._due = handshake.write_message()
        self._sending, receiving = handshake.split()
        self._handshake = None  # forgets the ephemeral key
        return receiving

    def _open(self, data: bytes, cipher: CipherState) -> bytes:
        start, end, most = 0, len(data), self._max_record_bytes
        opened: list[bytes] = []
        while end - start >= _LENGTH_BYTES:
            (size,) = _unpack_length(data, start)
            if size > most or size < TAG_BYTES:
                raise NoiseError(f"a record of {size:,} bytes; {TAG_BYTES} to {most:,} are allowed")
            begin = start + _LENGTH_BYTES
            stop = begin + size
            if stop > end:
                break
            start = stop
            plaintext = cipher.decrypt(data[begin:stop] if size < _VIEW_BYTES else memoryview(data)[begin:stop])
            if not self._max_short_bytes:  # the first record
                self._max_short_bytes = _VIEW_BYTES
                most = self._max_record_bytes = MAX_MESSAGE_BYTES
            if plaintext:
                opened.append(plaintext)
            else:
                cipher.rekey()
        self._received = data[start:]
        return opened[0] if len(opened) == 1 else b"".join(opened)

    # ---- sending

    def send(self, data: bytes) -> bytes:
        """Return the records that carry this plaintext: one, if it is at most `MAX_PLAINTEXT_BYTES`."""
        cipher, size = self._sending, len(data)
        assert cipher is not None
        if size > MAX_PLAINTEXT_BYTES or self._is_rekeying or not size:
            return self._send_records(data, cipher)
        self._sealed_bytes += size
        self._unsent.append(size)
        return _pack_length(size + TAG_BYTES) + cipher.seal(next(cipher.nonces), data, None)

    def _send_records(self, data: bytes, cipher: CipherState) -> bytes:
        records, view = [], memoryview(data)
        if self._is_rekeying:
            self._is_rekeying = False
            records.append(self._record(b"", cipher))
            cipher.rekey()
        records += [
            self._record(view[start : start + MAX_PLAINTEXT_BYTES], cipher)
            for start in range(0, len(data), MAX_PLAINTEXT_BYTES)
        ]
        return b"".join(records)

    def _record(self, plaintext: bytes | memoryview, cipher: CipherState) -> bytes:
        size = len(plaintext)
        self._sealed_bytes += size
        self._unsent.append(size)
        return _pack_length(size + TAG_BYTES) + cipher.encrypt(plaintext)

    def sent(self, count: int) -> int:
        """Handle that `count` more bytes of `send` were sent; return the plaintext of the records that these begin."""
        begun_bytes, plain_bytes, unsent = self._begun_bytes - count, 0, self._unsent
        while begun_bytes < 0:
            size = unsent.popleft()
            begun_bytes += size + _OVERHEAD_BYTES
            plain_bytes += size
        self._begun_bytes = begun_bytes
        return plain_bytes

    # ---- new keys

    def rekey_due(self, now: float) -> bool:
        """Whether this side's key has sent `rekey_bytes`, or is `rekey_s` old, counted from the first question."""
        if self._keyed_at is None:
            self._keyed_at = now
        return self._sealed_bytes >= self._rekey_bytes or now - self._keyed_at >= self._rekey_s

    def rekey(self, now: float) -> None:
        """Change the key of what this side sends, from the next `send` on."""
        self._is_rekeying = True
        self._sealed_bytes = 0
        self._keyed_at = now

    def refresh(self, now: float) -> None:
        """Change the key of what this side sends, if that is due."""
        if self.rekey_due(now):
            self.rekey(now)
