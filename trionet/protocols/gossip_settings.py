"""The timing and the bounds of gossip, and what it counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec

if TYPE_CHECKING:
    from trionet.profiles import Profile

__all__ = ["GossipCounts", "GossipSettings", "settings_for"]

_Seconds = Annotated[float, msgspec.Meta(gt=0)]
_Count = Annotated[int, msgspec.Meta(ge=1)]


class GossipSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How often, how long, how much.

    Attributes:
        interval_s: between two announcements of ids, while there is something new; what is new after a silence is
            announced after 0.1 to 0.3 of it. Sane: 0.05 to 2.
        nodes: how many members each announcement goes to. Sane: 1 to 5.
        rounds: for how many intervals an id is announced by each holder. `nodes` x `rounds` of 5 and more leaves less
            than one in a hundred of those that push missed. Sane: 1 to 5.
        grace_s: how long after an announcement the payload may still come by itself, before it is pulled; some one-way
            latencies, and less than `interval_s`.
        pull_timeout_s: how long the first answer to a pull is waited for; a few round trips.
        compare_interval_s: between two comparisons of all that is held with one member, at rest; after news it begins
            with 2 x `interval_s` and doubles. What all else missed, a partition for one, takes some of these. Sane: 1
            to 60.
        settle_s: what came or ends within this time isn't compared; longer than most rumors take to all members.
        catch_up_interval_s: replaces `interval_s` and `compare_interval_s`, and four of it cap `grace_s`, after a rumor
            had to be pulled: for 25 x `catch_up_interval_s` + 4 x `grace_s`. 0 turns this off. It suits a `Push` that
            reaches all members unless messages are lost; a random one needs some pulls at all times.
        retention_s: how old a rumor may become; a late joiner gets what is younger. Sane: 10 to 3600.
        most_seen: ids in the record, for all groups.
        most_bytes: payloads held, for each group.
        most_wanted: rumors that are being pulled at a time.
        most_tracked: rumors of this node whose spread is known.
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
    """Return the settings that go with a profile: all times follow its `gossip_interval_s`."""
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
    """What happened to rumors at one node.

    Attributes:
        sent: started here.
        delivered: told to the member here.
        duplicates: copies of what had been seen.
        pulled: asked for, and then come.
        expired: copies over the time to live.
        refused: copies so old that they may have been seen and forgotten.
        unknown_group: copies for groups that this node doesn't know.
        comparisons: begun.
        differences: comparisons, begun here or elsewhere, that found something.
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
