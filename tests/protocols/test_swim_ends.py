"""The observed end of a member's process, in the core."""

from __future__ import annotations

import pytest

from tests.protocols.swim_clusters import alive, changes_in, sent, stated, swim
from trionet.protocols.statements import State
from trionet.protocols.swim_messages import News


def test_an_observed_end_is_a_failure_in_the_known_incarnation_and_goes_before_all_other_news() -> None:
    core = swim("a", *"bcd")
    core.receive("b", alive("e", 5), 1.0)
    assert changes_in(core.observe_end("d", 1, 1.0)) == [("failed", "d")]
    assert core.piggyback("b", 1000, 1.0)[0] == stated("d", State.DEAD, suspected_by=["a"])
    assert core.observe_end("d", 1, 1.1) == []
    core = swim("a", *"bcd")
    core.observe_end("d", 1, 0.0)
    assert [type(message) for message in sent(core.on_timer(0.02))] == [News] * 2


@pytest.mark.parametrize("state", [State.DEAD, State.LEFT])
def test_the_end_of_one_that_is_gone_is_no_news(state: State) -> None:
    core = swim("a", *"bcd")
    core.receive("b", stated("d", state), 1.0)
    before = core.member("d")
    assert core.observe_end("d", 1, 1.1) == []
    assert core.member("d") == before


@pytest.mark.parametrize(("name", "boot_id"), [("d", 2), ("a", 1), ("unknown", 1)])
def test_the_end_of_another_process_of_this_node_or_of_a_nonmember_is_no_news(name: str, boot_id: int) -> None:
    core = swim("a", *"bcd")
    assert core.observe_end(name, boot_id, 1.0) == []
    assert {info.state for info in core.members()} == {State.ALIVE}
    assert core.piggyback("b", 1000, 1.0) == ()


def test_a_leaving_node_spreads_no_ends() -> None:
    core = swim("a", *"bcd")
    core.leave(1.0)
    assert changes_in(core.observe_end("d", 1, 1.0)) == []


def test_the_end_of_a_suspect_is_a_failure_in_the_suspected_incarnation() -> None:
    core = swim("a", *"bcd")
    core.receive("b", stated("d", State.SUSPECT, 3, suspected_by=["b"]), 1.0)
    assert changes_in(core.observe_end("d", 1, 1.1)) == [("failed", "d")]
    member = core.member("d")
    assert member is not None
    assert member.incarnation == 3


def test_a_running_member_refutes_its_end() -> None:
    core, other = swim("a", "b"), swim("b", "a")
    core.observe_end("b", 1, 1.0)
    (dead,) = (
        message for message in core.piggyback("c", 1000, 1.0) if message == stated("b", State.DEAD, suspected_by=["a"])
    )
    (refutation,) = sent(other.receive("a", dead, 1.1), "a")[:1]
    assert changes_in(core.receive("b", refutation, 1.2)) == [("joined", "b")]
