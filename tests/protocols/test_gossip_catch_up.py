"""The shorter intervals of a node for a while after a rumor had to be pulled."""

from __future__ import annotations

from random import Random

import pytest

from trionet.protocols.effects import Send
from trionet.protocols.gossip import GossipProtocol
from trionet.protocols.gossip_messages import ID_BYTES, Ihave, Rumor, Want
from trionet.protocols.gossip_settings import GossipSettings

_GRACE_S = 1.0
_INTERVAL_S = 0.1
_PULLED_AT = 2.2


def _id(number: int) -> bytes:
    return number.to_bytes(ID_BYTES, "big")


def _core(catch_up_interval_s: float) -> GossipProtocol:
    core = GossipProtocol("n0", Random(1), GossipSettings(grace_s=_GRACE_S, catch_up_interval_s=catch_up_interval_s))
    core.set_group("g", ("n0", "n1", "n2"), now=0.0)
    return core


def _patience_s(core: GossipProtocol, rumor_id: bytes, announced_at: float) -> float:
    """Return how long after an announcement the rumor is asked for."""
    core.receive("n1", Ihave("g", rumor_id), announced_at)
    while True:
        now = core.next_deadline()
        for effect in core.on_timer(now):
            if isinstance(effect, Send) and isinstance(effect.message, Want) and rumor_id in effect.message.ids:
                return now - announced_at


def _pull_one(core: GossipProtocol) -> None:
    assert _patience_s(core, _id(1), 1.0) == pytest.approx(_GRACE_S)
    core.receive("n1", Rumor("g", _id(1), "n1", 5, 1, b"news"), _PULLED_AT)


def test_a_node_that_had_to_pull_a_rumor_pulls_the_next_one_sooner() -> None:
    core = _core(_INTERVAL_S)
    _pull_one(core)
    assert _patience_s(core, _id(2), _PULLED_AT + 0.1) == pytest.approx(4 * _INTERVAL_S)


def test_catching_up_lasts_for_25_of_its_intervals_and_four_graces() -> None:
    for late_s, patience_s in ((6.4, 4 * _INTERVAL_S), (6.6, _GRACE_S)):
        core = _core(_INTERVAL_S)
        _pull_one(core)
        while core.next_deadline() < _PULLED_AT + late_s:
            core.on_timer(core.next_deadline())
        assert _patience_s(core, _id(2), _PULLED_AT + late_s) == pytest.approx(patience_s)


def test_no_node_catches_up_unless_it_is_set() -> None:
    core = _core(0.0)
    _pull_one(core)
    assert _patience_s(core, _id(2), _PULLED_AT + 0.1) == pytest.approx(_GRACE_S)
