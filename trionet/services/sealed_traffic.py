"""The datagrams of a node with a cluster key: sealed before they are sent, opened and proven when they are received.

Invariants: nothing is sent unsealed, and nothing is passed on that has not opened. As with other datagrams, sending
never waits and never raises.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

from trionet.log_limits import about, limited_log
from trionet.protocols.packets import sender_of
from trionet.security.cookies import Cookies
from trionet.security.datagram_format import PLAINTEXT_BYTES
from trionet.security.datagram_opener import DatagramOpener, Refusal
from trionet.security.sealed_datagrams import DatagramSealer

if TYPE_CHECKING:
    from collections.abc import Callable

    from trionet.identity import NodeAddress
    from trionet.security.datagram_opener import RefusalCounts
    from trionet.security.live_keys import LiveKeys
    from trionet.security.node_keys import NodeKeys
    from trionet.transports.datagrams import SourcedDatagrams

__all__ = ["SealedTraffic"]

_log = limited_log(__name__)

_SECRET_BYTES: Final = 32
_KEY_ID: Final = slice(1, 5)
_PLAIN_HEAD: Final = b"\x93"
"""The first byte of each plain packet: an array of three."""

_LINE: Final = "a datagram from %s was refused: %s"
_REASONS: Final = {
    Refusal.MALFORMED: "it is no packet of a node",
    Refusal.UNKNOWN_KEY: "its cluster key is not this node's: give both nodes the same key",
    Refusal.FORGED: "it does not open: it is for another node or cluster, or forged",
}
_PLAIN: Final = "it is not sealed: give its node this node's cluster key"

_LATE: Final = {
    Refusal.REPLAYED: "it came before, or is too old: the network doubled or kept it, or somebody replays it",
    Refusal.UNASKED: "it answers nothing that this node has asked in this life: it is late, replayed or forged",
}
_UNANSWERED: Final = "its sender did not prove that it is alive: it has ended or is slow, or somebody replays it"
"""Networks and restarts cause these, too, so their lines are of the level INFO."""


class SealedTraffic:
    """Fulfils `Datagrams` by sealing what goes through other ones.

    Attributes:
        packet_bytes: the most bytes of a packet.
        on_other_key: called with the address of a member and a key id, when its packet is sealed with another key than
            the one that seals here.
    """

    packet_bytes: int = PLAINTEXT_BYTES

    def __init__(
        self,
        inner: SourcedDatagrams,
        keys: LiveKeys,
        own: NodeAddress,
        now: Callable[[], float],
        new_boot_id: Callable[[], int],
    ) -> None:
        """Seal for the node `own`.

        Args:
            inner: carries the sealed datagrams.
            keys: the node's keys; there are some.
            own: its address, by which others seal for it.
            now: returns the time in seconds, on a monotonic clock.
            new_boot_id: returns 64 bits that name a life of this node, others at each call.
        """
        self._inner = inner
        self.on_other_key: Callable[[NodeAddress, bytes], None] = _ignored
        self._now = now
        self._new_boot_id = new_boot_id
        first = keys.now
        assert first is not None
        self._sealer = DatagramSealer(str(own), first.cluster, first.datagram_keys(), new_boot_id())
        self._opener = DatagramOpener(self._sealer, Cookies(secrets.token_bytes(_SECRET_BYTES)), sender_of, now())
        keys.watch(self._use_keys)

    def _use_keys(self, keys: NodeKeys) -> None:
        """Seal and open with other keys from now on."""
        self._opener.use_keys(keys.datagram_keys())

    @property
    def refusals(self) -> RefusalCounts:
        """Counts of refused datagrams."""
        return self._opener.refused

    @property
    def replayed(self) -> int:
        """The number of datagrams that are of no use now, and may be replays; see `NodeStatistics`."""
        counts = self._opener.refused
        return counts.replayed + counts.unasked + self._opener.unanswered

    def send_nowait(self, to: NodeAddress, data: bytes) -> bool:
        """Send a packet to `to`; return False where datagrams can't reach that address, or can't hold the packet."""
        if len(data) > PLAINTEXT_BYTES:
            return False
        return self._inner.send_nowait(to, self._sealer.seal(str(to), data, self._now()))

    async def serve(self, handle: Callable[[bytes], None]) -> None:
        """Call ``handle(packet)`` with each packet of a member of the cluster, until closed."""

        def receive(data: bytes, source: NodeAddress) -> None:
            opened = self._opener.open(data, str(source), self._now())
            if opened.answer is not None:
                self._inner.send_nowait(source, opened.answer)
            if opened.plaintext is not None:
                handle(opened.plaintext)
                if data[_KEY_ID] != self._sealer.keys.sealing:
                    self.on_other_key(source, data[_KEY_ID])
            elif opened.refused is not None:
                self._report(opened.refused, data, source)
            for unanswered in self._opener.pop_unanswered(self._now()):
                extra = about(unanswered.rpartition(":")[0], _UNANSWERED)
                _log.info(_LINE, unanswered, _UNANSWERED, extra=extra)

        await self._inner.serve_with_sources(receive)

    def _report(self, refused: Refusal, data: bytes, source: NodeAddress) -> None:
        if refused in _LATE:
            reason = _LATE[refused]
            _log.info(_LINE, source, reason, extra=about(source.ip, reason))
        elif refused in _REASONS:
            is_plain = refused is Refusal.MALFORMED and data.startswith(_PLAIN_HEAD)
            reason = _PLAIN if is_plain else _REASONS[refused]
            _log.warning(_LINE, source, reason, extra=about(source.ip, reason))

    def close(self) -> None:
        """Send and receive nothing more."""
        self._inner.close()

    def renew(self) -> None:
        """Begin another life of this node, after it has left."""
        self._sealer.renew(self._new_boot_id())

    def forget(self, name: str) -> None:
        """Require a new proof of the node `name`, which is no member any more."""
        self._opener.forget(name, self._now())


def _ignored(_: NodeAddress, __: bytes) -> None: ...
