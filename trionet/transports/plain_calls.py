"""What a peer may call over a plain link of a node that holds a key, during a rollout.

Invariant: it administers nothing, handles no keys, and gains nothing by a detour through a forwarding method.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trionet.errors import NotPermitted
from trionet.log_limits import about, limited_log

if TYPE_CHECKING:
    from trionet.message import Call

__all__ = ["check_plain_call"]

_log = limited_log(__name__)


def check_plain_call(call: Call) -> None:
    """Check a call that came over a plain link.

    Raises:
        NotPermitted: it is for those who hold the key.
    """
    from trionet.security.scopes import check_unproven  # on use: plain nodes need none of it

    from .web_detours import destinations

    try:
        for service, method in ((call.service, call.method), *destinations(call)):
            check_unproven(service, method)
    except NotPermitted as exc:
        _log.warning("a call of %s was refused: %s", call.caller, exc.text, extra=about(call.caller, "plain"))
        raise
