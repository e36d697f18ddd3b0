"""Reports of addresses that can't work: beyond the cluster's border, or out of reach.

Invariant: each report is a log line, limited as all lines that others can cause. An address out of reach is an event,
too, at both of its ends; the number of these events has a bound, because strangers can cause them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from trionet.events import AddressUnreachable
from trionet.log_limits import about, limited_log
from trionet.protocols.reach import AGAIN_S
from trionet.protocols.recent import remember

from .loopback import are_apart, why_apart
from .protocol_driver import address_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from trionet.events import Event
    from trionet.identity import NodeAddress
    from trionet.protocols.border import SenderRefused, SenderUnreachable

    from .packet_answer import PacketAnswer

__all__ = ["AddressReports"]

_log = limited_log(__name__)

_MOST_REPORTED: Final = 32
"""The most reports within `AGAIN_S`."""


class AddressReports:
    """The reports of one node."""

    def __init__(self, own: NodeAddress, publish: Callable[[Event], None], now: Callable[[], float]) -> None:
        self._own = own
        self._publish = publish
        self._now = now
        self._reported_at: dict[tuple[NodeAddress, NodeAddress], float] = {}
        self._barred_at: dict[NodeAddress, float] = {}

    def handle_refused(self, event: SenderRefused) -> None:
        """Report a node that can't be a member."""
        node = address_of(event.name)
        if node is not None:
            remember(self._barred_at, node, self._now(), _MOST_REPORTED)
            _log.warning(
                "refused %s as a member: %s", node, why_apart(self._own, node), extra=about(node, node=self._own)
            )

    def handle_unreachable(self, event: SenderUnreachable) -> None:
        """Report a node that is heard, and can't be reached."""
        node = address_of(event.name)
        if node is not None:
            self.report(node)

    def report(self, node: NodeAddress) -> None:
        """Report that this node can't reach another; at most once in a while for each."""
        if self._is_due((node, self._own)):
            _log.warning(
                "%s, this node, can't reach %s, which that node advertises: set advertise_ip (--advertise-ip) there to "
                "an address that the other members reach, and let them reach that port",
                self._own,
                node,
                extra=about(node, node=self._own),
            )
            self._publish(AddressUnreachable(node=node, by=self._own))

    def handle_own(self, by: NodeAddress) -> None:
        """Report that another node can't reach this one; at most once in a while for each."""
        if self._is_due((self._own, by)):
            _log.warning(
                "%s can't reach %s, which this node advertises: set advertise_ip (--advertise-ip) to an address that "
                "the other members reach, and let them reach that port",
                by,
                self._own,
                extra=about(by, node=self._own),
            )
            self._publish(AddressUnreachable(node=self._own, by=by))

    def handle_answer(self, answer: PacketAnswer) -> None:
        """Handle the answer to a packet, which may say that the other node can't reach this one."""
        if answer.unreachable == str(self._own):
            self.handle_own(answer.node)

    def barred(self) -> list[str]:
        """Return the nodes that were refused as members lately."""
        return [str(node) for node, at in self._barred_at.items() if self._now() < at + AGAIN_S]

    def unreachable(self) -> list[tuple[str, str]]:
        """Return the addresses that were reported lately to be out of reach, and who can't reach them."""
        reported = self._reported_at.items()
        return [(str(node), str(by)) for (node, by), at in reported if self._now() < at + AGAIN_S]

    def _is_due(self, what: tuple[NodeAddress, NodeAddress]) -> bool:
        """Return whether to report an address and the node that can't reach it: anyone can claim such a thing."""
        now = self._now()
        recent = [one for one, at in self._reported_at.items() if now < at + AGAIN_S]
        is_due = what not in recent and len(recent) < _MOST_REPORTED
        if is_due:
            remember(self._reported_at, what, now, _MOST_REPORTED)
        return is_due

    def reason_of(self, answer: PacketAnswer) -> str:
        """Return the reason why the node that answers has refused this one; empty if it hasn't, or for no reason."""
        by = address_of(answer.refused_by) if answer.refused_by else None
        return why_apart(self._own, by) if by is not None and are_apart(self._own, by) else ""
