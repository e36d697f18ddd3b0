"""Requests from web pages: only those of the node's own pages are accepted.

A web page must not call a node by its reader's browser. Browsers send the origin of the page, in ``Origin`` (Fetch
Standard, 3.2) and ``Sec-Fetch-Site`` (Fetch Metadata, 2.3); programs send neither, and may call.

Invariant: the origin of an accepted request is its own target, by http or https; and the target's host is an address,
``localhost``, or a name of the node's configuration: any other name could be rebound to the node (DNS rebinding). Any
name will do where the request has a secret that a page of another origin has not.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING

from trionet.errors import NotPermitted

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from trionet.config import NodeConfig

__all__ = ["foreign_host_error", "foreign_page_error", "own_names"]

_DEFAULT_PORTS = {"http": 80, "https": 443}
_OWN_SITES = ("same-origin", "none")
# host [":" port], RFC 3986, 3.2; "user@" and the like are not allowed.
_PLACE = r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?"
_ORIGIN = re.compile(rf"(https?)://{_PLACE}", re.IGNORECASE)
_HOST = re.compile(_PLACE)


def foreign_page_error(
    origins: Sequence[str],
    hosts: Sequence[str],
    own_names: Collection[str] | None,
    fetch: tuple[str, str, str] | None = None,
) -> NotPermitted | None:
    """Return the error for a request of a foreign page; None for any other.

    Args:
        origins: the values of the headers ``Origin``.
        hosts: those of ``Host``, or ``:authority``.
        own_names: the host names of the node's configuration; None if any name will do.
        fetch: the values of ``Sec-Fetch-Site``, ``Sec-Fetch-Mode`` and ``Sec-Fetch-Dest``; None without the first.
    """
    if fetch is not None and not _is_own_fetch(*fetch):
        return NotPermitted("calls from pages of other sites are refused")
    if not origins:
        return None
    origin = _ORIGIN.fullmatch(origins[0]) if len(origins) == 1 else None
    target = _HOST.fullmatch(hosts[0]) if len(hosts) == 1 else None
    if origin is None or target is None or not _is_same(origin, target):
        return NotPermitted(f"calls from pages of {', '.join(origins):.100} are refused")
    return None if own_names is None else foreign_host_error(hosts, own_names)


def own_names(config: NodeConfig) -> frozenset[str]:
    """Return the host names of a node's configuration."""
    return frozenset(name.lower() for name in (config.ip, config.advertise_ip) if name)


def foreign_host_error(hosts: Sequence[str], own_names: Collection[str]) -> NotPermitted | None:
    """Return the error for a request whose target is no address or own name; None for any other.

    A page whose name is rebound to the node sends no ``Origin`` with a GET, and over plain HTTP no ``Sec-Fetch-Site``.
    """
    target = _HOST.fullmatch(hosts[0]) if len(hosts) == 1 else None
    name = "" if target is None else target[1].lower()
    if name != "localhost" and name not in own_names and not _is_address(name):
        return NotPermitted(f"calls from pages that reach this node as {name:.100} are refused: use its address")
    return None


def _is_own_fetch(site: str, mode: str, destination: str) -> bool:
    """Whether a fetch is of an own page, of the reader, or of a followed link."""
    return site in _OWN_SITES or (mode == "navigate" and destination == "document")


def _is_same(origin: re.Match[str], target: re.Match[str]) -> bool:
    default = _DEFAULT_PORTS[origin[1].lower()]
    return (origin[2].lower(), int(origin[3] or default)) == (target[1].lower(), int(target[2] or default))


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True
