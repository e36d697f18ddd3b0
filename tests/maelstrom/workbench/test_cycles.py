from __future__ import annotations

import random
from itertools import pairwise

import pytest

from trionet.maelstrom.workbench.checkers.elle_cycles import (
    Cycle,
    Edge,
    Graph,
    cycle_name,
    find_cycles,
    realtime_edges,
    strong_components,
)

KINDS = ("ww", "wr", "rw", "process", "realtime")


def graph_of(*edges: tuple[int, str, int]) -> Graph:
    graph = Graph()
    for source, kind, target in edges:
        graph.add(source, kind, target)
    return graph


def names_in(graph: Graph, wanted: set[str] | None = None) -> set[str]:
    return {cycle.name for cycle in find_cycles(graph, wanted)[0]}


@pytest.mark.parametrize(
    ("kinds", "name"),
    [
        (("ww", "ww"), "G0"),
        (("ww", "wr"), "G1c"),
        (("ww", "rw"), "G-single"),
        (("wr", "wr", "rw"), "G-single"),
        (("rw", "ww", "rw", "wr"), "G-nonadjacent"),
        (("rw", "rw"), "G2"),
        (("ww", "process"), "G0-process"),
        (("wr", "realtime"), "G1c-realtime"),
        (("wr", "process", "realtime"), "G1c-realtime"),
        (("rw", "realtime"), "G-single-realtime"),
        (("rw", "rw", "process"), "G2-process"),
    ],
)
def test_a_cycle_is_found_and_named(kinds: tuple[str, ...], name: str) -> None:
    graph = graph_of(*((at, kind, (at + 1) % len(kinds)) for at, kind in enumerate(kinds)))
    cycles, is_complete = find_cycles(graph)
    assert is_complete
    assert {cycle.name for cycle in cycles} == {name}
    edges = cycles[0].edges
    assert all(one.target == other.source for one, other in pairwise([*edges, edges[0]]))


def test_no_cycle_no_name() -> None:
    assert find_cycles(graph_of((1, "ww", 2), (2, "wr", 3), (1, "rw", 3))) == ([], True)


def test_a_search_that_is_late_is_reported_as_incomplete() -> None:
    assert find_cycles(graph_of((1, "ww", 2), (2, "ww", 1)), is_late=lambda: True) == ([], False)


def simple_cycles(edges: list[Edge]) -> set[Cycle]:
    """Return all cycles that pass no node twice, by trying every way."""
    found = set()

    def go(way: list[Edge], start: int) -> None:
        for edge in edges:
            if edge.source != way[-1].target:
                continue
            if edge.target == start:
                cycle = (*way, edge)
                found.add(Cycle(cycle_name(cycle), cycle))
            elif edge.target > start and all(edge.target != each.source for each in way):
                go([*way, edge], start)

    for edge in edges:
        if edge.target > edge.source:
            go([edge], edge.source)
    return found


def strength(name: str) -> tuple[int, int]:
    base, _, suffix = name.replace("G-", "G_").partition("-")
    names = ["G0", "G1c", "G_single", "G_nonadjacent", "G2"]
    return names.index(base), ["", "process", "realtime"].index(suffix)


@pytest.mark.slow
def test_it_agrees_with_trying_every_way() -> None:
    for seed in range(1500):
        dice = random.Random(seed)
        count = dice.randint(2, 6)
        drawn = {
            (dice.randrange(count), dice.choice(KINDS[: dice.choice((3, 5))]), dice.randrange(count))
            for _ in range(dice.randint(2, 11))
        }
        edges = [Edge(*edge) for edge in sorted(drawn) if edge[0] != edge[2]]
        data = {"ww", "wr", "rw"}  # processes and real time alone make no cycles
        all_cycles = {cycle for cycle in simple_cycles(edges) if data & {edge.kind for edge in cycle.edges}}
        found, _ = find_cycles(graph_of(*(edge[:3] for edge in edges)))
        # Each cycle that is found exists, and has the right name.
        for cycle in found:
            assert cycle.name == cycle_name(cycle.edges), seed
            assert all(one.target == two.source for one, two in pairwise([*cycle.edges, cycle.edges[0]])), seed
            assert len({edge.source for edge in cycle.edges}) == len(cycle.edges), seed
            assert set(cycle.edges) <= set(edges), seed
        # For each that exists, one is found that is as bad: a model that forbids it forbids the found one.
        names = {cycle.name for cycle in found}
        for cycle in all_cycles:
            want = strength(cycle.name)
            assert any(all(a <= b for a, b in zip(strength(n), want, strict=True)) for n in names), (seed, cycle.name)


def test_components_are_those_of_reachability_both_ways() -> None:
    for seed in range(200):
        dice = random.Random(seed)
        graph = graph_of(*((dice.randrange(8), "ww", dice.randrange(8)) for _ in range(12)))
        reach = {node: reachable(graph, node) for node in range(8)}
        expected = {
            frozenset(other for other in range(8) if other in reach[node] and node in reach[other]) | {node}
            for node in range(8)
        }
        found = {frozenset(component) for component in strong_components(graph, ("ww",))}
        assert found == {component for component in expected if len(component) > 1}, seed


def reachable(graph: Graph, start: int) -> set[int]:
    seen: set[int] = set()
    todo = [start]
    while todo:
        for edge in graph.edges_from(todo.pop(), ("ww",)):
            if edge.target not in seen:
                seen.add(edge.target)
                todo.append(edge.target)
    return seen


def test_real_time_orders_only_operations_that_did_not_overlap() -> None:
    for seed in range(100):
        dice = random.Random(seed)
        moments = dice.sample(range(100), 20)
        pairs = [sorted(moments[2 * n : 2 * n + 2]) for n in range(10)]
        spans = [(n, begin, end) for n, (begin, end) in enumerate(pairs)]
        graph = graph_of(*((one, "ww", other) for one, other in realtime_edges(spans)))
        for one, _, end in spans:
            assert reachable(graph, one) == {other for other, begin, _ in spans if begin > end}, seed
