"""What a ring keeps, as a key file and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.security.keys import key_of
from trionet import ConfigError
from trionet.security.key_entries import KeyEntry, KeyFile
from trionet.security.key_file import new_key_file, read_key_file, update_key_file
from trionet.security.key_records import KeyRecords
from trionet.security.key_reports import Holding, KeyReport
from trionet.security.key_ring import KeyRing
from trionet.security.key_statements import MAX_EXCEPTED, MAX_MEMBERS, MAX_SEQUENCE, KeyState, KeyStatement, is_valid

if TYPE_CHECKING:
    from pathlib import Path

KEYS = [key_of(seed) for seed in range(6)]
ONE, TWO, THREE = KEYS[:3]

names = st.from_regex(r"[!-+\--~]{1,128}", fullmatch=True)
any_names = st.lists(names | st.text(max_size=3), max_size=3).map(tuple)
statements = st.builds(
    KeyStatement,
    st.sampled_from([key.id for key in KEYS[1:]]) | st.binary(min_size=3, max_size=5),
    st.integers(-1, 3),
    st.integers(-1, 3) | st.sampled_from([MAX_SEQUENCE, MAX_SEQUENCE + 1]),
    st.booleans(),
    any_names | any_names.map(set).map(sorted).map(tuple),
)


def through_text(records: KeyRecords) -> KeyRecords:
    return KeyRecords.of(KeyFile.parse(records.file().text()))


@given(st.lists(statements, max_size=8), st.sets(st.sampled_from(KEYS)), st.sets(names, max_size=3))
def test_whatever_a_ring_has_heard_its_records_come_back_from_a_file(
    heard: list[KeyStatement], held: set[object], members: set[str]
) -> None:
    ring = KeyRing("me:1", KeyRecords((KeyEntry.of(ONE),)))
    for key in KEYS:
        if key in held:
            ring.keys.install(key)
    ring.keys.merge(heard)
    ring.merge_reports(KeyReport(name, 1, 1) for name in members)
    records = ring.records()
    assert through_text(records) == records
    again = KeyRing("me:1", through_text(records), life=1)
    assert again.records() == records
    assert (again.keys.opening, again.keys.sealing) == (ring.keys.opening, ring.keys.sealing)
    assert (again.keys.statements(), again.keys.wanted()) == (ring.keys.statements(), ring.keys.wanted())
    assert again.is_written


@given(statements)
def test_a_statement_is_valid_if_and_only_if_a_file_can_have_it(statement: KeyStatement) -> None:
    try:
        entry = KeyEntry.stated(statement, None)
    except (ConfigError, ValueError):
        assert not is_valid(statement)
    else:
        assert is_valid(statement)
        assert entry.statement == statement


def test_a_key_that_is_known_and_not_held_is_asked_for_after_a_restart() -> None:
    ring = KeyRing("me:1", KeyRecords((KeyEntry.of(ONE),)))
    ring.keys.merge([KeyStatement(TWO.id, KeyState.USED, 7), KeyStatement(THREE.id, by_file=True)])
    again = KeyRing("me:1", through_text(ring.records()), life=1)
    assert again.keys.wanted() == (TWO.id,)
    assert again.keys.sealing == ONE.id
    peer = KeyRing("peer:1", KeyRecords((KeyEntry.of(ONE), KeyEntry(TWO.id, KeyState.USED, 7, key=TWO))))
    assert again.keys.take_material(peer.keys.material_for(again.keys.wanted()))
    assert again.keys.sealing == TWO.id
    assert again.report().holdings[TWO.id] == Holding.VOLATILE
    again.note_written(through_text(again.records()))
    assert again.report().holdings[TWO.id] == Holding.WRITTEN


def test_records_without_a_used_key_that_is_held_are_no_file() -> None:
    ring = KeyRing("me:1")
    assert (ring.records(), ring.is_written) == (KeyRecords(), True)
    with pytest.raises(ConfigError, match="there is no key"):
        ring.records().file()
    ring.keys.install(ONE)
    with pytest.raises(ConfigError, match="no key is used"):
        ring.records().file()
    ring.use(ONE.id, {"me:1"})
    assert through_text(ring.records()) == ring.records()


def test_a_ring_keeps_as_many_members_as_a_file_may_name() -> None:
    ring = KeyRing("me:1", KeyRecords((KeyEntry.of(ONE),)))
    ring.merge_reports(KeyReport(f"{number:05}", 1, 1) for number in range(MAX_MEMBERS + 9))
    assert len(ring.records().members) == MAX_MEMBERS
    assert through_text(ring.records()) == ring.records()
    assert ring.merge_reports([KeyReport("00001", 1, 2)])
    assert not ring.merge_reports([KeyReport("another", 1, 1)])
    ring.forget_member("00001")
    assert ring.merge_reports([KeyReport("another", 1, 1)])


def test_a_rotation_is_kept_on_the_disk(tmp_path: Path) -> None:
    path = str(tmp_path / "cluster.key")
    new_key_file(path, ONE)
    ring = KeyRing("me:1", KeyRecords.of(read_key_file(path)))

    def write() -> None:
        ring.note_written(KeyRecords.of(update_key_file(path, lambda _: ring.records().file())))

    assert ring.is_written
    ring.keys.install(TWO)
    write()
    ring.use(TWO.id, {"me:1"})
    write()
    ring.retire(ONE.id, {"me:1", "thief:1"}, ["thief:1"])
    write()
    assert ring.forget_retired({"me:1", "thief:1"}) == (ONE.id,)
    write()
    assert ring.is_written
    kept = read_key_file(path)
    assert kept.sealing_key == TWO
    assert kept.entries[0] == KeyEntry(ONE.id, KeyState.RETIRED, excepted=("thief:1",))
    assert KeyRing("me:1", KeyRecords.of(kept), life=1).records() == ring.records()


def test_what_could_not_be_read_again_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "cluster.key"
    new_key_file(str(path), ONE)
    before = path.read_text()
    excepted = tuple(f"{number:0128}" for number in range(MAX_EXCEPTED))
    retired = [KeyEntry(number.to_bytes(4, "big"), KeyState.RETIRED, excepted=excepted) for number in range(600)]
    with pytest.raises(ConfigError, match="could not be read again"):
        update_key_file(str(path), lambda old: KeyFile((*old.entries, *retired)))
    assert path.read_text() == before
    assert [one.name for one in tmp_path.iterdir() if one.suffix == ".tmp"] == []
