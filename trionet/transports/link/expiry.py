"""The end of certificates: links do not outlive those of their two sides, and the log warns before.

Invariant: at most `CLOSED_S` after a certificate has ended no link is open that was made with it. From its end on no
new call goes over such a link; those in progress have `GRACE_S`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from trionet.log_limits import limited_log
from trionet.transports.clock import time_us

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trionet.security.certificates import Certificates

    from .link import Link

__all__ = ["CLOSED_S", "GRACE_S", "end_expired"]

_log = limited_log(__name__)

CLOSED_S: Final = 60.0
GRACE_S: Final = 45.0
_LOOKS_S: Final = 10.0
_LEAST_S: Final = 0.1
_WARNED_S: Final = 7 * 86400.0
_WARNS_S: Final = 86400.0
_ENDED: Final = "its certificate, or this node's, has expired"


async def end_expired(certificates: Certificates, links: Iterable[Link]) -> None:
    """Retire and close links whose certificates have ended, until cancelled.

    Args:
        certificates: the node's own.
        links: a view of its open links.
    """
    warned_of, warned_at = 0.0, 0.0
    own_ends: dict[Link, float] = {}
    while True:
        now, own_end = time_us() / 1e6, certificates.own.ends_at
        if own_end - now < _WARNED_S and (warned_of != own_end or now - warned_at >= _WARNS_S):
            warned_of, warned_at = own_end, now
            _log.warning(
                "the certificate of this node %s: renew it, and reload",
                "has expired" if own_end <= now else f"expires in {(own_end - now) / 3600:.1f} h",
            )
        own_ends = {link: own_ends.get(link, own_end) for link in links}
        next_end = now + _LOOKS_S
        for link, own_at_open in own_ends.items():
            peer = link.identity
            ends_at = own_at_open if peer is None else min(own_at_open, peer.ends_at)
            if now >= ends_at + GRACE_S:
                link.abort(_ENDED)
            elif now >= ends_at:
                if not link.core.is_retired:
                    link.retire(_ENDED)
            else:
                next_end = min(next_end, ends_at)
        await trio.sleep(max(_LEAST_S, next_end - now))
