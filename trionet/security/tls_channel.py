"""The channel of a link between nodes with certificates: TLS 1.3 in memory, below the link's plaintext.

Both sides present certificates. Nothing that is received is returned, and nothing is sent, before the peer's
certificate has been verified and names a node of this cluster. TLS has its own records, at most one of 16 KiB in each
write; none is compressed or renegotiated, and there are no session tickets.

Progress is counted in plaintext. A record counts as sent from its first byte on, although its peer can't read it before
the last one: nothing that the peer might have read ever counts as unsent.

Invariants: what `receive` returns is a prefix of what the peer's `send` was given. After a failure it returns nothing
more. The protocol that both sides name (ALPN) is the link's, so that a connection to the HTTP face can't be taken for a
link, nor the reverse.

Source: RFC 8446 (TLS 1.3), RFC 7301 (ALPN), and Python's `ssl.MemoryBIO`.
"""

from __future__ import annotations

import ssl
from collections import deque
from typing import TYPE_CHECKING, Final

from trionet.protocols.link.channel import PeerRefused
from trionet.protocols.link.frames import MAJOR_VERSION, FrameError

from .holds_secrets import HoldsSecrets
from .peer_certificate import CertificateFault
from .tls_faults import fault_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from .peer_certificate import PeerCertificate

__all__ = ["LINK_PROTOCOL", "TLSChannel"]

LINK_PROTOCOL: Final = f"trionet-link/{MAJOR_VERSION}"
"""The link's name in TLS."""

_RECORD_BYTES: Final = 16 * 1024
_HEAD_BYTES: Final = 5
_READ_BYTES: Final = 256 * 1024


class TLSChannel(HoldsSecrets):
    """A `Channel` over TLS.

    Args:
        context: the settings of this side, with its certificate and `LINK_PROTOCOL`.
        is_initiator: whether this side made the connection, and so is TLS's client.
        identify: returns what the peer's verified certificate says; raises `CertificateFault`.

    Attributes:
        peer: what the peer's certificate says; None until it has been verified.
    """

    __slots__ = (
        "_begun_bytes",
        "_failure",
        "_has_read",
        "_identify",
        "_incoming",
        "_is_verified",
        "_outgoing",
        "_tail",
        "_tls",
        "_unsent",
        "peer",
    )

    def __init__(
        self,
        context: ssl.SSLContext,
        *,
        is_initiator: bool,
        identify: Callable[[ssl.SSLObject], PeerCertificate],
    ) -> None:
        self.peer: PeerCertificate | None = None
        self._identify = identify
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=not is_initiator)
        self._is_verified = False  # TLS has verified the peer's certificate; it may name another cluster
        self._failure = ""
        self._has_read = False
        self._tail = _RecordTail()
        self._unsent: deque[tuple[int, int]] = deque()  # of records: bytes, and bytes of their plaintext
        self._begun_bytes = 0  # of a record that counts as sent, those to be sent yet
        if is_initiator:
            self._shake_hands()

    @property
    def is_open(self) -> bool:
        """Whether plaintext can be sent: TLS has verified the peer."""
        return self._is_verified

    @property
    def is_amid_record(self) -> bool:
        """Whether an incomplete record has been received."""
        return self._tail.is_incomplete

    def data_to_send(self) -> bytes:
        """Return the due bytes of its own handshake, or its alert after a failure."""
        return self._outgoing.read()

    # ---- receiving

    def receive(self, data: bytes) -> bytes:
        """Return the plaintext that `data` completes.

        Raises:
            PeerRefused: one side refuses the other's certificate.
            FrameError: a record does not open; the channel is unusable.
        """
        if self._failure:
            raise FrameError(self._failure)
        self._incoming.write(data)
        self._tail.feed(data)
        try:
            if not self._is_verified and not self._shake_hands():
                return b""
            return self._read()
        except ssl.SSLError as exc:
            self._failure = fault_of(exc)
            self._is_verified = False
            raise (FrameError if self._has_read else PeerRefused)(self._failure) from None
        except CertificateFault as exc:
            self._failure = str(exc)
            raise PeerRefused(self._failure) from None

    def _shake_hands(self) -> bool:
        """Take TLS's handshake further; return whether it has ended."""
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        self._is_verified = True
        if self._tls.selected_alpn_protocol() != LINK_PROTOCOL:
            raise CertificateFault("it speaks TLS, and not the link's protocol in it")
        self.peer = self._identify(self._tls)
        return True

    def _read(self) -> bytes:
        read: list[bytes] = []
        try:
            while True:
                data = self._tls.read(_READ_BYTES)
                if not data:
                    break
                read.append(data)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:  # close_notify: the end of the connection follows
            pass
        self._has_read = self._has_read or bool(read)
        return read[0] if len(read) == 1 else b"".join(read)

    # ---- sending

    def send(self, data: bytes) -> bytes:
        """Return the records that carry this plaintext."""
        assert self._is_verified
        tls, outgoing, unsent = self._tls, self._outgoing, self._unsent
        size = len(data)
        if size <= _RECORD_BYTES:  # the common case
            tls.write(data)
            record = outgoing.read()
            unsent.append((len(record), size))
            return record
        records, view = [], memoryview(data)
        for start in range(0, size, _RECORD_BYTES):
            part = view[start : start + _RECORD_BYTES]
            tls.write(part)
            record = outgoing.read()
            unsent.append((len(record), len(part)))
            records.append(record)
        return b"".join(records)

    def sent(self, count: int) -> int:
        """Handle that `count` more bytes of `send` were sent; return the plaintext of the records that these begin."""
        begun_bytes, plain_bytes, unsent = self._begun_bytes - count, 0, self._unsent
        while begun_bytes < 0:
            size, plain = unsent.popleft()
            begun_bytes += size
            plain_bytes += plain
        self._begun_bytes = begun_bytes
        return plain_bytes

    def refresh(self, now: float) -> None:
        """Do nothing: the keys of a connection stay, and its link is replaced before its certificates end."""


class _RecordTail:
    """Where the received bytes end: within a record, or between two."""

    __slots__ = ("_head", "_left")

    def __init__(self) -> None:
        self._head = b""
        self._left = 0

    @property
    def is_incomplete(self) -> bool:
        """Whether they end within a record."""
        return bool(self._head) or self._left > 0

    def feed(self, data: bytes) -> None:
        """Handle more bytes."""
        start, end = 0, len(data)
        while start < end:
            if self._left:
                step = min(self._left, end - start)
                self._left -= step
            else:
                step = min(_HEAD_BYTES - len(self._head), end - start)
                self._head += data[start : start + step]
                if len(self._head) == _HEAD_BYTES:
                    self._left, self._head = int.from_bytes(self._head[3:], "big"), b""
            start += step
