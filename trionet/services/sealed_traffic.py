"""The datagrams of a node with a cluster key: sealed before they are sent, opened and proven when they are received.

Invariants: nothing is sent unsealed, and nothing is passed on that has not opened, except as the rollout of the node
says. As with other datagrams, sending never waits and never raises.
"""

from __future__ import annotations

import logging
import secrets
from typing import TYPE_CHECKING, Final

from trionet.log_limits import limited_log, log_often
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
        on_opened: called with each packet that was sealed, before it is handled.
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
        self._handle: Callable[[bytes], None] | None = None
        self.on_opened: Callable[[bytes], None] = _opened
        self._now = now
        self._new_boot_id = new_boot_id
        self._own = str(own)
        self._keys = keys
        self._sealer: DatagramSealer | None = None
        self._opener: DatagramOpener | None = None
        keys.watch(self._use_keys)

    def _use_keys(self, keys: NodeKeys) -> None:
        """Seal and open with other keys from now on."""
        if self._opener is not None:
            self._opener.use_keys(keys.datagram_keys())
            return
        self._sealer = DatagramSealer(self._own, keys.cluster, keys.datagram_keys(), self._new_boot_id())
        cookies = Cookies(secrets.token_bytes(_SECRET_BYTES))
        self._opener = DatagramOpener(self._sealer, cookies, sender_of, self._now())

    @property
    def refusals(self) -> RefusalCounts | None:
        """Counts of refused datagrams; None while there is no key."""
        return None if self._opener is None else self._opener.refused

    @property
    def replayed(self) -> int:
        """The number of datagrams that are of no use now, and may be replays; see `NodeStatistics`."""
        if self._opener is None:
            return 0
        counts = self._opener.refused
        return counts.replayed + counts.unasked + self._opener.unanswered

    def send_nowait(self, to: NodeAddress, data: bytes) -> bool:
        """Send a packet to `to`; return False where datagrams can't reach that address, or can't hold the packet."""
        if len(data) > PLAINTEXT_BYTES:
            return False
        if self._sealer is None or not self._keys.seals:
            return self._inner.send_nowait(to, data)
        return self._inner.send_nowait(to, self._sealer.seal(str(to), data, self._now()))

    async def serve(self, handle: Callable[[bytes], None]) -> None:
        """Call ``handle(packet)`` with each packet of a member, until closed; with plain ones, too, in a rollout."""
        self._handle = handle

        def receive(data: bytes, source: NodeAddress) -> None:
            is_plain = self._opener is None or (data.startswith(_PLAIN_HEAD) and self._keys.accepts_plain)
            packet = data if is_plain else self._opened(data, source)
            if packet is not None:
                handle(packet)

        await self._inner.serve_with_sources(receive)

    def _opened(self, data: bytes, source: NodeAddress) -> bytes | None:
        assert self._opener is not None
        assert self._sealer is not None
        opened = self._opener.open(data, str(source), self._now())
        if opened.answer is not None:
            self._inner.send_nowait(source, opened.answer)
        if opened.plaintext is not None:
            self.on_opened(opened.plaintext)
            if data[_KEY_ID] != self._sealer.keys.sealing:
                self.on_other_key(source, data[_KEY_ID])
        elif opened.refused is not None:
            self._report(opened.refused, data, source)
        for unanswered in self._opener.pop_unanswered(self._now()):
            ip = unanswered.rpartition(":")[0]
            log_often(_log, logging.INFO, _LINE, unanswered, _UNANSWERED, peer=ip, kind=_UNANSWERED)
        return opened.plaintext

    def _report(self, refused: Refusal, data: bytes, source: NodeAddress) -> None:
        if refused in _LATE:
            reason = _LATE[refused]
            log_often(_log, logging.INFO, _LINE, source, reason, peer=source.ip, kind=reason)
        elif refused in _REASONS:
            is_plain = refused is Refusal.MALFORMED and data.startswith(_PLAIN_HEAD)
            reason = _PLAIN if is_plain else _REASONS[refused]
            log_often(_log, logging.WARNING, _LINE, source, reason, peer=source.ip, kind=reason)

    # ---- proofs in the hellos of links; see `Lives`

    def own(self) -> tuple[int, int] | None:
        """Return the boot id, and the counter of the last datagram, -1 before the first; None while there is no key."""
        return None if self._sealer is None else (self._sealer.boot_id, self._sealer.counter - 1)

    def prove(self, node: NodeAddress, life: tuple[int, int]) -> None:
        """Take the hello of a sealed link as the proof of a life, and handle its packet that was held, if any."""
        boot_id, counter = life
        if self._opener is None or self._sealer is None or boot_id == self._sealer.boot_id:
            return
        packet = self._opener.prove(str(node), boot_id, counter, self._now())
        if packet is not None and self._handle is not None:
            self._handle(packet)

    def close(self) -> None:
        """Send and receive nothing more."""
        self._inner.close()

    def renew(self) -> None:
        """Begin another life of this node, after it has left."""
        if self._sealer is not None:
            self._sealer.renew(self._new_boot_id())

    def forget(self, name: str) -> None:
        """Require a new proof of the node `name`, which is no member any more."""
        if self._opener is not None:
            self._opener.forget(name, self._now())


def _opened(_: bytes) -> None: ...


def _ignored(_: NodeAddress, __: bytes) -> None: ...
