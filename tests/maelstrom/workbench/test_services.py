from __future__ import annotations

import random
from typing import Any

import pytest

from trionet.maelstrom.workbench.services import LinearizableKV, LwwKV, SequentialKV, TimestampOracle


def read(key: Any) -> dict[str, Any]:
    return {"type": "read", "key": key}


def write(key: Any, value: Any) -> dict[str, Any]:
    return {"type": "write", "key": key, "value": value}


def cas(key: Any, before: Any, after: Any, **extra: Any) -> dict[str, Any]:
    return {"type": "cas", "key": key, "from": before, "to": after, **extra}


MISSING = {"type": "error", "code": 20, "text": "key does not exist"}


def test_lin_kv_reads_the_last_written_value() -> None:
    kv = LinearizableKV()
    assert kv.handle("n1", read("x")) == MISSING
    assert kv.handle("n1", write("x", [1])) == {"type": "write_ok"}
    assert kv.handle("n2", read("x")) == {"type": "read_ok", "value": [1]}


def test_cas_compares_strictly() -> None:
    kv = LinearizableKV()
    assert kv.handle("n1", cas("x", 1, 2)) == MISSING
    assert kv.handle("n1", cas("x", 1, 2, create_if_not_exists=True)) == {"type": "cas_ok"}
    for wrong in ("2", 2.0, True, None):
        reply = kv.handle("n1", cas("x", wrong, 3))
        assert reply is not None
        assert reply["code"] == 22
    assert kv.handle("n1", cas("x", 1, 3)) == {"type": "error", "code": 22, "text": "current value 2 is not 1"}
    assert kv.handle("n1", cas("x", 2, {"a": [1]})) == {"type": "cas_ok"}
    assert kv.handle("n1", cas("x", {"a": [1]}, None)) == {"type": "cas_ok"}
    assert kv.handle("n1", read("x")) == {"type": "read_ok", "value": None}


def test_keys_are_any_json_and_differ_by_type() -> None:
    kv = LinearizableKV()
    keys: list[Any] = [1, "1", 1.0, True, None, [1], {"a": 1}]
    for number, key in enumerate(keys):
        kv.handle("n1", write(key, number))
    assert [kv.handle("n1", read(key)) for key in keys] == [
        {"type": "read_ok", "value": number} for number in range(len(keys))
    ]


@pytest.mark.parametrize("service", [LinearizableKV(), SequentialKV(random.Random(1)), LwwKV(random.Random(1))])
def test_an_unknown_request_has_no_reply(service: Any) -> None:
    assert service.handle("n1", {"type": "delete", "key": 1}) is None
    assert TimestampOracle().handle("n1", {"type": "read"}) is None


def test_the_oracle_counts_from_nought() -> None:
    oracle = TimestampOracle()
    assert [oracle.handle("n1", {"type": "ts"}) for _ in range(3)] == [{"type": "ts_ok", "ts": n} for n in range(3)]


def test_seq_kv_shows_others_old_states_and_never_older_ones_than_before() -> None:
    kv = SequentialKV(random.Random(1))
    for number in range(20):
        kv.handle("writer", write("x", number))
    seen = []
    for _ in range(40):
        reply = kv.handle("reader", read("x"))
        assert reply is not None
        seen.append(reply.get("value", -1))
    assert seen == sorted(seen)
    assert seen[0] < 19
    assert kv.handle("writer", read("x")) == {"type": "read_ok", "value": 19}


def test_a_new_client_of_seq_kv_may_find_that_a_key_does_not_exist() -> None:
    answers = set()
    for seed in range(50):
        kv = SequentialKV(random.Random(seed))
        kv.handle("writer", write("x", 1))
        answers.add(str(kv.handle("reader", read("x"))))
    assert len(answers) == 2


def test_a_cas_that_fails_on_an_old_state_stands_and_one_that_succeeds_is_done_on_the_newest() -> None:
    codes = set()
    for seed in range(60):
        kv = SequentialKV(random.Random(seed))
        kv.handle("writer", write("x", 1))
        kv.handle("writer", write("x", 2))
        reply = kv.handle("other", cas("x", 1, 5))
        assert reply is not None
        codes.add(reply.get("code"))
        assert kv.handle("writer", read("x")) == {"type": "read_ok", "value": 2}
    assert codes == {20, 22}


def test_a_write_pins_its_sender_to_the_newest_state() -> None:
    for seed in range(30):
        kv = SequentialKV(random.Random(seed))
        for number in range(10):
            kv.handle("writer", write("x", number))
        kv.handle("reader", write("reader's own", seed))
        assert kv.handle("reader", read("x")) == {"type": "read_ok", "value": 9}


def test_a_write_of_the_same_value_advances_no_sender() -> None:
    stale = 0
    for seed in range(60):
        kv = SequentialKV(random.Random(seed))
        kv.handle("writer", write("own", 1))
        kv.handle("writer", write("x", 1))
        kv.handle("reader", write("own", 1))
        stale += kv.handle("reader", read("x")) == MISSING
    assert stale > 0


def test_seq_kv_keeps_32_states_so_that_a_sender_further_behind_may_see_an_older_one() -> None:
    went_back = 0
    for seed in range(40):
        kv = SequentialKV(random.Random(seed))
        values = []
        for number in range(200):
            kv.handle("writer", write("x", number))
            reply = kv.handle("reader", read("x"))
            assert reply is not None
            values.append(reply.get("value", -1))
            assert number - 31 <= values[-1] <= number
        kv = SequentialKV(random.Random(seed))
        for number in range(200):
            kv.handle("writer", write("x", number))
        later = [reply.get("value", -1) for _ in range(6) if (reply := kv.handle("late", read("x"))) is not None]
        went_back += later != sorted(later)
    assert went_back > 0


def test_lww_kv_never_converges() -> None:
    kv = LwwKV(random.Random(1))
    kv.handle("n1", write("x", 1))
    answers = [kv.handle("n1", read("x")) for _ in range(1000)]
    assert 400 < answers.count(MISSING) < 600
    assert answers[-100:].count(MISSING) > 20
    assert LwwKV(random.Random(1)).handle("n1", cas("y", 1, 2, create_if_not_exists=True)) == MISSING
