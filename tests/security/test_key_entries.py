"""The keys of a node with their states, and their text in a key file."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.security.growth import no_growth
from tests.security.keys import key_of, report_of, shown_in
from trionet import ConfigError, EncodeError
from trionet.codec import JSON, MESSAGEPACK
from trionet.security.key_entries import KeyEntry, KeyFile
from trionet.security.key_file import MAX_FILE_BYTES
from trionet.security.key_statements import MAX_KEYS, MAX_MEMBERS, KeyState
from trionet.security.keys import KEY_BYTES

KEYS = [key_of(seed) for seed in range(8)]
SECRETS = [random.Random(seed).randbytes(KEY_BYTES) for seed in range(8)]
INSTALLED, USED, RETIRED = KeyState
A, B, C = (key.reveal() for key in KEYS[:3])


_members = st.lists(st.from_regex(r"[!-+\--~]{1,20}", fullmatch=True), max_size=3).map(
    lambda names: tuple(sorted(set(names)))
)


@st.composite
def _files(draw: st.DrawFn) -> KeyFile:
    keys = draw(st.lists(st.sampled_from(KEYS), min_size=1, unique=True))
    states = [USED, *(draw(st.sampled_from(KeyState)) for _ in keys[1:])]
    made = [
        KeyEntry(
            key.id,
            state,
            draw(st.integers(0, 2**62) | st.integers(0, 3)),
            draw(st.booleans()),
            draw(_members) if state is RETIRED else (),
            None if key is not keys[0] and draw(st.booleans()) else key,
        )
        for key, state in zip(keys, states, strict=True)
    ]
    return KeyFile(tuple(draw(st.permutations(made))), draw(_members))


@given(_files())
def test_the_text_of_a_file_gives_its_content_back(content: KeyFile) -> None:
    text = content.text()
    assert KeyFile.parse(text) == content
    assert KeyFile.parse(f"# ours\n\n{text}\n# end") == content
    assert KeyFile.parse(text).text() == text
    assert not shown_in(repr(content), SECRETS)


@given(_files())
def test_the_used_key_with_the_greatest_sequence_and_id_seals(content: KeyFile) -> None:
    ranked = sorted((entry.sequence, entry.id) for entry in content.entries if entry.state is USED and entry.key)
    assert content.sealing_key.id == ranked[-1][1]


def test_the_simplest_file_is_one_line_with_one_key() -> None:
    assert KeyFile.of(KEYS[0]).text() == f"{A}\n"
    for text in (A, f"{A}\n", f"# the shop's\n{A}\n"):
        assert KeyFile.parse(text).entries == (KeyEntry(KEYS[0].id, USED, key=KEYS[0]),)
    assert KeyFile.parse(f"member=b:1\n{A}\n") == KeyFile((KeyEntry.of(KEYS[0]),), ("b:1",))


def test_a_file_has_keys_in_all_states_and_members() -> None:
    text = (
        f"{A} used sequence=3\n{B} installed by-file\n{C} retired sequence=2 without=10.0.0.7:8080,[::1]:8080\n"
        "id=1a2b3c4d retired sequence=1 by-file\nmember=10.0.0.2:8080\nmember=10.0.0.3:8080\n"
    )
    assert KeyFile.parse(text) == KeyFile(
        (
            KeyEntry(KEYS[0].id, USED, 3, key=KEYS[0]),
            KeyEntry(KEYS[1].id, INSTALLED, 0, by_file=True, key=KEYS[1]),
            KeyEntry(KEYS[2].id, RETIRED, 2, excepted=("10.0.0.7:8080", "[::1]:8080"), key=KEYS[2]),
            KeyEntry(bytes.fromhex("1a2b3c4d"), RETIRED, 1, by_file=True),
        ),
        ("10.0.0.2:8080", "10.0.0.3:8080"),
    )
    assert KeyFile.parse(text).text() == text


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
        (f"id={KEYS[0].id.hex()} used\n", "no key is used"),
        (f"{A} installed\nid={KEYS[1].id.hex()} used\n", "no key is used"),
        (f"id={KEYS[0].id.hex()}\n", "line 1: after a key id comes its state: installed, used or retired"),
        (f"{A} used\nid={KEYS[1].id.hex()}\n", "line 2: after a key id comes its state"),
        (f" {A}\n", "line 1: a key begins with"),
        (f"{A} \n", "line 1: after a key come"),
        (f"{A}\t\n", "line 1: a key is one line without spaces"),
        (f"{A}\r\n", "line 1: a key is one line without spaces"),
        (f"{A}  used\n", "line 1: after a key come"),
        (f"{A} used \n", "line 1: after a key come"),
        (f"{A} USED\n", "line 1: after a key come"),
        (f"{A} used sequence=-1\n", "line 1: after a key come"),
        (f"{A} used sequence=01\n", "line 1: after a key come"),
        (f"{A} used sequence=9999999999999999999\n", "line 1: the sequence of a key is a number"),
        (f"{A} used by-file sequence=1\n", "line 1: after a key come"),
        (f"{A} used # ours\n", "line 1: after a key come"),
        (f"# ours\n{A[:-1]} used\n", "line 2: a key has 48 characters"),
        (f"{A[:-1]}{'A' if A[-1] != 'A' else 'B'}\n", "line 1: a character of the key is wrong"),
        ("hunter2\n", "line 1: a key begins with trionet-key-v1: and nothing before it"),
        (f"TRIONET_KEY={A}\n", "line 1: a key begins with"),
        (f"{A}{B}\n", "line 1: a key has 48 characters"),
        (f"{A} used\x0b\n", "line 1: after a key come"),
        (f"{A} used without=a:1\n", "line 1: members are excepted from a retirement alone"),
        (f"{A} used\nid=1a2b3c4d retired without=b:1,a:1\n", "line 2: names of members are sorted"),
        (f"{A} used\nid=1a2b3c4d retired without=a:1,\n", "line 2: members are named by"),
        (f"{A}\nmember=\n", "members are named by"),
        (f"{A}\nmember=b\nmember=a\n", "names of members are sorted"),
        (f"{A} used\nid=1A2B3C4D retired", "line 2: a key begins with"),
    ],
)
def test_a_malformed_file_is_refused_by_line_and_without_being_quoted(text: str, reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        KeyFile.parse(text)
    assert reason in caught.value.text
    assert not shown_in(report_of(caught.value), SECRETS)


def test_a_file_names_a_bounded_number_of_keys_and_members() -> None:
    lines = [f"{A} used", *(f"id={number:08x} retired" for number in range(MAX_KEYS))]
    assert len(KeyFile.parse("\n".join(lines[:-1])).entries) == MAX_KEYS
    with pytest.raises(ConfigError, match="more than 4096 keys: remove the lines"):
        KeyFile.parse("\n".join(lines))
    lines = [A, *(f"member={number:08}" for number in range(MAX_MEMBERS + 1))]
    whole = KeyFile.parse("\n".join(lines[:-1]))
    assert len(whole.members) == MAX_MEMBERS
    assert KeyFile.parse(whole.text()) == whole
    with pytest.raises(ConfigError, match="more than 16384 names"):
        KeyFile.parse("\n".join(lines))


def test_the_largest_content_fits_into_a_file() -> None:
    members = tuple(f"{number:0100}" for number in range(MAX_MEMBERS))
    most = [KeyEntry(number.to_bytes(4, "big"), RETIRED, 2**62, by_file=True) for number in range(MAX_KEYS - 1)]
    assert len(KeyFile((KeyEntry.of(KEYS[0]), *most), members).text()) < MAX_FILE_BYTES


@pytest.mark.parametrize(
    "members",
    [
        ("b", "a"),
        ("a", "a"),
        ("a b",),
        ("a,b",),
        ("",),
        ("caf\u00e9",),
        ("a\n",),
        ("x" * 129,),
        ["a"],
        "a",
        None,
        (5,),
        (b"a",),
    ],
    ids=repr,
)
def test_members_have_names_in_order(members: Any) -> None:
    with pytest.raises(ConfigError, match="members"):
        KeyFile((KeyEntry.of(KEYS[0]),), members)
    with pytest.raises(ConfigError, match="members"):
        KeyEntry(KEYS[0].id, RETIRED, excepted=members)
    with pytest.raises(ConfigError, match="members are excepted from a retirement alone"):
        KeyEntry(KEYS[0].id, USED, excepted=("a",), key=KEYS[0])


@pytest.mark.parametrize("entries", [None, [], (None,), (A,), A, (KEYS[0],)], ids=lambda it: type(it).__name__)
def test_a_file_is_made_of_entries(entries: Any) -> None:
    with pytest.raises(ConfigError, match="a tuple of entries") as caught:
        KeyFile(entries)
    assert not shown_in(caught.value.text, SECRETS)


@pytest.mark.parametrize(
    "change",
    [
        *({"id": b"123"}, {"id": "1234"}, {"id": KEYS[1].id}, {"id": None}, {"state": 2}, {"state": "used"}),
        *({"state": None}, {"sequence": -1}, {"sequence": 2**63}, {"sequence": 1.0}, {"sequence": True}),
        *({"by_file": 1}, {"by_file": None}, {"key": A}, {"key": SECRETS[0]}),
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
        *(A, B, A[:-1], "id=1a2b3c4d", "id=", " used", " installed", " retired", " by-file", " sequence=1", " "),
        *("\n", "#", "\0", "\u00e9", "member=", "a:1", " without=", ","),
    ]
)


@given(st.lists(_pieces, max_size=12).map("".join))
def test_any_text_is_a_key_file_with_one_form_or_refused(text: str) -> None:
    try:
        content = KeyFile.parse(text)
    except ConfigError as exc:
        shown = shown_in(exc.text, SECRETS)
    else:
        shown = [] if KeyFile.parse(content.text()) == content else ["not the same"]
    assert shown == []


def test_no_encoder_carries_the_keys_of_a_file() -> None:
    content = KeyFile.of(KEYS[0])
    encoders: list[Any] = [pickle.dumps, JSON.encode, MESSAGEPACK.encode, msgspec.json.encode, msgspec.to_builtins]
    for encode in encoders:
        for thing in (content, content.entries[0], [content]):
            with pytest.raises((EncodeError, TypeError)) as caught:
                encode(thing)
            assert not shown_in(str(caught.value), SECRETS)
    assert copy.deepcopy(content) == content


def test_of_used_keys_with_one_sequence_that_with_the_greatest_id_seals() -> None:
    entries = [KeyEntry.of(key) for key in KEYS]
    for order in (entries, entries[::-1]):
        assert KeyFile(tuple(order)).sealing_key.id == max(key.id for key in KEYS)


TEXTS = [
    KeyFile((KeyEntry.of(KEYS[0]),)).text(),
    KeyFile((KeyEntry.of(KEYS[0]), KeyEntry.of(KEYS[1], INSTALLED)), ("10.0.0.1:8080", "b:1")).text(),
    KeyFile((KeyEntry.of(KEYS[0]), KeyEntry(KEYS[2].id, RETIRED, 7), KeyEntry.of(KEYS[3], INSTALLED))).text(),
]


def fuzz(seed: int) -> bool:
    """Read the text of a key file with some things wrong; return whether it was refused."""
    rng = random.Random(seed)
    text = TEXTS[seed % len(TEXTS)]
    for _ in range(rng.randint(1, 4)):
        place = rng.randrange(len(text) + 1)
        end = place + rng.choice([0, 1, rng.randint(0, 60)])
        piece = rng.choice([text[: rng.randint(0, 80)], chr(rng.randrange(300)), "\n", " ", "key ", "member ", ""])
        text = text[:place] + piece + text[end:]
    try:
        content = KeyFile.parse(text)
    except ConfigError as exc:
        is_refused, is_fine = True, shown_in(exc.text, SECRETS) == []
    else:
        is_refused, is_fine = False, KeyFile.parse(content.text()) == content
    assert is_fine
    return is_refused


def test_changed_key_files_are_read_or_refused_without_being_quoted() -> None:
    assert 200 < sum(fuzz(seed) for seed in range(500)) < 500


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_many_changed_key_files_are_read_or_refused_without_being_quoted() -> None:
    fuzz(0)
    with no_growth():
        assert all(fuzz(seed) in {True, False} for seed in range(1, 200_000))
