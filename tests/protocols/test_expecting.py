"""Pings that are expected: whoever falls silent is probed by the one that it has pinged."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.protocols.swim_clusters import Members, sent, swim
from trionet.profiles import LAN
from trionet.protocols.effects import Send
from trionet.protocols.expecting import MOST_INTERVALS
from trionet.protocols.swim_events import MemberChange
from trionet.protocols.swim_messages import Ack, Ping
from trionet.protocols.swim_settings import SwimOptions

if TYPE_CHECKING:
    from trionet.protocols.swim import Swim

NAMES = [f"m{number}" for number in range(60)]
DATAGRAMS_ONLY = SwimOptions(is_falling_back=False)


def _pinged_at(core: Swim, name: str, until: float) -> list[float]:
    """Return when a core pings `name` by a probe, in time."""
    times: list[float] = []
    while (now := core.next_deadline()) < until:
        pings = [one for one in core.on_timer(now) if isinstance(one, Send) and isinstance(one.message, Ping)]
        times += [now for one in pings if one.to == name]
    return times


@pytest.mark.parametrize("intervals", [1, 2])
def test_a_member_whose_promised_ping_does_not_come_is_probed(intervals: int) -> None:
    core = swim("a", *NAMES)
    core.receive("m7", Ping(1, again=intervals), 1.0)
    due = 1.0 + intervals * LAN.probe_interval_s
    first, *_ = _pinged_at(core, "m7", due + 1)
    assert due < first < due + LAN.probe_timeout_s / 2


def test_a_member_that_keeps_its_promise_is_not_probed_for_it() -> None:
    core = swim("a", *NAMES)
    found: list[float] = []
    for second in range(1, 8):
        core.receive("m7", Ping(second, again=1), float(second))
        found += _pinged_at(core, "m7", second + 1.0)
    assert len(found) <= 3  # of one ordinary probe, which nobody answers


@pytest.mark.parametrize("intervals", [0, -1, MOST_INTERVALS + 1, 1 << 60])
def test_a_promise_out_of_bounds_is_not_believed(intervals: int) -> None:
    core, other = swim("a", *NAMES), swim("a", *NAMES)
    core.receive("m7", Ping(1, again=intervals), 1.0)
    assert core.next_deadline() == other.next_deadline()
    assert _pinged_at(core, "m7", 3.0) == _pinged_at(other, "m7", 3.0)


def test_the_promises_of_strangers_and_of_many_members_cost_nothing() -> None:
    core = swim("a", *NAMES)
    for name in [*NAMES, *(f"stranger{number}" for number in range(50))]:
        core.receive(name, Ping(1, again=1), 1.0)
    pinged: set[str] = set()
    while (now := core.next_deadline()) < 2.6:
        pinged |= {one.to for one in core.on_timer(now) if isinstance(one, Send) and isinstance(one.message, Ping)}
    assert len(pinged) <= 4 + 3  # ordinary probes
    assert not [name for name in pinged if name.startswith("stranger")]


def test_a_node_that_stalled_waits_for_the_pings_that_it_has_not_read() -> None:
    core = swim("a", *NAMES)
    core.receive("m7", Ping(1, again=1), 1.0)
    late = 1.0 + LAN.probe_interval_s + LAN.probe_timeout_s
    assert "m7" not in [one.to for one in core.on_timer(late) if isinstance(one, Send)]


def test_a_node_that_leaves_expects_nothing() -> None:
    core = swim("a", *NAMES)
    core.receive("m7", Ping(1, again=1), 1.0)
    core.leave(1.5)
    assert not [one for one in sent(core.on_timer(2.5)) if isinstance(one, Ping)]


@pytest.mark.parametrize("score", [0, 1, 5])
def test_a_node_promises_its_next_ping_when_it_will_send_it(score: int) -> None:
    core = swim("a", "b")  # pinged by all probes, so that each promise can be compared
    core._context.awareness.score = score  # noqa: SLF001
    promised: list[tuple[float, float]] = []
    seen: list[float] = []
    while (now := core.next_deadline()) < 20 * (score + 1):
        for ping in sent(core.on_timer(now), to="b"):
            if isinstance(ping, Ping):
                seen.append(now)
                core.receive("b", Ack(ping.seq, core.view), now)
                core._context.awareness.score = score  # noqa: SLF001
                promised += [(now, now + ping.again * LAN.probe_interval_s)] if ping.again else []
    assert promised
    for made, due in promised:
        if due < seen[-1]:
            assert any(due - 0.01 < when < due + LAN.probe_timeout_s / 3 for when in seen if when > made)


def test_a_failure_is_found_within_an_interval_by_one_of_both_neighbours() -> None:
    members = Members(3, 50, options=DATAGRAMS_ONLY)
    members.cluster.run(30)
    for number in (4, 17, 33):
        name, began = members.names[number], members.cluster.now
        members.cluster.crash(name)
        members.cluster.run(began + 12)
        suspected = [when - began for when, _, _ in members.order.of(MemberChange.SUSPECTED, name)]
        assert min(suspected) < 2 * LAN.probe_interval_s + LAN.probe_timeout_s
