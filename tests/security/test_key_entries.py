"""The keys of a node with their states, and their text in a key file."""

from __future__ import annotations

import dataclasses
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.security.keys import key_of, report_of, shown_in
from trionet import ConfigError
from trionet.security.key_entries import (
    MAX_ENTRIES,
    KeyEntry,
    KeyState,
    format_entries,
    parse_entries,
    sealing_key,
)
from trionet.security.keys import KEY_BYTES

KEYS = [key_of(seed) for seed in range(8)]
SECRETS = [random.Random(seed).randbytes(KEY_BYTES) for seed in range(8)]
INSTALLED, USED, RETIRED = KeyState
A, B, C = (key.reveal() for key in KEYS[:3])


@st.composite
def _entries(draw: st.DrawFn) -> tuple[KeyEntry, ...]:
    keys = draw(st.lists(st.sampled_from(KEYS), min_size=1, unique=True))
    states = [USED, *(draw(st.sampled_from(KeyState)) for _ in keys[1:])]
    made = [
        KeyEntry(
            key.id,
            state,
            draw(st.integers(0, 2**63 - 1) | st.integers(0, 3)),
            draw(st.booleans()),
            None if state is RETIRED and draw(st.booleans()) else key,
        )
        for key, state in zip(keys, states, strict=True)
    ]
    return tuple(draw(st.permutations(made)))


@given(_entries())
def test_the_text_of_a_file_gives_the_keys_back(entries: tuple[KeyEntry, ...]) -> None:
    text = format_entries(entries)
    assert parse_entries(text) == entries
    assert parse_entries(f"# ours\n\n{text}\n# end") == entries
    assert format_entries(parse_entries(text)) == text
    assert not shown_in(repr(entries), SECRETS)


@given(_entries())
def test_the_used_key_with_the_greatest_sequence_and_id_seals(entries: tuple[KeyEntry, ...]) -> None:
    *_, (_, _, key) = sorted((entry.sequence, entry.id, entry.key) for entry in entries if entry.state is USED)
    assert sealing_key(entries) == key


def test_the_simplest_file_is_one_line_with_one_key() -> None:
    assert format_entries([KeyEntry.of(KEYS[0])]) == f"{A}\n"
    for text in (A, f"{A}\n", f"# the shop's\n{A}\n"):
        assert parse_entries(text) == (KeyEntry(KEYS[0].id, USED, 0, False, KEYS[0]),)


def test_a_file_has_keys_in_all_states() -> None:
    text = (
        f"{A} used sequence=3\n{B} installed by-file\n{C} retired sequence=2\nid=1a2b3c4d retired sequence=1 by-file\n"
    )
    assert parse_entries(text) == (
        KeyEntry(KEYS[0].id, USED, 3, False, KEYS[0]),
        KeyEntry(KEYS[1].id, INSTALLED, 0, True, KEYS[1]),
        KeyEntry(KEYS[2].id, RETIRED, 2, False, KEYS[2]),
        KeyEntry(bytes.fromhex("1a2b3c4d"), RETIRED, 1, True, None),
    )
    assert format_entries(parse_entries(text)) == text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "there is no key"),
        ("\n# nothing\n", "there is no key"),
        (f"{A}\n{B}\n", "line 1: with several keys in a file, each needs its state"),
        (f"{A} used\n{B}\n", "line 2: with several keys"),
        (f"{A} used\n{A} installed\n", "is there twice"),
        (f"{A} installed\n", "no key is used"),
        (f"id={KEYS[0].id.hex()} retired\n", "no key is used"),
        (f"{A} used\nid={KEYS[0].id.hex()} retired", "is there twice"),
        (f"id={KEYS[0].id.hex()} used\n", "line 1: only a retired key is given by its id"),
        (f"id={KEYS[0].id.hex()}\n", "line 1: only a retired key"),
        (f" {A}\n", "line 1: after the key come"),
        (f"{A} \n", "line 1: after the key come"),
        (f"{A}\t\n", "line 1: a key is one line without spaces"),
        (f"{A}\r\n", "line 1: a key is one line without spaces"),
        (f"{A}  used\n", "line 1: after the key come"),
        (f"{A} used \n", "line 1: after the key come"),
        (f"{A} USED\n", "line 1: after the key come"),
        (f"{A} used sequence=-1\n", "line 1: after the key come"),
        (f"{A} used sequence=01\n", "line 1: after the key come"),
        (f"{A} used sequence=9999999999999999999\n", "line 1: a sequence is at most"),
        (f"{A} used by-file sequence=1\n", "line 1: after the key come"),
        (f"{A} used # ours\n", "line 1: after the key come"),
        (f"# ours\n{A[:-1]} used\n", "line 2: a key has 48 characters"),
        (f"{A[:-1]}{'A' if A[-1] != 'A' else 'B'}\n", "line 1: a character of the key is wrong"),
        ("hunter2\n", "line 1: a key begins with trionet-key-v1: and nothing before it"),
        (f"TRIONET_KEY={A}\n", "line 1: a key begins with"),
        (f"{A}{B}\n", "line 1: a key has 48 characters"),
        (f"{A} used\x0b\n", "line 1: after the key come"),
        (f"{A} used\nid=1A2B3C4D retired", "line 2: a key begins with"),
    ],
)
def test_a_malformed_file_is_refused_by_line_and_without_being_quoted(text: str, reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_entries(text)
    assert reason in caught.value.text
    assert not shown_in(report_of(caught.value), SECRETS)


def test_a_file_names_a_bounded_number_of_keys() -> None:
    lines = [f"{A} used", *(f"id={number:08x} retired" for number in range(MAX_ENTRIES))]
    assert len(parse_entries("\n".join(lines[:-1]))) == MAX_ENTRIES
    with pytest.raises(ConfigError, match="more than 1024 keys: remove the lines"):
        parse_entries("\n".join(lines))
    with pytest.raises(ConfigError, match="more than 1024 keys"):
        format_entries([KeyEntry.of(KEYS[0])] * (MAX_ENTRIES + 1))


@pytest.mark.parametrize(
    "change",
    [
        *({"id": b"123"}, {"id": "1234"}, {"id": KEYS[1].id}, {"id": None}, {"state": 2}, {"state": "used"}),
        *({"state": None}, {"sequence": -1}, {"sequence": 2**63}, {"sequence": 1.0}, {"sequence": True}),
        *({"by_file": 1}, {"by_file": None}, {"key": None}, {"key": A}, {"key": SECRETS[0]}),
    ],
)
def test_an_entry_of_wrong_parts_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        dataclasses.replace(KeyEntry.of(KEYS[0]), **change)
    assert not shown_in(report_of(caught.value), SECRETS[1:])
    assert not shown_in(caught.value.text, SECRETS)


def test_an_entry_is_made_of_a_key() -> None:
    wrong: Any = A
    with pytest.raises(ConfigError, match="expected a ClusterKey, not a str"):
        KeyEntry.of(wrong)


_pieces = st.sampled_from(
    [
        A,
        B,
        A[:-1],
        "id=1a2b3c4d",
        "id=",
        " used",
        " installed",
        " retired",
        " by-file",
        " sequence=1",
        " ",
        "\n",
        "#",
        "\0",
        "\u00e9",
    ]
)


@given(st.lists(_pieces, max_size=12).map("".join))
def test_any_text_is_a_key_file_with_one_form_or_refused(text: str) -> None:
    try:
        entries = parse_entries(text)
    except ConfigError as exc:
        assert not shown_in(exc.text, SECRETS)
    else:
        assert parse_entries(format_entries(entries)) == entries
