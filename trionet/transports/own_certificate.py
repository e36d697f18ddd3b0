"""The certificate of a node that starts: read if there is one, and for the address that the node has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trionet.errors import ConfigError

if TYPE_CHECKING:
    from trionet.config import NodeConfig
    from trionet.identity import NodeAddress
    from trionet.security.certificates import Certificates

__all__ = ["check_claim", "own_certificates"]


def own_certificates(config: NodeConfig) -> Certificates | None:
    """Return the certificates that a configuration names; None if it names none.

    Raises:
        ConfigError: they can't be used; the text says why.
    """
    if config.certificate_file is None:
        return None
    from trionet.security.certificates import Certificates

    return Certificates.of(config)


def check_claim(certificates: Certificates, address: NodeAddress) -> None:
    """Raise `ConfigError` if peers would not believe that the node of this certificate is at this address."""
    if not certificates.own.may_claim(address.ip):
        raise ConfigError(
            f"the certificate in certificate_file is for {', '.join(sorted(certificates.own.hosts))}, and other nodes "
            f"would not believe that this node is at {address.ip}: use that address (ip, advertise_ip), or another "
            f"certificate"
        )
