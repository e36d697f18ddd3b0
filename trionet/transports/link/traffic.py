"""The traffic of one node's links: those that are open, and those that have been."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from trionet.figures import LinkFigures
from trionet.histograms import durations, new_histogram

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from trionet.identity import NodeAddress

    from .link import Link

__all__ = ["Traffic"]


class Traffic:
    """Sums up the traffic of the links of one node.

    Attributes:
        lag: how late the timers of the links have run; see `trionet.histograms`.
    """

    def __init__(self, links: Mapping[Link, NodeAddress | None]) -> None:
        """Sum up `links`, those that are open, with the addresses of their peers, and those that have been."""
        self._links = links
        self.lag: list[int] = new_histogram()
        self._opened: int = 0
        self._ended = LinkFigures()

    def note_opened(self) -> None:
        """Count a new link."""
        self._opened += 1

    def note_ended(self, link: Link) -> None:
        """Keep the traffic of a link that has ended."""
        self._ended = self._with_open([link])

    @property
    def open(self) -> int:
        """The number of open links."""
        return len(self._links)

    def figures(self) -> LinkFigures:
        """Return the figures of all links so far."""
        return self._with_open(self._links)

    def described(self, most: int) -> dict[str, dict[str, Any]]:
        """Return what at most `most` open links are, by number: their peers, who has made them, and what passes."""
        found: dict[str, dict[str, Any]] = {}
        for number, (link, node) in enumerate(islice(self._links.items(), most), 1):
            core, outbox = link.core, link.core.outbox
            found[str(number)] = {
                "peer": link.name if node is None else str(node),
                "direction": "out" if core.is_initiator else "in",
                "is_sealed": bool(core.key_id) or link.identity is not None,
                "bytes_sent": outbox.sent_bytes,
                "bytes_received": core.received_bytes,
                "queued_bytes": outbox.queued[1],
                "calls_waiting": link.calls.waiting,
            }
        return found

    def _with_open(self, links: Iterable[Link]) -> LinkFigures:
        ended = self._ended
        bytes_sent, bytes_received = ended.bytes_sent, ended.bytes_received
        frames_sent, frames_received = ended.frames_sent, ended.frames_received
        number = waiting = frames = size = 0
        for link in links:
            core, outbox = link.core, link.core.outbox
            number += 1
            bytes_sent += outbox.sent_bytes
            bytes_received += core.received_bytes
            frames_sent += outbox.sent_frames
            frames_received += core.received_frames
            waiting += link.calls.waiting
            queued = outbox.queued
            frames += queued[0]
            size += queued[1]
        return LinkFigures(
            open=number,
            opened=self._opened,
            bytes_sent=bytes_sent,
            bytes_received=bytes_received,
            frames_sent=frames_sent,
            frames_received=frames_received,
            queued_frames=frames,
            queued_bytes=size,
            calls_waiting=waiting,
            lag=durations(self.lag),
        )
