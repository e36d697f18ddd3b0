"""Invariants of whole cores under any order, loss and duplication of messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.protocols.swim_clusters import OrderOfChanges, swim
from trionet.protocols.effects import Notify, Send
from trionet.protocols.statements import MOST_SUSPECTED_BY, State, Statement, supersedes
from trionet.protocols.swim_messages import Ack, IndirectAck, Nack, News, Ping, PingReq, Sync, SyncDigest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trionet.protocols.effects import Effect
    from trionet.protocols.swim import Swim

NAMES = ["a", "b", "c", "d"]

STATEMENTS = st.builds(
    Statement,
    st.sampled_from([*NAMES, "e", "", "x" * 200]),
    st.one_of(st.integers(0, 4), st.integers(-(2**70), 2**70)),
    st.integers(-1, 5),
    st.one_of(st.integers(1, 2), st.integers(-(2**70), 2**70)),
    st.dictionaries(st.sampled_from("ab"), st.sampled_from(["c", "d" * 600]), max_size=1),
    st.lists(st.sampled_from(NAMES), max_size=MOST_SUSPECTED_BY + 1).map(tuple),
)
NUMBERS = st.integers(-1, 2**64)
MESSAGES = st.one_of(
    STATEMENTS,
    st.builds(Ping, NUMBERS, st.booleans()),
    st.builds(Ack, NUMBERS, NUMBERS),
    st.builds(PingReq, NUMBERS, st.sampled_from([*NAMES, "e"])),
    st.builds(IndirectAck, NUMBERS),
    st.builds(Nack, NUMBERS),
    st.just(News()),
    st.builds(SyncDigest, st.lists(NUMBERS, max_size=70).map(tuple), st.booleans()),
    st.builds(Sync, st.lists(STATEMENTS, max_size=4).map(tuple), st.lists(st.integers(-2, 70), max_size=4).map(tuple)),
)


class Watched:
    """Asserts, after whatever comes, that a core knows nothing less than before, and tells changes in order."""

    def __init__(self, core: Swim) -> None:
        self.core = core
        self.order = OrderOfChanges(NAMES)
        self._known: dict[str, tuple[int, State]] = {}
        self._own = core.own

    def after(self, effects: Iterable[Effect], now: float) -> list[Send]:
        """Take the effects of a call; return what is to be sent."""
        sends = []
        for effect in effects:
            if isinstance(effect, Notify):
                self.order.take(now, self.core.me, effect.event)
            else:
                sends.append(effect)
                assert effect.to != self.core.me, effect
        for member in self.core.members():
            before = self._known.get(member.name, (-1, State.ALIVE))
            assert (member.incarnation, member.state) >= before, "a view only grows"
            self._known[member.name] = (member.incarnation, member.state)
        own = self.core.own
        assert own == self._own or supersedes(own, self._own)
        assert own.state == State.ALIVE
        self._own = own
        return sends


@given(st.lists(st.tuples(st.sampled_from(["b", "c", "d", "stranger"]), MESSAGES, st.floats(0, 3)), max_size=40))
@settings(max_examples=150)
def test_no_input_raises_and_statements_only_grow(steps: list[tuple[str, Any, float]]) -> None:
    watched = Watched(swim("a", "b", "c", "d"))
    core, now = watched.core, 0.0
    for source, message, wait in steps:
        watched.after(core.receive(source, message, now), now)
        now += wait
        while core.next_deadline() <= now:
            watched.after(core.on_timer(core.next_deadline()), now)
        list(core.piggyback("b", 300, now))


def _deliver(
    watched: dict[str, Watched], flying: list[tuple[str, Send]], now: float, source: str, effects: Iterable[Effect]
) -> None:
    sends = watched[source].after(effects, now)
    for send in sends:
        flying.append((source, send))
        flying.extend(
            (source, Send(send.to, message)) for message in watched[source].core.piggyback(send.to, 1000, now)
        )


@given(st.data())
@settings(max_examples=30)
def test_any_order_loss_and_duplication_ends_in_one_view(data: st.DataObject) -> None:
    """Hypothesis is the network for a time; then all that is sent arrives, and all must hold the same."""
    watched = {name: Watched(swim(name, *(other for other in NAMES if other != name))) for name in NAMES}
    flying: list[tuple[str, Send]] = []
    now = 0.0
    for _ in range(data.draw(st.integers(0, 120), label="steps")):
        step = data.draw(st.sampled_from(["timer", "deliver", "double", "lose", "tags"]))
        if step == "timer" or not flying:
            name = min(NAMES, key=lambda each: watched[each].core.next_deadline())
            now = max(now, watched[name].core.next_deadline())
            _deliver(watched, flying, now, name, watched[name].core.on_timer(now))
        elif step == "tags":
            name = data.draw(st.sampled_from(NAMES))
            tags = {"n": data.draw(st.sampled_from("012"))}
            _deliver(watched, flying, now, name, watched[name].core.set_tags(tags, now))
        else:
            index = data.draw(st.integers(0, len(flying) - 1))
            source, send = flying[index] if step == "double" else flying.pop(index)
            if step != "lose":
                _deliver(watched, flying, now, send.to, watched[send.to].core.receive(source, send.message, now))
    until = now + 60.0
    while now < until:
        while flying:
            source, send = flying.pop(0)
            _deliver(watched, flying, now, send.to, watched[send.to].core.receive(source, send.message, now))
        name = min(NAMES, key=lambda each: watched[each].core.next_deadline())
        now = max(now, watched[name].core.next_deadline())
        _deliver(watched, flying, now, name, watched[name].core.on_timer(now))
    assert len({each.core.view for each in watched.values()}) == 1
    for each in watched.values():
        assert [member.state for member in each.core.members()] == [State.ALIVE] * 4
        assert {member.name: member.tags for member in each.core.members()} == {
            name: watched[name].core.own.tags for name in NAMES
        }


@given(st.lists(STATEMENTS, max_size=12), st.randoms(use_true_random=False))
def test_two_nodes_with_the_same_messages_in_any_order_hold_the_same(statements: list[Statement], random: Any) -> None:
    one, other = swim("a", "b", "c", "d"), swim("a", "b", "c", "d", seed=1)
    for statement in statements:
        one.receive("b", statement, 0.0)
    shuffled = [*statements, *statements]
    random.shuffle(shuffled)
    for statement in shuffled:
        other.receive("b", statement, 0.0)
    others = [member for member in one.members() if member.name != "a"]
    assert sorted((m.name, m.incarnation, m.state, m.boot_id) for m in others) == sorted(
        (m.name, m.incarnation, m.state, m.boot_id) for m in other.members() if m.name != "a"
    )
