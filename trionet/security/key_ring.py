"""The keys of one node, their rotation, and the steps that must wait for others.

A key is installed, then used, then retired. Of the keys that a node holds the one of the highest rank seals: the last that
was used. All that are not yet forgotten open. Invariants:

- A key is used only once every present member holds it, and retired only once every present member has its successor in
  its key file and seals with that one. Absent members must be excepted by name. So no other member is ever stranded.
- A retirement is final. A key is forgotten once every present member has the retirement in its key file.
- A key leaves this node only as `KeyMaterial`, which travels over a sealed link, and never if it is `by_file`: so only
  those rotate out whoever holds the old keys.

The present members are those of the membership of this node, itself included.

Source: CRDTs (Shapiro, Preguiça, Baquero, Zawirski 2011), section 2.2, for the merge.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from trionet.errors import PreconditionFailed

from .key_reports import Holding, KeyReport, KeyReports, Readiness
from .key_statements import (
    MOST_EXCEPTED,
    MOST_SEQUENCE,
    KeyMaterial,
    KeyRecords,
    KeyState,
    KeyStatement,
    is_valid,
    is_valid_material,
    merged,
    rank,
)
from .rollout import STEPS, Accept, Rollout, Send

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

__all__ = ["NO_RECORDS", "KeyRing", "first_key"]

NO_RECORDS: Final = KeyRecords()
_MOST_KEYS: Final = 4096
_MOST_HELD: Final = 16


def first_key(key: bytes, id_of: Callable[[bytes], bytes]) -> KeyMaterial:
    """Return the record of the only key of a new cluster: it is used from the start."""
    return KeyMaterial(KeyStatement(id_of(key), KeyState.USED), key)


class KeyRing:
    """The keys of one node. Several threads must not use it at once.

    Attributes:
        name: the node's name.
        reports: the newest report of each member.
        rollout: what this node accepts and sends.
    """

    __slots__ = ("_id_of", "_keys", "_life", "_members", "_number", "_statements", "_written", "name", "reports", "rollout")

    def __init__(
        self,
        name: str,
        id_of: Callable[[bytes], bytes],
        records: KeyRecords = NO_RECORDS,
        *,
        life: int = 0,
        rollout: Rollout = STEPS[-1],
    ) -> None:
        """Hold the keys of a key file.

        Args:
            name: the node's name.
            id_of: returns the id of a key.
            records: the content of the key file; invalid keys are left out.
            life: a number that is greater after each start of the node.
            rollout: what the node accepts and sends.
        """
        self.name: str = name
        self.reports: KeyReports = KeyReports()
        self.rollout: Rollout = rollout
        self._id_of = id_of
        self._life = life
        self._number = 0
        self._statements: dict[bytes, KeyStatement] = {}
        self._keys: dict[bytes, bytes] = {}
        self._members = set(records.members) - {name}
        self.merge(one.statement for one in records.keys)
        for one in records.keys:  # a key that is retired and still there is not forgotten yet
            if is_valid_material(one, id_of):
                self._hold(one)
        self.note_written(records)
        self.report()

    # ------------------------------------------------------------------------------------------------------- the keys

    def reload(self, records: KeyRecords) -> bool:
        """Take the records of the key file again, those of keys that never travel too; return whether anything is new."""
        is_new = False
        for one in records.keys:
            if is_valid_material(one, self._id_of):
                is_new = self._take(one) or is_new
        return is_new

    def install(self, key: bytes, *, by_file: bool = False) -> KeyStatement:
        """Hold a new key; it seals nothing until it is used.

        Raises:
            PreconditionFailed: it is retired, another key has its id, or there are too many keys.
        """
        key_id = self._id_of(key)
        known = self._statements.get(key_id)
        if known is not None and known.state >= KeyState.RETIRED:
            raise PreconditionFailed(f"key {key_id.hex()} is retired, which is final: make a new one")
        if self._keys.get(key_id, key) != key:
            raise PreconditionFailed(f"another key has the id {key_id.hex()}: make a new one")
        if len(self._keys) >= _MOST_HELD or len(self._statements) >= _MOST_KEYS:
            raise PreconditionFailed(f"there are {len(self._keys)} keys already: retire some first")
        self._take(KeyMaterial(KeyStatement(key_id, by_file=by_file), key))
        return self._statements[key_id]

    def key(self, key_id: bytes) -> bytes:
        """Return the key with this id, which this node holds."""
        return self._keys[key_id]

    @property
    def sealing(self) -> bytes | None:
        """The id of the key that seals; None if there is none."""
        return next(iter(self.dialing), None)

    @property
    def dialing(self) -> tuple[bytes, ...]:
        """The ids of the keys under which this node may dial, the best first; a peer may know only a later one."""
        held = [one for key_id in self._keys if (one := self._statements[key_id]).state < KeyState.RETIRED]
        return tuple(one.key_id for one in sorted(held, key=rank, reverse=True))

    @property
    def opening(self) -> tuple[bytes, ...]:
        """The ids of the keys that open: those of `dialing`, then those that are retired and not yet forgotten."""
        dialing = self.dialing
        return (*dialing, *sorted(self._keys.keys() - set(dialing)))

    def _take(self, material: KeyMaterial) -> bool:
        """Merge the statement of a valid key, and hold it unless it is retired; return whether anything is new."""
        is_new = self.merge((material.statement,))
        known = self._statements.get(material.statement.key_id)
        if known is None or known.state >= KeyState.RETIRED or known.key_id in self._keys:
            return is_new
        self._hold(material)
        return True

    def _hold(self, record: KeyMaterial) -> None:
        if len(self._keys) < _MOST_HELD:
            self._keys.setdefault(record.statement.key_id, record.key)

    # -------------------------------------------------------------------------------------------------------- merging

    def statements(self) -> tuple[KeyStatement, ...]:
        """Return the statements about all keys, for gossip."""
        return tuple(self._statements.values())

    def merge(self, statements: Iterable[KeyStatement]) -> bool:
        """Merge statements; return whether anything is new. Invalid ones are ignored, and new ones over the bound."""
        is_new = False
        for one in statements:
            known = self._statements.get(one.key_id)
            if not is_valid(one) or (known is None and len(self._statements) >= _MOST_KEYS):
                continue
            now = one if known is None else merged(known, one)
            is_new = is_new or now != known
            self._statements[one.key_id] = now
        return is_new

    def merge_reports(self, reports: Iterable[KeyReport]) -> bool:
        """Keep the newest reports; return whether anything is new. One in this node's own name is overruled."""
        is_new = False
        for one in reports:
            if one.name == self.name:
                if (one.life, one.number) >= (self._life, self._number) and one != self.reports.get(self.name):
                    self._life, self._number = one.life, one.number  # of an earlier life: the next one overrules it
            elif self.reports.merge(one):
                self._members.add(one.name)
                is_new = True
        return is_new

    def forget_member(self, name: str) -> None:
        """Wait no longer for a member that has left for good."""
        self._members.discard(name)
        self.reports.forget(name)

    def wanted(self) -> tuple[bytes, ...]:
        """Return the ids of the keys to ask a peer for, over a sealed link."""
        return tuple(
            one.key_id
            for one in self._statements.values()
            if one.state < KeyState.RETIRED and not one.by_file and one.key_id not in self._keys
        )

    def material_for(self, key_ids: Iterable[bytes]) -> tuple[KeyMaterial, ...]:
        """Return the keys that a peer asks for over a sealed link: those held, not retired, and not by file."""
        found = [(self._statements[key_id], self._keys[key_id]) for key_id in key_ids if key_id in self._keys]
        return tuple(
            KeyMaterial(one, key) for one, key in found if one.state < KeyState.RETIRED and not one.by_file
        )

    def take_material(self, materials: Iterable[KeyMaterial]) -> bool:
        """Hold the keys that a peer sent over a sealed link; return whether any is new."""
        is_new = False
        for one in materials:
            known = self._statements.get(one.statement.key_id, one.statement)
            if is_valid_material(one, self._id_of) and not (known.by_file or one.statement.by_file):
                is_new = self._take(one) or is_new
        return is_new

    # ----------------------------------------------------------------------------------------- the key file and report

    def records(self) -> KeyRecords:
        """Return what belongs into the key file."""
        keys = (KeyMaterial(one, self._keys.get(one.key_id, b"")) for one in self._statements.values())
        return KeyRecords(tuple(keys), tuple(sorted(self._members)))

    @property
    def is_written(self) -> bool:
        """Whether the key file is up to date."""
        return self._written == self.records()

    def note_written(self, records: KeyRecords) -> None:
        """Record that exactly these records are in the key file now."""
        self._written = records

    def report(self) -> KeyReport:
        """Return this node's report, numbered anew if it differs from the last one."""
        last = self.reports.get(self.name)
        holdings = {key_id: self._holding(key_id) for key_id in sorted(self._keys)}
        report = KeyReport(
            self.name, self._life, self._number, holdings, self.sealing or b"", self.rollout.accept, self.rollout.send
        )
        if report != last:
            self._number += 1
            report = msgspec.structs.replace(report, number=self._number)
            self.reports.merge(report)
        return report

    def _holding(self, key_id: bytes) -> Holding:
        written = next((one for one in self._written.keys if one.statement.key_id == key_id and one.key), None)
        if written is None:
            return Holding.VOLATILE
        return Holding.CLOSING if written.statement.state >= KeyState.RETIRED else Holding.WRITTEN

    # ------------------------------------------------------------------------------------------------------- the steps

    def may_use(self, key_id: bytes, present: Collection[str], without: Collection[str] = ()) -> Readiness:
        """Return whether a key may be used, and what it waits for.

        Args:
            key_id: names the key.
            present: the names of the present members.
            without: the names of the members that are excepted.
        """
        known = self._statements.get(key_id)
        if known is None or key_id not in self._keys:
            return Readiness(why=f"key {key_id.hex()} is not installed here: install it first")
        if known.state >= KeyState.RETIRED:
            return Readiness(why=f"key {key_id.hex()} is retired, which is final: install a new one")
        if max(one.sequence for one in self._statements.values()) >= MOST_SEQUENCE:
            return Readiness(why="a member has used up the sequence numbers: begin anew, with a new key by file")
        lacking, volatile = self._confirmed(key_id, present, without)
        absent = [
            name for name in self._absent(present, without) if not self._holds(name, key_id, Holding.WRITTEN)
        ]
        # A key that travels is given again to a member that lost it.
        return Readiness(lacking=lacking, volatile=volatile if known.by_file else (), absent=tuple(absent))

    def use(self, key_id: bytes, present: Collection[str], without: Collection[str] = ()) -> KeyStatement:
        """Seal with a key from now on, at every member; arguments as for `may_use`.

        Raises:
            PreconditionFailed: it may not be used.
        """
        self._require(self.may_use(key_id, present, without), f"key {key_id.hex()} can't be used yet")
        if self.sealing != key_id:
            sequence = 1 + max(one.sequence for one in self._statements.values())
            self.merge((KeyStatement(key_id, KeyState.USED, sequence),))
        return self._statements[key_id]

    def may_retire(self, key_id: bytes, present: Collection[str], without: Collection[str] = ()) -> Readiness:
        """Return whether a key may be retired, and what it waits for; arguments as for `may_use`."""
        known, successor = self._statements.get(key_id), self.sealing
        if known is None:
            return Readiness(why=f"there is no key {key_id.hex()}")
        if known.state >= KeyState.RETIRED:
            return Readiness()
        if successor is None or successor == key_id or self._statements[successor].state < KeyState.USED:
            return Readiness(why=f"key {key_id.hex()} seals: use another one first")
        if len(without) > MOST_EXCEPTED:
            return Readiness(why=f"at most {MOST_EXCEPTED} members can be excepted: forget those that are gone for good")
        lacking, volatile = self._confirmed(successor, present, without)
        others = [name for name in self._asked(present, without) if not self._seals(name, successor)]
        return Readiness(
            lacking=tuple(sorted({*lacking, *others})),
            volatile=volatile,
            absent=self._absent(present, without),
        )

    def retire(self, key_id: bytes, present: Collection[str], without: Collection[str] = ()) -> KeyStatement:
        """Seal nothing with a key any more, at every member, and forget it when all have heard; as for `may_use`.

        Raises:
            PreconditionFailed: it may not be retired.
        """
        self._require(self.may_retire(key_id, present, without), f"key {key_id.hex()} can't be retired yet")
        self.merge((KeyStatement(key_id, KeyState.RETIRED, excepted=tuple(sorted(without))),))
        return self._statements[key_id]

    def forget_retired(self, present: Collection[str]) -> tuple[bytes, ...]:
        """Forget the retired keys of whose retirement every present member has reported; return their ids."""
        found = [key_id for key_id in self.opening if self._may_forget(key_id, present)]
        for key_id in found:
            del self._keys[key_id]
        return tuple(found)

    def may_step(self, to: Rollout, present: Collection[str], without: Collection[str] = ()) -> Readiness:
        """Return whether this node may take the next step of a rollout; names as for `may_use`."""
        sealing = self.sealing
        if self.rollout not in STEPS or STEPS[STEPS.index(self.rollout) + 1 :][:1] != (to,):
            return Readiness(why="a rollout goes forward, a step at a time: accept=both, send=sealed, accept=sealed")
        if sealing is None:
            return Readiness(why="there is no key here: install one by file")
        if to.send is Send.PLAIN:
            return Readiness()
        before = STEPS[STEPS.index(to) - 1]
        lacking, volatile = self._confirmed(sealing, present, without)
        behind = [name for name in self._asked(present, without) if not self._has_reached(name, before)]
        absent = [
            name
            for name in self._absent(present, without)
            if not (self._has_reached(name, before) and self._holds(name, sealing, Holding.WRITTEN))
        ]
        return Readiness(lacking=tuple(sorted({*lacking, *behind})), volatile=volatile, absent=tuple(absent))

    def step(self, to: Rollout, present: Collection[str], without: Collection[str] = ()) -> None:
        """Take the next step of a rollout; names as for `may_use`.

        Raises:
            PreconditionFailed: it may not be taken.
        """
        what = f"accept={to.accept.name.lower()}, send={to.send.name.lower()} is not possible yet"
        self._require(self.may_step(to, present, without), what)
        self.rollout = to

    def _confirmed(
        self, key_id: bytes, present: Collection[str], without: Collection[str]
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return who of the present members doesn't hold a key, and who holds it in memory only."""
        self.report()
        asked = self._asked(present, without)
        lacking = tuple(name for name in asked if not self._holds(name, key_id, Holding.VOLATILE))
        written = {name for name in asked if self._holds(name, key_id, Holding.WRITTEN)}
        return lacking, tuple(name for name in asked if name not in written and name not in lacking)

    def _asked(self, present: Collection[str], without: Collection[str]) -> list[str]:
        return sorted({*present, self.name}.difference(without))

    def _absent(self, present: Collection[str], without: Collection[str]) -> tuple[str, ...]:
        named = {*present, *without, self.name}
        return tuple(sorted(self._members.difference(named)))

    def _holds(self, name: str, key_id: bytes, least: Holding) -> bool:
        report = self.reports.get(name)
        return report is not None and least <= report.holdings.get(key_id, -1) <= Holding.WRITTEN

    def _seals(self, name: str, key_id: bytes) -> bool:
        report = self.reports.get(name)
        return report is not None and report.sealing == key_id

    def _has_reached(self, name: str, step: Rollout) -> bool:
        report = self.reports.get(name)
        return report is not None and report.accept >= step.accept and report.send >= step.send

    def _may_forget(self, key_id: bytes, present: Collection[str]) -> bool:
        statement = self._statements[key_id]
        if statement.state < KeyState.RETIRED:
            return False
        self.report()
        for name in {*present, self.name} - set(statement.excepted):
            report = self.reports.get(name)
            if report is None or report.holdings.get(key_id, Holding.CLOSING) != Holding.CLOSING:
                return False
        return True

    def _require(self, readiness: Readiness, what: str) -> None:
        if not readiness.is_ready:
            raise PreconditionFailed(f"{what}: {readiness}")
