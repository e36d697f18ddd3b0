"""What a certificate says of its holder: the name of a node of one cluster, and where that node may be.

A certificate has exactly one URI among its subject's alternative names, ``spiffe://CLUSTER/node/NAME``. If it has IP
addresses or DNS names, its holder may claim these only. If it has neither, its holder may claim any address.

Source: the SPIFFE ID and X.509-SVID specifications, sections 2; RFC 5280, 4.2.1.6.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, Any, Self

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["CertificateFault", "PeerCertificate"]

_SPIFFE_ID = re.compile(r"spiffe://([a-z0-9._-]{1,255})/node/([A-Za-z0-9._-]{1,255})")
_MOST_SHOWN = 100


class CertificateFault(Exception):
    """A certificate that is valid for its CA, and not for a node of this cluster."""


class PeerCertificate(msgspec.Struct, frozen=True):
    """What the verified certificate of a node says.

    Attributes:
        name: the NAME of its holder.
        hosts: the only IP addresses and DNS names that its holder may claim; empty for any.
        ends_at: its end, in seconds since 1970.
    """

    name: str
    hosts: frozenset[str]
    ends_at: float

    @classmethod
    def of(cls, decoded: Mapping[str, Any], cluster: str, ends_at: float) -> Self:
        """Read a verified certificate.

        Args:
            decoded: the result of `ssl.SSLObject.getpeercert`.
            cluster: the name of the cluster that it must name.
            ends_at: its end, in seconds since 1970.

        Raises:
            CertificateFault: it is not for a node of this cluster.
        """
        names = [(kind, str(text)) for kind, text in decoded.get("subjectAltName", ())]
        uris = [text for kind, text in names if kind == "URI"]
        if len(uris) != 1:
            raise CertificateFault(
                f"its certificate has {len(uris)} URIs as alternative names, and needs exactly one, "
                f"spiffe://{cluster}/node/NAME"
            )
        match = _SPIFFE_ID.fullmatch(uris[0])
        if match is None or match[2] in {".", ".."}:
            raise CertificateFault(
                f"its certificate has the URI {uris[0]!r:.{_MOST_SHOWN}}, which is not of the form "
                f"spiffe://{cluster}/node/NAME"
            )
        if match[1] != cluster:
            raise CertificateFault(
                f"its certificate is for the cluster {match[1]!r:.{_MOST_SHOWN}}, and this node is of {cluster!r}"
            )
        hosts = frozenset(_canonical(text) for kind, text in names if kind in {"IP Address", "DNS"})
        return cls(match[2], hosts, ends_at)

    def may_claim(self, host: str) -> bool:
        """Whether its holder may have this IP address, or this name, as its address."""
        return not self.hosts or _canonical(host) in self.hosts


def _canonical(host: str) -> str:
    """Return the one form of an IP address, or of a DNS name."""
    try:
        return str(ipaddress.ip_address(host.strip()))
    except ValueError:
        return host.lower().rstrip(".")
