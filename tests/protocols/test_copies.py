"""The copies of a rumor, as each holder counts them: in the rumor itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.protocols.gossip_meshes import Mesh
from trionet.protocols.push import RandomPush

if TYPE_CHECKING:
    from trionet.protocols.rumors import Held


def held_by(mesh: Mesh, rumor_id: bytes, gid: str = "g") -> dict[str, Held]:
    found = {name: core.tracking.held(gid, rumor_id) for name, core in mesh.cores.items()}
    return {name: held for name, held in found.items() if held is not None}


@pytest.mark.parametrize("seed", range(5))
def test_the_copies_at_all_holders_are_the_first_ones_and_the_duplicates(seed: int) -> None:
    mesh = Mesh(seed, 30, push=RandomPush)
    rumor = mesh.send("n3")
    mesh.run(5)
    held = held_by(mesh, rumor)
    duplicates = sum(core.counts.duplicates for core in mesh.cores.values())
    assert len(held) == 30
    assert duplicates > 0
    assert sum(one.copies for one in held.values()) == 29 + duplicates
    assert held["n3"].source == ""
    assert all(one.copies >= 1 for name, one in held.items() if name != "n3")


@pytest.mark.parametrize("seed", range(5))
def test_the_sources_make_a_tree_that_leads_back_to_the_origin(seed: int) -> None:
    mesh = Mesh(seed, 30)
    rumor = mesh.send("n3")
    mesh.run(5)
    held = held_by(mesh, rumor)
    for name in held:
        path = [name]
        while held[path[-1]].source:
            path.append(held[path[-1]].source)
            assert len(path) <= 30, path
        assert path[-1] == "n3"


def test_what_was_requested_is_told_from_what_came_by_itself() -> None:
    pulled = 0
    for seed in range(5):
        mesh = Mesh(seed, 30)
        rumor = mesh.send("n3")
        mesh.run(5)
        held = held_by(mesh, rumor).values()
        counted = sum(core.counts.pulled for core in mesh.cores.values())
        assert sum(one.is_pulled for one in held) == counted
        pulled += counted
    assert pulled > 0


def test_an_expired_rumor_is_held_no_more_and_its_copies_are_not_counted() -> None:
    mesh = Mesh(1, 3)
    rumor = mesh.send("n0")
    mesh.run(200)
    assert held_by(mesh, rumor) == {}
    tracking = mesh.cores["n0"].tracking
    tracking.note_copy("g", rumor, "n1")
    tracking.note_copy("nowhere", b"x", "n1")
    assert tracking.held("nowhere", rumor) is None
    assert tracking.latest(10) == []


def test_entries_are_no_rumors() -> None:
    mesh = Mesh(1, 3)
    entry = mesh.put("n0", "key", b"value")
    rumor = mesh.send("n1")
    mesh.run(1)
    tracking = mesh.cores["n2"].tracking
    assert tracking.held("g", entry.id) is None
    assert [held.id for held in tracking.latest(10)] == [rumor]


def test_the_latest_rumors_are_those_of_all_groups_the_latest_first() -> None:
    mesh = Mesh(1, 3, gids=("g", "h"))
    sent = []
    for gid in ("g", "h", "g", "h"):
        sent.append(mesh.send("n0", gid))
        mesh.run(0.5)
    assert [held.id for held in mesh.cores["n0"].tracking.latest(3)] == [*reversed(sent[1:])]
