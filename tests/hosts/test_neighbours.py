"""The rule for hosts that ask for each other's addresses."""

from __future__ import annotations

import random

import trio
import trio.testing

from tests.hosts.neighbours import Parted
from trionet import NodeAddress
from trionet.simulation import run
from trionet.transports.memory.rules import DROP, Message, Verdict

ONE, OTHER, THIRD = (NodeAddress(f"10.0.0.{number}", 7000) for number in (1, 2, 3))


def no_matter(at: float, message: Message) -> None: ...


def sent(rule: Parted, source: NodeAddress, target: NodeAddress) -> tuple[Verdict, float]:
    message = Message(source, target, "datagram", b"", trio.current_time(), 1)
    return rule(message, random.Random(1)), message.delay_s


def test_until_the_end_of_a_partition_nothing_passes_and_after_a_short_one_all_does_at_once() -> None:
    async def live() -> None:
        rule = Parted(["10.0.0.1"], random.Random(1), no_matter)
        for _ in range(7):
            assert sent(rule, ONE, OTHER) == sent(rule, OTHER, ONE) == (DROP, 0.0)
            assert sent(rule, OTHER, THIRD) == (None, 0.0)
            await trio.sleep(1)
        rule.heal()
        assert sent(rule, ONE, OTHER) == sent(rule, OTHER, ONE) == (None, 0.0)

    run(live, seed=1)


def test_after_a_long_one_the_next_question_of_either_host_is_waited_for() -> None:
    late = []

    async def live() -> None:
        rule = Parted(["10.0.0.1"], random.Random(1), lambda at, message: late.append((at, message.source)))
        await trio.sleep(100)
        sent(rule, ONE, OTHER)
        await trio.sleep(3)  # what has waited so far is lost
        asked = trio.current_time()
        sent(rule, ONE, OTHER)  # asks now, and after 1 and 2 s
        await trio.sleep(0.25)
        sent(rule, OTHER, ONE)  # likewise
        await trio.sleep(0.5)
        rule.heal()
        assert late == [(asked + 1, ONE), (asked + 1, OTHER)]
        assert sent(rule, OTHER, ONE) == sent(rule, ONE, OTHER) == (None, 0.25)
        await trio.sleep(0.25)
        assert sent(rule, ONE, OTHER) == (None, 0.0)

    run(live, seed=1)


def test_a_host_that_has_just_given_up_loses_packets_until_it_asks_again() -> None:
    async def live() -> None:
        rule = Parted(["10.0.0.1"], random.Random(1), no_matter)
        await trio.sleep(100)
        sent(rule, ONE, OTHER)
        await trio.sleep(2.5)
        rule.heal()
        assert sent(rule, ONE, OTHER) == (DROP, 0.0)
        await trio.sleep(0.6)
        assert sent(rule, ONE, OTHER) == (None, 0.0)
        assert sent(rule, OTHER, ONE) == (None, 0.0)

    run(live, seed=1)
