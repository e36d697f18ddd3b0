"""Cycles of dependencies between transactions, and their names.

An edge is a reason why one transaction comes before another: ``ww`` it wrote a version that the other overwrote,
``wr`` the other read its write, ``rw`` it read a version that the other overwrote; ``process`` the same process ran it
before, ``realtime`` it had ended when the other began. A cycle is

- ``G0`` if all edges are ww,
- ``G1c`` if they are ww and wr,
- ``G-single`` if exactly one is rw,
- ``G-nonadjacent`` if several are rw, no two of them in a row,
- ``G2`` if it has any other number of rw,

with ``-process`` or ``-realtime`` added if it has such edges. Every cycle has one of these names. If there is a cycle
of a class, the search finds one of that class or a stronger one.

Source: Adya 1999, section 4; Elle (Kingsbury, Alvaro 2020), ``elle.txn``.
"""

from __future__ import annotations

from collections import defaultdict, deque
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Sequence

__all__ = ["KINDS", "Cycle", "Edge", "Graph", "cycle_name", "find_cycles", "realtime_edges", "strong_components"]

_Node = Any

KINDS: Final = ("ww", "wr", "rw", "process", "realtime")
"""All kinds of edges."""

_CLASSES: Final = (
    ("G0", ("ww",), "ww"),
    ("G1c", ("ww", "wr"), "wr"),
    ("G-single", ("ww", "wr", "rw"), "rw"),
    ("G-nonadjacent", ("ww", "wr", "rw"), "rw"),
    ("G2", ("ww", "wr", "rw"), "rw"),
)
"""For each class of cycles, the kinds of its edges, and a kind that it always has."""

_ORDERS: Final = (("", ()), ("-process", ("process",)), ("-realtime", ("process", "realtime")))
_SHOWN: Final = 4


class Edge(NamedTuple):
    """A dependency: `kind` is ``ww``, ``wr``, ``rw``, ``process`` or ``realtime``; `why` is its reason in words."""

    source: _Node
    kind: str
    target: _Node
    why: str = ""


class Cycle(NamedTuple):
    """A cycle, with its name; the target of each edge is the source of the next, the first after the last."""

    name: str
    edges: tuple[Edge, ...]

    def way(self, prefix: str = "") -> str:
        """Return its nodes, each with `prefix`, and the kinds of its edges."""
        steps = [f"{prefix}{edge.source} -{edge.kind}->" for edge in self.edges]
        return f"{' '.join(steps)} {prefix}{self.edges[0].source}"


class Graph:
    """Edges of several kinds between transactions.

    Attributes:
        out: by source and target, the edges by kind.
        is_empty: whether no edge was added, edges from a node to itself included.
    """

    def __init__(self) -> None:
        self.out: defaultdict[_Node, dict[_Node, dict[str, Edge]]] = defaultdict(dict)
        self.is_empty: bool = True

    def add(self, source: _Node, kind: str, target: _Node, why: str = "") -> None:
        """Add an edge, unless it leads from a node to itself."""
        self.is_empty = False
        if source != target:
            self.out[source].setdefault(target, {}).setdefault(kind, Edge(source, kind, target, why))

    def edges_from(self, node: _Node, kinds: Sequence[str]) -> Iterable[Edge]:
        """Return the edges of these kinds from a node, one of each kind for a target."""
        for by_kind in self.out.get(node, {}).values():
            for kind in kinds:
                if kind in by_kind:
                    yield by_kind[kind]


def strong_components(graph: Graph, kinds: Sequence[str]) -> list[list[_Node]]:
    """Return the strongly connected components of more than one node, by edges of these kinds (Tarjan 1972)."""
    index: dict[_Node, int] = {}
    low: dict[_Node, int] = {}
    on_stack: set[_Node] = set()
    stack: list[_Node] = []
    components = []
    for root in list(graph.out):
        if root in index:
            continue
        path: list[tuple[_Node, Any]] = []
        entering: list[_Node] = [root]
        while entering or path:
            if entering:
                node = entering.pop()
                index[node] = low[node] = len(index)
                stack.append(node)
                on_stack.add(node)
                path.append((node, iter(list(graph.edges_from(node, kinds)))))
            node, edges = path[-1]
            for edge in edges:
                if edge.target not in index:
                    entering.append(edge.target)
                    break
                if edge.target in on_stack:
                    low[node] = min(low[node], index[edge.target])
            else:
                path.pop()
                if path:
                    low[path[-1][0]] = min(low[path[-1][0]], low[node])
                if low[node] == index[node]:
                    components.append(_unwind(stack, on_stack, node))
    return [component for component in components if len(component) > 1]


def _unwind(stack: list[_Node], on_stack: set[_Node], until: _Node) -> list[_Node]:
    component = []
    while True:
        node = stack.pop()
        on_stack.discard(node)
        component.append(node)
        if node == until:
            return component


def _path(
    graph: Graph, first: Edge, inside: Container[_Node], kinds: Sequence[str], *, is_nonadjacent: bool
) -> tuple[Edge, ...] | None:
    """Return the shortest cycle that begins with an edge.

    Args:
        graph: the dependencies.
        first: the edge; an rw if `is_nonadjacent`.
        inside: the nodes that the cycle may pass.
        kinds: the kinds of the other edges.
        is_nonadjacent: whether no two rw edges may follow each other.
    """
    start = first.target, is_nonadjacent  # the current node, and whether the next edge may be no rw
    came: dict[tuple[_Node, bool], tuple[tuple[_Node, bool], Edge] | None] = {start: None}
    queue = deque(came)
    while queue:
        here = queue.popleft()
        for edge in graph.edges_from(here[0], kinds):
            is_anti = is_nonadjacent and edge.kind == "rw"
            there = edge.target, is_anti
            if (is_anti and here[1]) or there in came or edge.target not in inside:
                continue
            came[there] = here, edge
            if edge.target != first.source:
                queue.append(there)
            elif not is_anti:
                return (first, *_trace(came, there))
    return None


def _trace(came: dict[Any, Any], there: Any) -> list[Edge]:
    edges = []
    while came[there] is not None:
        there, edge = came[there]
        edges.append(edge)
    return edges[::-1]


def cycle_name(edges: Iterable[Edge]) -> str:
    """Return the name of a cycle."""
    kinds = [edge.kind for edge in edges]
    anti = kinds.count("rw")
    suffix = "-realtime" if "realtime" in kinds else "-process" if "process" in kinds else ""
    if anti == 0:
        return ("G1c" if "wr" in kinds else "G0") + suffix
    if anti == 1:
        return "G-single" + suffix
    is_adjacent = any(one == other == "rw" for one, other in zip(kinds, kinds[1:] + kinds[:1], strict=True))
    return ("G2" if is_adjacent else "G-nonadjacent") + suffix


def find_cycles(
    graph: Graph, wanted: Container[str] | None = None, is_late: Callable[[], bool] = lambda: False
) -> tuple[list[Cycle], bool]:
    """Return cycles, some of each name, and whether the search was complete.

    Args:
        graph: the dependencies.
        wanted: the names to look for; None for all.
        is_late: returns whether the time is over.
    """
    found: dict[str, list[Cycle]] = {}
    is_complete = all(
        _search(graph, name + suffix, (*kinds, *orders), first, found, is_late)
        for suffix, orders in _ORDERS
        for name, kinds, first in _CLASSES
        if wanted is None or name + suffix in wanted
    )
    return [cycle for cycles in found.values() for cycle in cycles], is_complete


def _search(
    graph: Graph,
    name: str,
    kinds: Sequence[str],
    first: str,
    found: dict[str, list[Cycle]],
    is_late: Callable[[], bool],
) -> bool:
    """Look for cycles of one class, through edges of the kind `first`; return whether the time was sufficient."""
    rest = tuple(kind for kind in kinds if kind != "rw") if name.startswith("G-single") else kinds
    is_nonadjacent = name.startswith("G-nonadjacent")
    for component in strong_components(graph, kinds):
        inside = set(component)
        for edge in (edge for node in component for edge in graph.edges_from(node, (first,)) if edge.target in inside):
            if is_late():
                return False
            edges = _path(graph, edge, inside, rest, is_nonadjacent=is_nonadjacent)
            if edges is not None:
                cycle = Cycle(cycle_name(edges), edges)
                cycles = found.setdefault(cycle.name, [])
                if cycle not in cycles and len(cycles) < _SHOWN:
                    cycles.append(cycle)
                if cycle.name == name:
                    break  # one for each component is enough
    return True


def realtime_edges(spans: Iterable[tuple[_Node, int, int | None]]) -> list[tuple[_Node, _Node]]:
    """Return pairs of nodes of which one ended before the other began, without those that follow from others.

    Args:
        spans: (node, begin, end); an end of None means that it never ended.
    """
    events: list[tuple[int, bool, _Node]] = []
    for node, begin, end in spans:
        events.append((begin, False, node))
        if end is not None:
            events.append((end, True, node))
    events.sort(key=lambda event: event[:2])
    frontier: set[_Node] = set()
    before: dict[_Node, frozenset[_Node]] = {}
    edges = []
    for _, is_end, node in events:
        if is_end:
            frontier -= before[node]
            frontier.add(node)
        else:
            before[node] = frozenset(frontier)
            edges += [(earlier, node) for earlier in sorted(frontier)]
    return edges
