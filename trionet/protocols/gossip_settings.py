"""The intervals and bounds of gossip, and its counters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec

if TYPE_CHECKING:
    from trionet.profiles import Profile

__all__ = ["GossipCounts", "GossipSettings", "settings_for"]

_Seconds = Annotated[float, msgspec.Meta(gt=0)]
_Count = Annotated[int, msgspec.Meta(ge=1)]


class GossipSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Intervals and bounds.

    Attributes:
        interval_s: between announcements while there are recent rumors. The first announcement after an idle period is
            sent after 0.1 to 0.3 intervals. Reasonable: 0.05 to 2.
        nodes: the members that get each announcement. Reasonable: 1 to 5.
        rounds: the intervals in which each holder announces an id. With `nodes` x `rounds` >= 5 less than 1 % of the
            members that push missed are missed again. Reasonable: 1 to 5.
        grace_s: between an announcement and the pull, so that the rumor may come by itself; some one-way latencies, and
            less than `interval_s`.
        pull_timeout_s: the timeout of a pull's first tries; a few round trips.
        compare_interval_s: between comparisons at rest; after news they start at 2 x `interval_s` and double. A rumor
            that all else missed, by a partition for example, takes some of these intervals. Reasonable: 1 to 60.
        settle_s: rumors that came, or expire, within this time aren't compared; longer than most rumors take to reach
            all members.
        catch_up_interval_s: replaces `interval_s` and `compare_interval_s`, and four of it cap `grace_s`, after a rumor
            had to be pulled: for 25 x `catch_up_interval_s` + 4 x `grace_s`. 0 turns this off. It suits a `Push` that
            reaches all members unless messages are lost; a random one needs some pulls at all times.
        retention_s: the time to live; a late joiner gets younger rumors. Reasonable: 10 to 3600.
        most_seen: recorded ids, of all groups.
        most_bytes: bytes of the payloads held for each group.
        most_wanted: simultaneous pulls.
        most_tracked: rumors of this node whose spread is tracked.
    """

    interval_s: _Seconds = 0.2
    nodes: _Count = 3
    rounds: _Count = 4
    grace_s: float = 0.02
    pull_timeout_s: _Seconds = 0.06
    compare_interval_s: _Seconds = 2.0
    settle_s: _Seconds = 1.0
    catch_up_interval_s: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    retention_s: _Seconds = 60.0
    most_seen: _Count = 200_000
    most_bytes: _Count = 1 << 26
    most_wanted: _Count = 4096
    most_tracked: _Count = 1024


def settings_for(profile: Profile) -> GossipSettings:
    """Return the settings for a profile: all times follow from its `gossip_interval_s`."""
    interval_s = profile.gossip_interval_s
    return GossipSettings(
        interval_s=interval_s,
        nodes=profile.gossip_nodes,
        grace_s=interval_s / 10,
        pull_timeout_s=0.3 * interval_s,
        compare_interval_s=10 * interval_s,
        settle_s=5 * interval_s,
    )


class GossipCounts(msgspec.Struct):
    """Counts of rumors at one node.

    Attributes:
        sent: started here.
        delivered: delivered here.
        duplicates: copies of seen rumors.
        pulled: received by a pull.
        expired: copies past the time to live.
        refused: copies so old that they may have been seen and forgotten.
        unknown_group: copies for unknown groups.
        comparisons: comparisons begun here.
        differences: comparisons that found a difference, here, begun here or elsewhere.
        put: entries written here.
        invalid: entries that no correct node writes.
        dropped: entries over the bounds of a map.
    """

    sent: int = 0
    delivered: int = 0
    duplicates: int = 0
    pulled: int = 0
    expired: int = 0
    refused: int = 0
    unknown_group: int = 0
    comparisons: int = 0
    differences: int = 0
    put: int = 0
    invalid: int = 0
    dropped: int = 0
