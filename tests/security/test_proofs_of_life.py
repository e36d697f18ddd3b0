"""A boot id must prove that it is alive, and no datagram is delivered twice or from an older life."""

from __future__ import annotations

from itertools import combinations, pairwise, permutations
from random import Random

import pytest

from tests.security.sealed_nodes import BOTH, Net, Peer, introduce, packet
from trionet.security.cookies import STEP_S
from trionet.security.datagram_opener import Opened, Refusal
from trionet.security.held import HOLD_S, MOST_HELD
from trionet.security.lives import Lives
from trionet.security.replay import WINDOW


def peers(*names: str, seed: int = 1) -> list[Peer]:
    rng = Random(seed)
    return [Peer(name, rng) for name in names]


def restarted(peer: Peer, seed: int = 99, now: float = 0.0) -> Peer:
    return Peer(peer.name, Random(seed), now=now)


def challenged(receiver: Peer, data: bytes, source: str, now: float = 0.0) -> bytes:
    """Return the challenge with which `receiver` answers a datagram."""
    opened = receiver.open(data, source, now)
    assert (opened.plaintext, opened.refused) == (None, Refusal.UNPROVEN)
    assert opened.answer is not None
    assert len(opened.answer) <= len(data)
    return opened.answer


def answered(sender: Peer, challenge: bytes, source: str, now: float = 0.0) -> bytes:
    """Return the echo with which `sender` answers a challenge."""
    opened = sender.open(challenge, source, now)
    assert (opened.plaintext, opened.refused) == (None, None)
    assert opened.answer is not None
    return opened.answer


def test_a_first_packet_is_delivered_once_its_sender_has_proven_itself() -> None:
    one, other = peers("one", "other")
    question = one.seal("other", "first")
    echo = answered(one, challenged(other, question, "one"), "other")
    assert other.open(echo, "one").plaintext == packet("one", "first")
    assert other.open(question, "one").refused is Refusal.REPLAYED
    assert other.open(echo, "one").refused is Refusal.REPLAYED
    assert other.open(one.seal("other", "next"), "one").plaintext == packet("one", "next")


def test_one_question_and_its_answer_prove_both_sides() -> None:
    one, other = peers("one", "other")
    introduce(one, other)
    assert one.open(other.seal("one", "back"), "other").plaintext == packet("other", "back")


def test_a_replay_within_a_life_is_refused_however_late() -> None:
    one, other = peers("one", "other")
    introduce(one, other)
    sent = [one.seal("other", str(index)) for index in range(3 * WINDOW)]
    assert all(other.open(data, "one").plaintext is not None for data in sent[:100])
    assert all(other.open(data, "one").plaintext is not None for data in sent[-100:])
    assert {other.open(data, "one", 1e6).refused for data in (*sent[:100], *sent[-100:])} == {Refusal.REPLAYED}
    assert other.open(sent[-WINDOW], "one").plaintext is not None
    assert other.open(sent[-WINDOW - 1], "one").refused is Refusal.REPLAYED


def test_a_dead_life_is_never_proven_by_replays() -> None:
    one, other = peers("one", "other")
    introduce(one, other)
    captured = [one.seal("other", str(index)) for index in range(5)]
    receiver = restarted(other)
    for data in captured:
        assert challenged(receiver, data, "one") is not None
    for data in captured:  # the answers go to a new life of `one`, which can't open them
        challenge = challenged(receiver, data, "one")
        assert restarted(one, 98).open(challenge, "other").answer is None
    assert receiver.opener.lives == 0


def test_a_datagram_to_the_receivers_older_life_is_not_delivered_though_its_sender_lives() -> None:
    one, other = peers("one", "other")
    introduce(one, other)
    captured = one.seal("other", "to the older life", 1.0)
    receiver = restarted(other, now=1.01)
    echo = answered(one, challenged(receiver, captured, "one", 1.05), "other", 1.05)
    assert receiver.open(echo, "one", 1.05).refused is Refusal.REPLAYED
    new = one.seal("other", "new", 1.06)
    assert receiver.open(new, "one", 1.06).plaintext == packet("one", "new")
    assert receiver.open(captured, "one", 1.06).refused is Refusal.REPLAYED


def test_an_old_datagram_is_not_delivered_with_the_echo_of_a_new_one() -> None:
    one, other = peers("one", "other")
    captured, receiver = one.seal("other", "old", 1.0), restarted(other, now=1.5)
    unanswered = challenged(receiver, captured, "one", 2.1)
    new = one.seal("other", "new", 2.1)
    echo = answered(one, challenged(receiver, new, "one", 2.2), "other", 2.2)
    assert challenged(receiver, captured, "one", 2.2) is not None
    assert receiver.open(echo, "one", 2.3).plaintext == packet("one", "new")
    assert one.open(unanswered, "other", 2.3).refused is not Refusal.FORGED
    assert receiver.open(captured, "one", 2.3).refused is Refusal.REPLAYED


def test_a_replay_does_not_displace_a_newer_packet_that_is_held() -> None:
    one, other = peers("one", "other")
    old, new = one.seal("other", "old"), one.seal("other", "new")
    challenge = challenged(other, new, "one")
    challenged(other, old, "one")
    assert other.opener.held == 1
    assert other.open(answered(one, challenge, "other"), "one").plaintext == packet("one", "new")


def test_a_packet_is_held_for_a_second() -> None:
    one, other = peers("one", "other")
    challenge = challenged(other, one.seal("other", "x"), "one", 0.0)
    echo = answered(one, challenge, "other", HOLD_S)
    assert other.open(echo, "one", HOLD_S) == Opened()
    assert other.open(one.seal("other", "next", HOLD_S), "one", HOLD_S).plaintext is not None


def test_at_most_256_packets_are_held() -> None:
    rng = Random(1)
    receiver, senders = Peer("receiver", rng), [Peer(f"peer{index}", rng) for index in range(MOST_HELD + 10)]
    echoes = [answered(one, challenged(receiver, one.seal("receiver", "x"), one.name), "receiver") for one in senders]
    assert receiver.opener.held == MOST_HELD
    found = [receiver.open(echo, one.name).plaintext for one, echo in zip(senders, echoes, strict=True)]
    assert found == [None] * 10 + [packet(one.name, "x") for one in senders[10:]]
    assert receiver.opener.lives == len(senders)


def test_an_echo_proves_only_at_the_address_that_was_challenged() -> None:
    one, other = peers("one", "other")
    echo = answered(one, challenged(other, one.seal("other", "x"), "one"), "other")
    assert other.open(echo, "elsewhere").refused is Refusal.REPLAYED
    assert other.opener.lives == 0
    assert other.open(echo, "one").plaintext is not None


def test_a_cookie_is_no_use_for_another_boot_id() -> None:
    one, other, third = peers("one", "other", "third")
    cookie_of_one = challenged(other, one.seal("other", "x"), "one")
    assert third.open(cookie_of_one, "other").refused is Refusal.UNASKED


def test_an_old_echo_proves_nothing() -> None:
    one, other = peers("one", "other")
    echo = answered(one, challenged(other, one.seal("other", "x"), "one"), "other")
    assert other.open(echo, "one", 2 * STEP_S).refused is Refusal.REPLAYED
    assert other.opener.lives == 0


def test_an_old_challenge_proves_nothing_and_is_not_answered() -> None:
    one, other = peers("one", "other")
    challenge = challenged(other, one.seal("other", "x"), "one")
    opened = one.open(challenge, "other", 2 * STEP_S)
    assert (opened.answer, opened.refused) == (None, Refusal.REPLAYED)
    assert one.opener.lives == 0


def test_challenge_and_echo_are_never_challenged() -> None:
    one, other = peers("one", "other")
    challenge = challenged(other, one.seal("other", "x"), "one")
    for now in (0.0, 100.0):
        assert other.open(one.open(challenge, "other", now).answer or b"", "one", now).answer is None
    assert other.opener.refused.unproven == 1


def test_a_later_life_replaces_an_older_one_which_does_not_come_back_by_replays() -> None:
    one, other = peers("one", "other")
    question = one.seal("other", "x")
    old_echo = answered(one, challenged(other, question, "one"), "other")
    assert other.open(old_echo, "one").plaintext is not None
    lost = one.seal("other", "lost")
    later = restarted(one)
    introduce(later, other)
    assert other.open(old_echo, "one").refused is Refusal.REPLAYED  # though its cookie is still valid
    assert challenged(other, lost, "one") is not None
    assert other.open(later.seal("other", "y"), "one").plaintext is not None
    assert other.opener.lives == 2
    introduce(restarted(one, 97), other, 3 * STEP_S)
    assert other.opener.lives == 2  # the first one is forgotten with its cookies


def test_a_replaced_life_that_is_alive_proves_itself_anew() -> None:
    one, other = peers("one", "other")
    introduce(one, other)
    missed = one.seal("other", "missed")
    introduce(restarted(one), other)
    held = one.seal("other", "again")
    echo = answered(one, challenged(other, held, "one"), "other")
    assert other.open(echo, "one").plaintext == packet("one", "again")
    assert other.open(missed, "one").refused is Refusal.REPLAYED
    assert other.open(one.seal("other", "more"), "one").plaintext is not None


def test_a_forgotten_node_proves_itself_anew() -> None:
    one, other = peers("one", "other")
    introduce(one, other)
    other.opener.forget("one", 0.0)
    other.opener.forget("unknown", 0.0)
    introduce(one, other)


def test_a_node_that_renews_its_life_proves_it_anew() -> None:
    one, other = peers("one", "other")
    introduce(one, other)
    one.sealer.renew(12345)
    introduce(one, other)
    assert one.open(other.seal("one", "x"), "other").plaintext is not None


def test_a_hello_proves_what_is_sent_after_it_and_releases_what_is_held() -> None:
    one, other = peers("one", "other")
    before = one.seal("other", "before")
    counter = one.sealer.counter - 1
    after = one.seal("other", "after")
    challenged(other, after, "one")
    assert other.opener.prove("one", one.sealer.boot_id, counter, 0.0) == packet("one", "after")
    assert {other.open(data, "one").refused for data in (before, after)} == {Refusal.REPLAYED}
    assert other.open(one.seal("other", "next"), "one").plaintext is not None
    assert other.opener.refused.unproven == 1


def test_a_hello_does_not_release_what_was_sent_before_it() -> None:
    one, other = peers("one", "other")
    challenged(other, one.seal("other", "before"), "one")
    assert other.opener.prove("one", one.sealer.boot_id, one.sealer.counter - 1, 0.0) is None


def test_a_second_hello_lowers_nothing() -> None:
    one, other = peers("one", "other")
    introduce(one, other)
    data = one.seal("other", "x")
    assert other.open(data, "one").plaintext is not None
    assert other.opener.prove("one", one.sealer.boot_id, -1, 0.0) is None
    assert other.open(data, "one").refused is Refusal.REPLAYED


def test_a_packet_without_a_sender_is_malformed() -> None:
    one, other = peers("one", "other")
    question = one.sealer.seal("other", b"no name at all", 0.0)
    echo = answered(one, challenged(other, question, "one"), "other")
    assert other.open(echo, "one").refused is Refusal.MALFORMED


def test_lives_are_bounded_and_the_oldest_proof_goes_first() -> None:
    lives = Lives(most=10)
    for boot_id in range(20):
        lives.bind(lives.prove(boot_id, -1, 0.0), f"node{boot_id}", 0.0)
    assert [boot_id for boot_id in range(20) if lives.get(boot_id)] == list(range(10, 20))
    lives.forget("node3", 0.0)
    assert len(lives) == 10


def test_replays_of_dead_lives_fill_no_table() -> None:
    rng = Random(1)
    receiver = Peer("receiver", rng)
    alive = Peer("alive", rng)
    introduce(alive, receiver)
    captured = [Peer(f"dead{index}", rng).seal("receiver", "x") for index in range(2000)]
    for data in captured:
        receiver.open(data, "attacker")
    assert (receiver.opener.lives, receiver.opener.held) == (1, MOST_HELD)
    assert receiver.open(alive.seal("receiver", "y"), "alive").plaintext is not None


@pytest.mark.parametrize("seed", range(20))
def test_no_packet_is_delivered_twice_and_none_to_another_over_a_bad_network(seed: int) -> None:
    """With restarts, renewals, key changes, and an attacker that sends whatever it heard to anyone."""
    rng = Random(seed)
    net = Net(rng, loss=0.2, twice=0.2)
    names = [f"10.0.0.{index}:80" for index in range(4)]
    for name in names:
        net.add(Peer(name, rng))
    sent = set[bytes]()
    for index in range(400):
        one, to = rng.sample(names, 2)
        content = f"{index}>{to}"
        sent.add(packet(one, content))
        net.send(one, to, net.peers[one].seal(to, content, net.now))
        net.run(net.now + rng.choice([0.001, 0.01, 0.3]))
        for _ in range(2):
            heard = rng.choice(net.log)
            net.send(rng.choice([heard.source, *names]), rng.choice([heard.to, *names]), heard.data)
        if rng.random() < 0.02:
            net.add(Peer(rng.choice(names), rng, now=net.now))
        if rng.random() < 0.02:
            net.peers[rng.choice(names)].sealer.renew(rng.getrandbits(64))
        if index == 200:
            for peer in net.peers.values():
                peer.opener.use_keys(BOTH)
    net.run(net.now + 1)
    for name, delivered in net.delivered.items():
        assert len(delivered) == len(set(delivered)), f"seed {seed}"
        assert all(plain in sent and plain.rstrip(b".").endswith(f">{name}".encode()) for plain in delivered)
    assert sum(map(len, net.delivered.values())) > 150


def started(count: int) -> Net:
    rng = Random(count)
    net = Net(rng)
    for index in range(count):
        net.add(Peer(f"10.0.0.{index}:80", rng))
    return net


def ask_everyone(net: Net, *, by_hello: bool = False) -> int:
    """Have each node ask each other one once, and answer it; return the datagrams carried."""
    net.run(net.now + 0.1)  # what is sent to a node within the network's delay of its start may be lost
    before = net.carried
    names = list(net.peers)
    if by_hello:
        for said, heard in permutations(net.peers.values(), 2):
            heard.opener.prove(said.name, said.sealer.boot_id, said.sealer.counter - 1, net.now)
    for one, other in combinations(names, 2):
        net.send(one, other, net.peers[one].seal(other, "ping", net.now))
    net.run(net.now + 1)
    for one, other in combinations(names, 2):
        net.send(other, one, net.peers[other].seal(one, "ack", net.now))
    net.run(net.now + 1)
    return net.carried - before


COUNTS = [30, pytest.param(100, marks=pytest.mark.soak)]


@pytest.mark.parametrize("count", COUNTS)
def test_a_cold_start_and_a_mass_restart_double_the_first_question_and_answer(count: int) -> None:
    pairs = count * (count - 1) // 2
    net = started(count)
    assert ask_everyone(net) == 4 * pairs  # ping, challenge, echo, ack
    assert ask_everyone(net) == 2 * pairs  # then nothing is added
    assert all(len(delivered) == 2 * (count - 1) for delivered in net.delivered.values())
    for seed, peer in enumerate(list(net.peers.values())):
        net.add(restarted(peer, 1000 + seed, net.now))
    assert ask_everyone(net) == 4 * pairs
    assert sum(map(len, net.delivered.values())) == 6 * pairs


@pytest.mark.parametrize("count", COUNTS)
def test_a_cold_start_with_hellos_adds_no_datagram(count: int) -> None:
    net = started(count)
    assert ask_everyone(net, by_hello=True) == count * (count - 1)
    assert all(len(delivered) == count - 1 for delivered in net.delivered.values())


def test_two_that_ask_each_other_at_once_are_both_delivered() -> None:
    rng = Random(1)
    net = Net(rng, delay_s=0.0)
    for name in ("one", "other"):
        net.add(Peer(name, rng))
    for one, other in pairwise(["one", "other", "one"]):
        net.send(one, other, net.peers[one].seal(other, "hello"))
    net.run(1.0)
    assert net.delivered == {"one": [packet("other", "hello")], "other": [packet("one", "hello")]}
    assert net.carried == 6
