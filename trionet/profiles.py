"""The timing of membership and gossip: one profile for each kind of network.

The numbers of `LOCAL`, `LAN` and `WAN` are those of HashiCorp's memberlist for the same kinds of networks, proven in
many clusters; but `suspicion_mult` of `LOCAL` is 9 in place of 3, because on one machine with too few processors a
process stands still for seconds more often than elsewhere. The docstrings of `trionet.protocols` explain their use.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

__all__ = ["LAN", "LOCAL", "PROFILES", "WAN", "Profile"]

_Seconds = Annotated[float, msgspec.Meta(gt=0)]
_Count = Annotated[int, msgspec.Meta(ge=1)]


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """Intervals, timeouts and multipliers.

    Attributes:
        probe_interval_s: between two pings of a node, each to another member. The detection of a failure takes a few
            intervals. Sane: 0.2 to 10.
        probe_timeout_s: two thirds of it are the wait for an ack before indirect probes; over the 99th percentile of
            round trips, and less than `probe_interval_s`. Sane: 0.05 to half of `probe_interval_s` and a little more.
        indirect_probes: the number of members that probe indirectly. More tolerate more loss, and cost more in
            failures. Sane: 1 to 5.
        suspicion_mult: scales the time in which a suspect may refute. More is slower, with fewer false positives. Sane:
            3 to 10.
        gossip_interval_s: between packets of statements, while there are any; well below `probe_interval_s`. Sane:
            0.05 to 1.
        gossip_nodes: the number of members that get such a packet each time. Sane: 2 to 5.
        retransmit_mult: each node sends each statement `retransmit_mult` x log10(n + 1) times, rounded up. Sane:
            3 to 6.
        sync_interval_s: between two comparisons of the whole view with another member, which repair losses; a shorter
            interval costs more, and repairs sooner. Sane: 5 to 120.
    """

    probe_interval_s: _Seconds = 1.0
    probe_timeout_s: _Seconds = 0.5
    indirect_probes: _Count = 3
    suspicion_mult: _Count = 4
    gossip_interval_s: _Seconds = 0.2
    gossip_nodes: _Count = 3
    retransmit_mult: _Count = 4
    sync_interval_s: _Seconds = 30.0


LAN: Final = Profile()
"""One data centre."""

WAN: Final = Profile(
    probe_interval_s=5.0,
    probe_timeout_s=3.0,
    suspicion_mult=6,
    gossip_interval_s=0.5,
    gossip_nodes=4,
    sync_interval_s=60.0,
)
"""Several data centres: round trips of some hundred milliseconds."""

LOCAL: Final = Profile(
    probe_timeout_s=0.2,
    indirect_probes=1,
    suspicion_mult=9,
    gossip_interval_s=0.1,
    retransmit_mult=2,
    sync_interval_s=15.0,
)
"""One machine."""

PROFILES: Final = {"lan": LAN, "local": LOCAL, "wan": WAN}
