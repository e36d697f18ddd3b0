"""The keys of a running node change, and all of its parts hear of it."""

from __future__ import annotations

import gc
import weakref

import pytest

from tests.security.keys import key_of, node_keys
from trionet.security.key_entries import KeyEntry, KeyFile
from trionet.security.key_statements import KeyState
from trionet.security.live_keys import LiveKeys
from trionet.security.node_keys import NodeKeys


class Part:
    def __init__(self, keys: LiveKeys) -> None:
        self.heard: list[NodeKeys] = []
        keys.watch(self.hear)

    def hear(self, keys: NodeKeys) -> None:
        self.heard.append(keys)


def test_a_part_hears_of_the_keys_that_are_there_and_of_each_change() -> None:
    red, blue = node_keys(1), node_keys(2)
    live = LiveKeys(red)
    early = Part(live)
    live.replace(blue)
    late = Part(live)
    assert early.heard == [red, blue]
    assert late.heard == [blue]
    assert live.now is blue


def test_a_node_without_keys_can_get_some() -> None:
    live = LiveKeys()
    part = Part(live)
    assert not live
    assert part.heard == []
    live.replace(node_keys())
    assert live
    assert len(part.heard) == 1


def test_no_part_is_kept_alive() -> None:
    live = LiveKeys(node_keys())
    part = weakref.ref(Part(live))
    gc.collect()
    assert part() is None
    live.replace(node_keys(2))


def test_the_cluster_does_not_change() -> None:
    live = LiveKeys(node_keys(1, "red"))
    with pytest.raises(ValueError, match="does"):
        live.replace(node_keys(1, "blue"))
    assert live.now is not None
    assert live.now.cluster == "red"


def test_a_retired_key_still_opens_until_it_is_forgotten_but_its_tokens_end() -> None:
    closing = KeyEntry.of(key_of(2), KeyState.RETIRED)
    keys = NodeKeys(KeyFile((KeyEntry.of(key_of(1)), closing)), "trionet")
    assert closing.id in keys.opening
    assert closing.id in keys.datagram_keys()
    assert keys.sealing.key_id == key_of(1).id
    assert closing.id in keys.retired
