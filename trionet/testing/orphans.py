"""Asserts that no call has outlived its caller's scope.

There are two signs of such a call: its caller reported it, because the handler did not confirm its end in time; or a
handler runs after the test's own calls.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trionet.simulation import Simulation

from .convergence import nodes_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from trionet import CurrentCall, Node, NodeAddress, OrphanedCall

__all__ = ["assert_no_orphans"]


def assert_no_orphans(nodes: Simulation | Node | Iterable[Node]) -> None:
    """Fail if a call was reported as an orphan, or if a handler runs; for the end of a test, after its own calls.

    Args:
        nodes: a simulation, whose trace covers all runs of its nodes; or nodes.

    Raises:
        MalformedRequest: it is neither.
        AssertionError: there are such calls; the text names each of them with its nodes.
    """
    __tracebackhide__ = True
    found = _in_simulation(nodes) if isinstance(nodes, Simulation) else _in_nodes(nodes)
    if found:
        raise AssertionError("\n  ".join(["calls have outlived their callers:", *found]))


def _in_simulation(sim: Simulation) -> list[str]:
    trace = sim.trace
    if trace is None:
        return _in_nodes(sim.nodes)
    orphans = [
        f"{event.detail.partition(' ')[0]} on {event.peer}: {event.node} has cancelled it without a confirmation"
        for event in trace.select("state", what="OrphanedCall")
    ]
    return orphans + _running(sim.up, trace.name)


def _in_nodes(nodes: Node | Iterable[Node]) -> list[str]:
    nodes = nodes_of(nodes)
    orphans = [
        f"{_shown(call)} on {call.node}: {node.address} has cancelled it without a confirmation"
        for node in nodes
        for call in node.orphaned_calls()
    ]
    return orphans + _running(nodes, str)


def _running(nodes: Iterable[Node], name: Callable[[NodeAddress], str]) -> list[str]:
    return [
        f"{_shown(call)} on {name(node.address)}: it runs, called by {_name_of(call.caller, name)}"
        for node in nodes
        for call in node.running_calls()
    ]


def _shown(call: OrphanedCall | CurrentCall) -> str:
    return f"{call.gid}/{call.service}/{call.method}"


def _name_of(caller: NodeAddress | None, name: Callable[[NodeAddress], str]) -> str:
    return "a client" if caller is None else name(caller)
