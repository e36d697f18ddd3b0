"""The texts of failures of TLS: which side refuses what, and what to do.

OpenSSL names the reasons of its own side, and those of the alerts that the peer sends (RFC 8446, 6.2).
"""

from __future__ import annotations

import ssl
from typing import Final

__all__ = ["fault_of"]

_TEXTS: Final = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "it has no certificate, and this node accepts only nodes with one",
    "UNSUPPORTED_PROTOCOL": "it does not speak TLS 1.3",
    "TLSV1_ALERT_PROTOCOL_VERSION": "it does not speak TLS 1.3",
    "TLSV1_ALERT_UNKNOWN_CA": "it refuses this node's certificate, which is of no CA in its ca_file",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "it refuses this node's certificate as expired: renew it, and reload",
    "SSLV3_ALERT_BAD_CERTIFICATE": "it refuses this node's certificate as invalid, or not valid yet: its log says why",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "it refuses this node's certificate: its log says why",
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": "it refuses this node's certificate, which is not for clients and servers",
    "SSLV3_ALERT_CERTIFICATE_REVOKED": "it refuses this node's certificate as revoked",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "it accepts only nodes with a certificate",
}
_VERIFY_HINTS: Final = {
    "certificate has expired": "renew it, and reload",
    "certificate is not yet valid": "compare the clocks of both machines",
    "unable to get local issuer certificate": "it is of no CA in this node's ca_file",
    "self-signed certificate": "it is of no CA in this node's ca_file",
    "self-signed certificate in certificate chain": "it is of no CA in this node's ca_file",
    "unsuitable certificate purpose": "nodes are clients and servers: both need to be among its extended key usages",
}


def fault_of(exc: ssl.SSLError) -> str:
    """Return what went wrong, with the peer as "it"."""
    if isinstance(exc, ssl.SSLCertVerificationError):
        message = exc.verify_message
        hint = _VERIFY_HINTS.get(message)
        return f"its certificate is refused: {message}" + (f" ({hint})" if hint else "")
    reason = exc.reason or ""
    text = _TEXTS.get(reason)
    return text or f"TLS failed: {reason.lower().replace('_', ' ') or exc}"
