"""Calls over HTTP by the holder of a bearer token, who is no node."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trionet.errors import ConfigError
from trionet.security.certificate_files import client_context

from .http import HTTPTransport
from .http_connections import HTTPConnections

if TYPE_CHECKING:
    from trionet.config import NodeConfig

__all__ = ["token_transport"]


class _TokenConnections(HTTPConnections):
    """Connections whose requests bear a token: by TLS if there is a file of CAs."""

    def __init__(self, token: str, ca_file: str | None) -> None:
        super().__init__(None)
        self.headers["Authorization"] = f"Bearer {token}"
        if ca_file is not None:
            self.scheme = "https"
            try:
                self.context = client_context(ca_file)
            except OSError as exc:  # ssl.SSLError is one
                raise ConfigError(f"ca_file {ca_file} can't be used: {exc.strerror or exc}") from exc


def token_transport(config: NodeConfig, token: str, ca_file: str | None = None) -> HTTPTransport:
    """Return a transport whose requests bear `token`.

    Args:
        config: its limits.
        token: the text of the token.
        ca_file: the certificates of the CAs of the nodes, in PEM: then all goes by HTTPS. None: by HTTP.

    Raises:
        ConfigError: `ca_file` can't be used.
    """
    return HTTPTransport(config, connections=_TokenConnections(token, ca_file))
