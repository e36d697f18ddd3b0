"""The certificate of one node, as its connections use it; read again by `reload`.

Invariant: connections use the last files that could be used: a reload that fails changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Self

from trionet.protocols.link.channel import BOTH_MODE, TLS_MODE

from .certificate_files import CertificateFiles, identified, load_contexts
from .holds_secrets import HoldsSecrets
from .stacked_channel import StackedKey
from .tls_channel import TLSChannel

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable

    from trionet.config import NodeConfig
    from trionet.protocols.link.channel import LinkKey

    from .peer_certificate import PeerCertificate

__all__ = ["Certificates"]

_NO_ID: Final = bytes(4)


class Certificates(HoldsSecrets):
    """The certificate of one node, its private key, and the CAs of its peers.

    It is also the `LinkKey` of links with certificates.

    Args:
        files: the paths of the files.
        cluster: the name of the node's cluster.

    Raises:
        ConfigError: a file can't be used, or peers would refuse the certificate.
    """

    __slots__ = ("_cluster", "_contexts", "_files", "seal")

    def __init__(self, files: CertificateFiles, cluster: str) -> None:
        self.seal: bytes = bytes([TLS_MODE]) + _NO_ID
        self._files = files
        self._cluster = cluster
        self._contexts = load_contexts(files, cluster)

    @classmethod
    def of(cls, config: NodeConfig) -> Self | None:
        """Return the certificates that a configuration names; None if it names none.

        Raises:
            ConfigError: they can't be used; the text says why.
        """
        if config.certificate_file is None:
            return None
        assert config.private_key_file is not None
        assert config.ca_file is not None
        files = CertificateFiles(config.certificate_file, config.private_key_file, config.ca_file)
        return cls(files, config.cluster)

    def reload(self) -> None:
        """Read the files again; new connections use what they hold.

        Raises:
            ConfigError: a file can't be used, or peers would refuse the certificate. The old ones stay in use.
        """
        self._contexts = load_contexts(self._files, self._cluster)

    @property
    def own(self) -> PeerCertificate:
        """What the node's own certificate says."""
        return self._contexts.own

    @property
    def serves(self) -> ssl.SSLContext:
        """TLS's settings for the HTTP face."""
        return self._contexts.serves

    @property
    def requests(self) -> ssl.SSLContext:
        """TLS's settings for requests over HTTP."""
        return self._contexts.requests

    def identified(self, tls: ssl.SSLObject) -> PeerCertificate:
        """Return what the peer's verified certificate says.

        Raises:
            CertificateFault: there is none, or it is not for a node of this cluster.
        """
        return identified(tls, self._cluster)

    def new_channel(self, prologue: bytes, *, is_initiator: bool) -> TLSChannel:
        """Return the channel of a new connection; see `LinkKey.new_channel`.

        The prologue has a fixed content: TLS's own name of the protocol stands for it.
        """
        del prologue
        context = self._contexts.dials if is_initiator else self._contexts.accepts
        return TLSChannel(context, is_initiator=is_initiator, identify=self.identified)

    def link_keys(self, keys: Iterable[LinkKey]) -> list[LinkKey]:
        """Return the keys of links: each of `keys` within TLS, or TLS alone if there are none."""
        return [StackedKey(BOTH_MODE, key, self) for key in keys] or [self]
