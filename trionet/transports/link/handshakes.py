"""The handshakes of one node's links: with which keys they seal, and which keys they accept."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from trionet.protocols.link.handshake import Handshake

if TYPE_CHECKING:
    from trionet.identity import NodeAddress
    from trionet.protocols.link.channel import LinkKey
    from trionet.protocols.link.frames import Hello
    from trionet.security.certificates import Certificates
    from trionet.security.live_keys import LiveKeys
    from trionet.security.node_keys import NodeKeys
    from trionet.transports.base import Lives

__all__ = ["Handshakes"]


class Handshakes:
    """Makes the handshakes of one node's links.

    Attributes:
        lives: takes the proofs of life in the hellos of sealed links; None without sealed datagrams.
        must_seal: nodes with which links are sealed, also while this node sends plainly.
    """

    def __init__(self, hello: Hello, keys: LiveKeys, certificates: Certificates | None) -> None:
        self.lives: Lives | None = None
        self.must_seal: set[NodeAddress] = set()
        self._hello = hello
        self._live = keys
        self._certificates = certificates
        self._keys: list[LinkKey] = self._within_tls([])
        self._dialed_keys: list[LinkKey] = self._keys
        self._refused: dict[NodeAddress, int] = {}
        keys.watch(self._use_keys)

    def _use_keys(self, keys: NodeKeys) -> None:
        """Make new links with other keys from now on."""
        self._keys = self._within_tls(keys.link_keys(secrets.token_bytes))
        retired = keys.retired
        self._dialed_keys = [one for one in self._keys if one.seal[1:] not in retired]

    def _within_tls(self, keys: list[LinkKey]) -> list[LinkKey]:
        """Return the keys of links that have these cluster keys, and the node's certificate if it has one."""
        return keys if self._certificates is None else self._certificates.link_keys(keys)

    @property
    def are_sealed(self) -> bool:
        """Whether links can be sealed: the node has a key or a certificate."""
        return bool(self._keys)

    @property
    def is_sending_plain(self) -> bool:
        """Whether the node makes plain links, but for those that must be sealed."""
        return not self._live.seals and self._certificates is None

    def incoming(self) -> Handshake:
        """Return the handshake of a connection from a peer."""
        is_plain = self._live.accepts_plain
        return Handshake(self._hello, is_initiator=False, keys=self._keys, life=self._own_life, accepts_plain=is_plain)

    def outgoing(self, node: NodeAddress, expected: NodeAddress | None) -> Handshake:
        """Return the handshake of a connection to `node`, which must state the address `expected`, if any."""
        if self.is_sending_plain and node not in self.must_seal:
            return Handshake(self._hello, is_initiator=True)
        keys = self._dialed_keys
        place = self._refused.get(node, 0) % max(len(keys), 1)
        chosen = keys[place : place + 1]
        return Handshake(self._hello, is_initiator=True, keys=chosen, expected=expected, life=self._own_life)

    def note_unknown_key(self, node: NodeAddress) -> bool:
        """Handle that `node` doesn't know the key; return whether there is another one to try."""
        refused = self._refused.get(node, 0) + 1
        if refused >= len(self._dialed_keys):
            return False
        self._refused[node] = refused
        return True

    def end_attempts(self, node: NodeAddress) -> None:
        """Begin with the sealing key again at the next connection to `node`."""
        self._refused.pop(node, None)

    def is_other_key(self, key_id: bytes) -> bool:
        """Whether a link is sealed with another key than the one that seals here."""
        return bool(key_id) and self.are_sealed and key_id != self._keys[0].seal[1:]

    def _own_life(self) -> tuple[int, int] | None:
        return None if self.lives is None else self.lives.own()
