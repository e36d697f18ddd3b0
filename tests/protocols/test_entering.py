"""How a node enters a large cluster: by the view of one seed, of which it spreads nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.protocols.swim_clusters import Members, alive, sent, swim
from trionet.protocols.statements import Statement
from trionet.protocols.swim_messages import Sync, SyncDigest

if TYPE_CHECKING:
    from trionet.protocols.effects import Effect
    from trionet.protocols.swim import Swim

MANY = 200
EVERY_BUCKET = tuple(range(64))


def view(first: int, last: int, *, is_whole: bool = True) -> Sync:
    """Return a seed's view, or a piece of it: the members from `first` to before `last`."""
    return Sync(tuple(alive(f"m{number}") for number in range(first, last)), EVERY_BUCKET if is_whole else ())


def entering(*before: Statement) -> Swim:
    """Return a core that has asked the seed ``m1``, and knows some others already."""
    core = swim("a")
    core.join(["m1"], 0.0)
    for statement in before:
        core.receive(statement.name, statement, 0.05)
    return core


def join(members: Members, name: str, *seeds: str) -> None:
    """Have a simulated member join by `seeds`."""

    def joined(core: Swim, now: float) -> list[Effect]:
        return core.join(seeds, now)

    members.act(name, joined)


def spread(core: Swim) -> set[str]:
    """Return about whom a core tells others."""
    told: set[str] = set()
    while news := core.piggyback("m1", 1400, 0.5):
        told.update(one.name for one in news if isinstance(one, Statement))
    return told


def test_who_enters_a_large_cluster_spreads_itself_and_nothing_of_the_view() -> None:
    core = entering()
    core.receive("m1", view(1, MANY), 0.1)
    assert core.present_count == MANY
    assert spread(core) == {"a"}


def test_a_view_in_pieces_is_no_news_either() -> None:
    core = entering()
    effects = core.receive("m1", view(1, 150, is_whole=False), 0.1)
    effects += core.receive("m1", view(150, MANY), 0.1)
    assert not [one for one in sent(effects) if isinstance(one, SyncDigest)], "it is not asked again"
    assert core.present_count == MANY
    assert spread(core) == {"a"}


def test_what_comes_after_the_view_is_spread() -> None:
    core = entering()
    core.receive("m1", view(1, MANY), 0.1)
    core.receive("m1", view(MANY, MANY + 2), 0.2)
    core.receive("m7", alive("m300"), 0.3)
    assert spread(core) == {"a", f"m{MANY}", f"m{MANY + 1}", "m300"}


@pytest.mark.parametrize(("count", "before"), [(100, ()), (MANY, (alive("z"),))])
def test_a_small_view_and_one_that_comes_to_who_knows_others_are_spread(
    count: int, before: tuple[Statement, ...]
) -> None:
    core = entering(*before)
    effects = core.receive("m1", view(1, count), 0.1)
    assert not [one for one in sent(effects) if isinstance(one, SyncDigest)], "it is not asked again"
    assert {f"m{number}" for number in range(1, count)} <= spread(core)


def test_a_seed_that_was_unknown_is_asked_again_for_what_was_learnt_since() -> None:
    core = swim("a")
    core.join(["m1", "z1"], 0.0)
    core.receive("m1", view(1, MANY), 0.1)
    other = Sync((alive("z1"), alive("z2")), EVERY_BUCKET)
    asked = [one for one in sent(core.receive("z1", other, 0.2), "z1") if isinstance(one, SyncDigest)]
    assert len(asked) == 1
    assert not [one for one in sent(core.receive("z1", other, 0.3), "z1") if isinstance(one, SyncDigest)], "once"


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_a_node_with_seeds_of_two_clusters_makes_them_one(seed: int) -> None:
    members = Members(seed, 156, are_known=False)
    one, two, between = members.names[:135], members.names[135:155], members.names[155]
    for first, *others in (one, two):
        for name in others:
            join(members, name, first)
    members.wait(20, lambda: all(members.swims[name].present_count == 135 for name in one))
    members.wait(20, lambda: all(members.swims[name].present_count == 20 for name in two))
    join(members, between, one[0], two[0])
    members.wait(20, members.is_whole)


@pytest.mark.slow
def test_of_many_that_start_one_after_the_other_each_is_told_of_each_few_times() -> None:
    members = Members(1, 1, are_known=False)
    count, cluster = 250, members.cluster

    def start(name: str) -> None:
        members.start(name)
        join(members, name, members.names[0])

    for number in range(1, count):
        cluster.at(number / 10, start, f"10.0.1.{number}:8080")
    cluster.run(count / 10)
    members.wait(10, members.is_whole)
    sent_in_all = sum(member.mux.traffic.sent[Statement] for member in cluster.members.values())
    assert sent_in_all <= 7.5 * count**2
