"""A small cluster of key rings with disks, a network that loses and parts, and crashes between any two steps.

Nodes talk over links, which open only under a key that both sides hold. The membership that operators go by may be out
of date, in both directions: it may miss present members, and name crashed ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations
from typing import TYPE_CHECKING

from trionet.errors import PreconditionFailed
from trionet.security.key_entries import KeyEntry, KeyFile
from trionet.security.key_records import KeyRecords
from trionet.security.key_ring import KeyRing
from trionet.security.key_statements import KeyState
from trionet.security.keys import KEY_BYTES, ClusterKey
from trionet.security.rollout import STEPS, Rollout, Send

if TYPE_CHECKING:
    from random import Random

__all__ = ["Cluster", "Node", "new_key"]

Step = Callable[[], None]


def new_key(rng: Random) -> ClusterKey:
    return ClusterKey(rng.randbytes(KEY_BYTES))


class Node:
    """A node: its disk outlives its ring."""

    def __init__(self, name: str, records: KeyRecords, rollout: Rollout) -> None:
        self.name, self.disk, self.disk_rollout = name, records, rollout
        self.starts = 0
        self.is_up = False
        self.can_write = True
        self.ring: KeyRing = self.start()

    def start(self) -> KeyRing:
        self.starts += 1
        self.is_up = True
        self.ring = KeyRing(self.name, self.disk, life=self.starts, rollout=self.disk_rollout)
        return self.ring

    def write(self) -> None:
        if self.can_write and not self.ring.is_written:
            self.disk = KeyRecords.of(KeyFile.parse(self.ring.records().file().text()))
            self.ring.note_written(self.disk)


class Cluster:
    """Nodes and what may happen to them; each method is one step.

    Attributes:
        retired: the keys of whose retirement an operator has been told.
    """

    def __init__(self, rng: Random, count: int = 5, rollout: Rollout = STEPS[-1]) -> None:
        self.rng = rng
        self.first = new_key(rng)
        records = KeyRecords((KeyEntry.of(self.first),))
        self.nodes = [Node(f"node{index}", records, rollout) for index in range(count)]
        self.away = set[str]()
        self.retired = set[bytes]()
        self.done = {"install": 0, "use": 0, "retire": 0, "forget": 0, "refused": 0, "step": 0}
        self.loss = 0.2
        self.views = {node.name: {one.name for one in self.nodes} for node in self.nodes}
        for one, other in combinations(self.nodes, 2):  # all know of each other, as members do
            other.ring.merge_reports([one.ring.report()])
            one.ring.merge_reports([other.ring.report()])
        for node in self.nodes:
            node.write()

    # ------------------------------------------------------------------------------------------------------ the network

    def link_key(self, one: Node, other: Node) -> bytes | None:
        """Return the key of a link that `one` dials: the first that `other` holds."""
        return next((key_id for key_id in one.ring.keys.dialing if key_id in other.ring.keys.opening), None)

    def can_link(self, one: Node, other: Node) -> bool:
        """Return whether `one` can dial `other`: in plain, or under a key."""
        here, there = one.ring.rollout, other.ring.rollout
        if here.send is Send.PLAIN:
            return there.accepts(Send.PLAIN)
        return there.accepts(Send.SEALED) and self.link_key(one, other) is not None

    def is_sealed(self, one: Node, other: Node) -> bool:
        return one.ring.rollout.send is Send.SEALED and self.link_key(one, other) is not None

    def parted(self, one: Node, other: Node) -> bool:
        return (one.name in self.away) != (other.name in self.away)

    def steps_of_exchange(self, one: Node, other: Node) -> Iterator[Step]:
        """Yield the steps of what two nodes tell each other; each may be lost, and a crash may come between."""
        reports = list(one.ring.reports)
        statements = one.ring.keys.statements()
        yield lambda: _use(other.ring.keys.merge(statements))
        yield lambda: _use(other.ring.merge_reports(reports))
        if self.is_sealed(one, other):
            yield lambda: _use(other.ring.keys.take_material(one.ring.keys.material_for(other.ring.keys.wanted())))
        yield other.write
        yield lambda: _use(one.ring.merge_reports([other.ring.report()]))

    def exchange(self, one: Node, other: Node, *, crash: float = 0.0, loss: float = 0.0) -> bool:
        """Have two nodes talk; return whether they can."""
        if one is other or not (one.is_up and other.is_up):
            return False
        if self.parted(one, other) or not self.can_link(one, other):
            return False
        starts = (one.starts, other.starts)
        for step in self.steps_of_exchange(one, other):
            if self.rng.random() < crash:
                self.rng.choice((one, other)).is_up = False
            if not (one.is_up and other.is_up) or starts != (one.starts, other.starts):
                return False
            if self.rng.random() >= loss:
                step()
        return True

    # -------------------------------------------------------------------------------------------------------- the steps

    def present(self, node: Node) -> set[str]:
        """Return the present members, as `node` sees them."""
        return self.views[node.name] | {node.name}

    def look(self, node: Node) -> None:
        """Bring the view of `node` up to date, or nearly."""
        seen = {one.name for one in self.nodes if one.is_up and not self.parted(node, one)}
        if self.rng.random() < 0.1:
            seen.discard(self.rng.choice(self.nodes).name)
        self.views[node.name] = seen

    def operate(self, node: Node) -> None:
        """Have an operator try one step at `node`."""
        ring, rng = node.ring, self.rng
        what = rng.choice(["install", "use", "use", "retire", "retire"])
        ids = [one.key_id for one in ring.keys.statements()]
        try:
            if what == "install":
                if len(ring.keys.opening) < 4:
                    ring.keys.install(new_key(rng))
            elif what == "use":
                ring.use(rng.choice(ids), self.present(node))
            else:
                key_id = ring.retire(rng.choice(ids), self.present(node)).key_id
                node.write()
                if ring.is_written:  # else a crash may undo it, and the operator is not told that it is done
                    self.retired.add(key_id)
            self.done[what] += 1
        except PreconditionFailed:
            self.done["refused"] += 1

    def forget(self, node: Node) -> None:
        self.done["forget"] += len(node.ring.forget_retired(self.present(node)))

    def step(self, node: Node) -> None:
        """Have the next step of a rollout tried at `node`."""
        place = STEPS.index(node.ring.rollout)
        if place + 1 < len(STEPS):
            try:
                node.ring.step(STEPS[place + 1], self.present(node))
            except PreconditionFailed:
                self.done["refused"] += 1
            else:
                node.disk_rollout = node.ring.rollout
                self.done["step"] += 1

    def trouble(self) -> None:
        """Have something go wrong, or become well again."""
        node = self.rng.choice(self.nodes)
        match self.rng.randrange(9):
            case 0 | 1:
                node.is_up = False
            case 2 | 3 | 4 | 5:
                next((one for one in self.nodes if not one.is_up), node).start()
            case 6 | 7:
                self.away = set() if self.away else {one.name for one in self.rng.sample(self.nodes, 2)}
            case _:
                node.can_write = not node.can_write

    def run(self, steps: int, *, rollout: bool = False) -> None:
        """Run steps at random; after each, no node is stranded. How often each kind happens differs by seed."""
        kinds = ["trouble", "operate", "look", "forget", "write", "exchange"]
        weights = [self.rng.choice(some) for some in ((1, 2), (1, 4, 12), (2, 6), (2, 6), (0, 2), (3, 12))]
        for kind in self.rng.choices(kinds, weights, k=steps):
            node, other = self.rng.sample(self.nodes, 2)
            if kind == "trouble":
                self.trouble()
            elif kind == "exchange":
                self.exchange(node, other, crash=0.01, loss=self.loss)
            elif node.is_up:
                self.act(node, "step" if rollout and kind == "operate" else kind)
            self.check_nobody_is_stranded()

    def act(self, node: Node, kind: str) -> None:
        """Have something done at one node."""
        match kind:
            case "operate":
                self.operate(node)
            case "step":
                self.step(node)
            case "look":
                self.look(node)
            case "forget":
                self.forget(node)
            case _:
                node.write()

    def check_nobody_is_stranded(self) -> None:
        """Each two nodes that are up can link, in at least one direction."""
        for one, other in combinations([node for node in self.nodes if node.is_up], 2):
            assert self.can_link(one, other) or self.can_link(other, one), f"{one.name} and {other.name} are stranded"

    def heal(self) -> None:
        """End all trouble, and let all talk until nothing is new."""
        self.away = set()
        for node in self.nodes:
            node.can_write = True
            if not node.is_up:
                node.start()
        for _ in range(6):
            for node in self.nodes:
                self.views[node.name] = {one.name for one in self.nodes}
                node.write()
                for other in self.nodes:
                    self.exchange(node, other)
            for node in self.nodes:
                self.forget(node)

    def check_agreed(self) -> None:
        """All hold the same keys and statements, on their disks too, and seal with the same one."""
        first = self.nodes[0].ring
        for node in self.nodes:
            ring = node.ring
            assert set(ring.keys.statements()) == set(first.keys.statements())
            assert ring.keys.opening == ring.keys.dialing == first.keys.opening
            assert ring.keys.sealing == first.keys.sealing is not None
            assert ring.is_written
            states = {one.key_id: one.state for one in ring.keys.statements()}
            assert all(states[key_id] == KeyState.RETIRED for key_id in self.retired)
            assert not self.retired & set(ring.keys.opening)


def _use(_: object) -> None:
    """Turn an expression into a step."""
