"""The encoded view of a node."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.protocols.swim_clusters import alive, stated
from trionet.protocols.digest import BUCKETS
from trionet.protocols.member_record import MemberRecord
from trionet.protocols.packing import Packing
from trionet.protocols.statements import State, Statement
from trionet.protocols.swim_messages import Sync

_decode = msgspec.msgpack.Decoder(Sync).decode
_ALL = tuple(range(BUCKETS))


def _held(packing: Packing, wanted: tuple[int, ...] = ()) -> list[Statement]:
    """Return the statements of all messages, as they are read from their bytes."""
    return [one for _, encoded in packing.messages(_ALL, wanted) for one in _decode(encoded).statements]


@given(
    st.lists(st.tuples(st.sampled_from(["add", "change", "remove", "look"]), st.integers(0, 40)), max_size=60),
    st.sampled_from([60, 300, 1 << 16]),
)
def test_the_messages_hold_the_present_statement_of_each_member_once(
    steps: list[tuple[str, int]], piece_bytes: int
) -> None:
    packing, members = Packing([], piece_bytes), dict[str, MemberRecord]()
    for number, (step, who) in enumerate(steps):
        name = f"10.0.0.{who}:8080"
        member = members.get(name)
        if step == "look":
            packing.messages(_ALL, ())
        elif member is None:
            members[name] = MemberRecord(alive(name, number), 0.0)
            packing.add(members[name])
        elif step == "remove":
            packing.remove(members.pop(name))
        else:
            member.statement = stated(name, State.SUSPECT, number, suspected_by=["a"])
            packing.change(member)
        expected = sorted((one.statement for one in members.values()), key=str)
        assert sorted(_held(packing), key=str) == expected
        listed = [one for sync, _ in packing.messages(_ALL, ()) for one in sync.statements]
        assert sorted(listed, key=str) == expected


def test_messages_are_of_bounded_length_and_the_last_one_asks() -> None:
    packing = Packing([MemberRecord(alive(f"m{number}"), 0.0) for number in range(500)], 2000)
    messages = packing.messages(_ALL, (1, 2))
    assert [sync.wanted for sync, _ in messages] == [()] * (len(messages) - 1) + [(1, 2)]
    assert [_decode(encoded) for _, encoded in messages] == [sync for sync, _ in messages]
    assert all(len(encoded) <= 2000 + 20 for _, encoded in messages)


def test_a_bucket_that_is_asked_for_again_and_again_is_sent_once() -> None:
    packing = Packing([MemberRecord(alive(f"m{number}"), 0.0) for number in range(100)], 2000)
    assert packing.messages(_ALL * 1000, ()) == packing.messages(_ALL, ())


def test_without_objects_only_the_bytes_hold_the_statements() -> None:
    packing = Packing([MemberRecord(alive("m"), 0.0)], 2000, has_objects=False)
    ((sync, encoded),) = packing.messages(_ALL, ())
    assert sync.statements == ()
    assert _decode(encoded) == Sync((alive("m"),))


@pytest.mark.parametrize("present", [100, 3000])
def test_a_join_encodes_one_statement_however_many_there_are(present: int, monkeypatch: pytest.MonkeyPatch) -> None:
    packing = Packing([MemberRecord(alive(f"m{number}"), 0.0) for number in range(present)], 48 * 1024)
    packing.messages(_ALL, ())
    encoded: list[Statement] = []
    append = Packing._append  # noqa: SLF001

    def counted(self: Packing, parts: list[object], statement: Statement) -> None:
        encoded.append(statement)
        append(self, parts, statement)  # type: ignore[arg-type]

    monkeypatch.setattr(Packing, "_append", counted)
    packing.add(MemberRecord(alive("new"), 0.0))
    assert len(_held(packing)) == present + 1
    assert encoded == [alive("new")]
