"""Stamps of code: who can make one, and what it is good for."""

from __future__ import annotations

import pickle
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trionet.codec import JSON, MESSAGEPACK
from trionet.security.code_stamps import CodeKey, SentCode

KEY = CodeKey(b"k" * 32, "shop")
NOW_US = 10**15
RANDOM = bytes(16)


def _stamped(key: CodeKey = KEY, purpose: str = "routes/put") -> SentCode:
    return key.stamp(pickle.dumps(len), "<built-in function len>", purpose, NOW_US, RANDOM)


def test_a_stamp_is_good_for_its_purpose_and_key_alone() -> None:
    code = _stamped()
    assert KEY.has_stamped(code, "routes/put")
    assert not KEY.has_stamped(code, "groups/put")
    for other in (CodeKey(b"x" * 32, "shop"), CodeKey(b"k" * 32, "town"), CodeKey(b"k" * 32, "shop", b"abcd")):
        assert not other.has_stamped(code, "routes/put")


@pytest.mark.parametrize("field", ["pickle", "what", "nonce", "stamp"])
@given(data=st.data())
def test_whatever_is_changed_voids_the_stamp(field: str, data: st.DataObject) -> None:
    code = _stamped()
    value = getattr(code, field)
    changed: Any
    if isinstance(value, bytes):
        index, bit = data.draw(st.integers(0, len(value) - 1)), data.draw(st.integers(0, 7))
        changed = value[:index] + bytes([value[index] ^ 1 << bit]) + value[index + 1 :]
    else:
        changed = data.draw(st.text().filter(lambda text: text != value))
    assert not KEY.has_stamped(msgspec.structs.replace(code, **{field: changed}), "routes/put")


@given(
    parts=st.lists(st.binary(max_size=3), min_size=2, max_size=2),
    other=st.lists(st.binary(max_size=3), min_size=2, max_size=2),
)
def test_fields_can_not_be_moved_into_each_other(parts: list[bytes], other: list[bytes]) -> None:
    first = KEY.stamp(parts[0], parts[1].hex(), "routes/put", NOW_US, RANDOM)
    second = KEY.stamp(other[0], other[1].hex(), "routes/put", NOW_US, RANDOM)
    assert (first.stamp == second.stamp) == (parts == other)


@pytest.mark.parametrize("codec", [JSON, MESSAGEPACK])
def test_it_travels_and_is_not_read_on_the_way(codec: Any) -> None:
    code = _stamped()
    assert codec.decode(codec.encode(code)) == code


def test_no_representation_shows_the_secret_or_the_code() -> None:
    assert "k" * 8 not in repr(KEY)
    assert repr(_stamped()) == "<code of <built-in function len>>"
