"""Members for tests: cores back to back, and clusters of them in virtual time. No mocks."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

from trionet.profiles import LAN
from trionet.protocols.effects import Notify, Send
from trionet.protocols.mux import ProtocolMux
from trionet.protocols.statements import State, Statement
from trionet.protocols.swim import Swim
from trionet.protocols.swim_events import MemberChange, MemberChanged
from trionet.simulation.heap import HeapCluster

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from trionet.profiles import Profile
    from trionet.protocols.effects import Effect
    from trionet.protocols.mux import Packet
    from trionet.protocols.swim_settings import SwimOptions

_AFTER = {
    MemberChange.JOINED: (None, MemberChange.FAILED, MemberChange.LEFT),
    MemberChange.SUSPECTED: (MemberChange.JOINED, MemberChange.RECOVERED, MemberChange.UPDATED),
    MemberChange.RECOVERED: (MemberChange.SUSPECTED,),
    MemberChange.UPDATED: (MemberChange.JOINED, MemberChange.RECOVERED, MemberChange.UPDATED, MemberChange.SUSPECTED),
    MemberChange.FAILED: (
        MemberChange.JOINED,
        MemberChange.SUSPECTED,
        MemberChange.RECOVERED,
        MemberChange.UPDATED,
    ),
}
_AFTER[MemberChange.LEFT] = _AFTER[MemberChange.FAILED]


def alive(name: str, incarnation: int = 0, *, boot_id: int = 1, **tags: str) -> Statement:
    """Return a statement that a member is ALIVE."""
    return Statement(name, incarnation, int(State.ALIVE), boot_id, tags)


def stated(
    name: str, state: State, incarnation: int = 0, *, boot_id: int = 1, suspected_by: Sequence[str] = ()
) -> Statement:
    """Return a statement about a member."""
    return Statement(name, incarnation, int(state), boot_id, {}, tuple(suspected_by))


def swim(name: str, *known: str, boot_id: int = 1, seed: int = 0, **more: Any) -> Swim:
    """Return a core that knows some members of incarnation 0 and boot_id 1."""
    core = Swim(name, LAN, Random(f"{seed} {name}"), 0.0, boot_id=boot_id, **more)
    core.assume([alive(other) for other in known], 0.0)
    return core


def sent(effects: Iterable[Effect], to: str | None = None) -> list[Any]:
    """Return the messages that are to be sent, perhaps only those to one."""
    return [effect.message for effect in effects if isinstance(effect, Send) and to in {None, effect.to}]


def changes_in(effects: Iterable[Effect]) -> list[tuple[str, str]]:
    """Return the reported changes of members: the change and the name."""
    return [
        (effect.event.change.value, effect.event.member.name)
        for effect in effects
        if isinstance(effect, Notify) and isinstance(effect.event, MemberChanged)
    ]


class OrderOfChanges:
    """Asserts that the events of each member come in a valid order, each change once.

    Attributes:
        changes: when, at whom, what.
    """

    def __init__(self, known: Collection[str] = ()) -> None:
        """At each of `known` all of `known` are known at the start."""
        self.changes: list[tuple[float, str, MemberChanged]] = []
        self._last: dict[tuple[str, str], MemberChange] = {}
        self._known = known
        self._restarted: set[str] = set()

    def restart(self, at: str) -> None:
        """Take that a node has started again, and knows nobody."""
        self._restarted.add(at)
        self._last = {pair: change for pair, change in self._last.items() if pair[0] != at}

    def take(self, time: float, at: str, event: Any) -> None:
        """Take an event."""
        if not isinstance(event, MemberChanged):
            return
        pair = (at, event.member.name)
        is_known = at not in self._restarted and pair[1] in self._known
        before = self._last.get(pair, MemberChange.JOINED if is_known else None)
        assert before in _AFTER[event.change], (time, at, before, event)
        self._last[pair] = event.change
        self.changes.append((time, at, event))

    def of(self, change: MemberChange, name: str | None = None) -> list[tuple[float, str, str]]:
        """Return the time, the observer and the subject of each report of a change."""
        return [
            (time, at, event.member.name)
            for time, at, event in self.changes
            if event.change is change and name in {None, event.member.name}
        ]


class Members:
    """A cluster in virtual time whose members know each other, or shall join.

    Attributes:
        cluster: the simulation.
        names, swims: of the members.
        order: the events, which it checks.
    """

    def __init__(
        self,
        seed: int,
        count: int,
        *,
        loss: float = 0.0,
        are_known: bool = True,
        profile: Profile = LAN,
        options: SwimOptions | None = None,
        mux: Callable[[str, list[Swim]], ProtocolMux] = ProtocolMux,
    ) -> None:
        self.cluster = HeapCluster(seed, loss=loss)
        self.names = [f"10.0.0.{index}:8080" for index in range(count)]
        self.swims: dict[str, Swim] = {}
        self.order = OrderOfChanges(self.names if are_known else ())
        self._profile = profile
        self._options = options
        self._mux = mux
        for name in self.names:
            self.start(name)
        if are_known:
            own = [core.own for core in self.swims.values()]
            for core in self.swims.values():
                core.assume(own, 0.0)
        self.cluster.on_event = self.order.take

    def start(self, name: str, **more: Any) -> Swim:
        """Start a member, or start it again."""
        if name in self.swims:
            self.order.restart(name)
        random = self.cluster.random_for(f"{name} {self.cluster.now}")
        core = self.swims[name] = Swim(
            name,
            self._profile,
            random,
            self.cluster.now,
            boot_id=random.getrandbits(64),
            options=self._options,
            **more,
        )
        self.cluster.add(name, self._mux(name, [core]))
        return core

    def act(self, name: str, action: Callable[[Swim, float], list[Effect]]) -> None:
        """Have a member do something now."""

        def packed(mux: ProtocolMux, now: float) -> list[Packet]:
            return mux.packets(action(self.swims[name], now), now)

        self.cluster.act(name, packed)

    def join_all(self) -> None:
        """Have all join by the first."""
        for name in self.names[1:]:
            self.act(name, lambda core, now: core.join(self.names[:1], now))

    def is_whole(self) -> bool:
        """Whether all see all."""
        return all(core.present_count == len(self.swims) for core in self.swims.values()) and (
            len({core.view for core in self.swims.values()}) == 1
        )

    def wait(self, limit_s: float, condition: Callable[[], bool]) -> float:
        """Return after how many seconds a condition is true; it must be within the limit."""
        began = self.cluster.now
        while not condition():
            assert self.cluster.now - began < limit_s, f"not within {limit_s} s"
            self.cluster.run(self.cluster.now + 0.1)
        return self.cluster.now - began
