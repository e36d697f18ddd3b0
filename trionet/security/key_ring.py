"""The rotation of the keys at one node: the steps that must wait for other members, and what it waits for.

A key is installed, then used, then retired. Invariants:

- A key is used only once every present member holds it, and retired only once every present member has its successor in
  its key file and seals with that one. Absent members must be excepted by name. So no other member is ever stranded.
- A retirement is final. A key is forgotten once every present member has the retirement in its key file.
- At most `MAX_MEMBERS` other members are known: as many as a key file may name.
- Two operators can't retire two keys for each other: each needs that the other's node seals with another key.

The present members are those of this node's membership; the node itself is always one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from trionet.errors import PreconditionFailed

from .held_keys import HeldKeys
from .holds_secrets import HoldsSecrets
from .key_records import KeyRecords
from .key_reports import Holding, KeyReport, KeyReports, Readiness
from .key_statements import MAX_EXCEPTED, MAX_MEMBERS, MAX_SEQUENCE, KeyState, KeyStatement, is_member_name
from .rollout import STEPS, Rollout, Send

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

__all__ = ["NO_RECORDS", "KeyRing"]

NO_RECORDS: Final = KeyRecords()


class KeyRing(HoldsSecrets):
    """The rotation of the keys at one node. One thread uses it.

    Attributes:
        name: the node's name.
        is_given: whether another node gives it the keys at each of its starts.
        keys: the keys that it holds.
        reports: the newest report of each member.
        rollout: what this node accepts and sends.
    """

    __slots__ = (
        "_begun",
        "_given",
        "_has_rollout",
        "_life",
        "_members",
        "_number",
        "_written",
        "is_given",
        "keys",
        "name",
        "reports",
        "rollout",
    )

    def __init__(
        self,
        name: str,
        records: KeyRecords = NO_RECORDS,
        *,
        life: int = 0,
        rollout: Rollout | None = None,
        is_given: bool = False,
    ) -> None:
        """Hold the keys of a key file.

        Args:
            name: the node's name.
            records: the content of the key file.
            life: a number that is greater after each start of the node.
            rollout: what the node accepts and sends; None: what the records have, or only what is sealed.
            is_given: whether another node gives it the keys at each of its starts.
        """
        self.name: str = name
        self.is_given: bool = is_given
        self.reports: KeyReports = KeyReports()
        self.rollout: Rollout = rollout or records.rollout or STEPS[-1]
        self._begun = self.rollout
        self._has_rollout = self.rollout != STEPS[-1] or records.rollout is not None
        self.keys: HeldKeys = HeldKeys(records.keys)
        self._life = life
        self._number = 0
        self._given: set[str] = set()
        self._members = set(records.members) - {name}
        self.note_written(records)
        self.report()

    def merge_reports(self, reports: Iterable[KeyReport]) -> bool:
        """Keep the newest reports; return whether anything is new. One in this node's own name is overruled."""
        is_new = False
        for one in reports:
            if one.name == self.name:
                if (one.life, one.number) >= (self._life, self._number) and one != self.reports.get(self.name):
                    self._life, self._number = one.life, one.number + 1  # of an earlier life: the next one overrules it
            elif self._is_bounded(one.name) and self.reports.merge(one):
                self._members.add(one.name)
                is_new = True
        return is_new

    def _is_bounded(self, name: str) -> bool:
        return name in self._members or len(self._members) < MAX_MEMBERS

    def note_members(self, names: Iterable[str]) -> None:
        """Record the names of members, reports of which may never have come."""
        for name in names:
            if name != self.name and is_member_name(name) and self._is_bounded(name):
                self._members.add(name)

    def note_given(self, name: str) -> None:
        """Record a member to which this node gives the keys at each of its starts."""
        self._given.add(name)

    def forget_member(self, name: str) -> None:
        """Wait no longer for a member that has left for good."""
        self._members.discard(name)
        self._given.discard(name)
        self.reports.forget(name)

    def records(self) -> KeyRecords:
        """Return what belongs into the key file."""
        members = tuple(name for name in self.members if not self._is_given(name))
        return KeyRecords(self.keys.entries(), members, self.rollout if self._has_rollout else None)

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
        holdings: dict[bytes, int] = {key_id: self._holding(key_id) for key_id in sorted(self.keys)}
        # After a restart it has the step that is written: others must not rely on a later one.
        kept = self._written.rollout or self._begun
        sealing, rollout = self.keys.sealing or b"", min(kept, self.rollout, key=lambda one: (one.accept, one.send))
        steps = (rollout.accept, rollout.send)
        report = KeyReport(self.name, self._life, self._number, holdings, sealing, *steps, self.is_given)
        if report != last:
            self._number += 1
            report = msgspec.structs.replace(report, number=self._number)
            self.reports.merge(report)
        return report

    def _holding(self, key_id: bytes) -> Holding:
        written = next((one for one in self._written.keys if one.id == key_id and one.key is not None), None)
        if written is None:
            return Holding.VOLATILE
        return Holding.CLOSING if written.state >= KeyState.RETIRED else Holding.WRITTEN

    def may_use(self, key_id: bytes, present: Collection[str], without: Collection[str] = ()) -> Readiness:
        """Return whether a key may be used, and what it waits for.

        Args:
            key_id: names the key.
            present: the names of the present members.
            without: the names of the members that are excepted.
        """
        known = self.keys.statement(key_id)
        if known is None or key_id not in self.keys:
            return Readiness(why=f"key {key_id.hex()} is not installed here: install it first")
        if known.state >= KeyState.RETIRED:
            return Readiness(why=f"key {key_id.hex()} is retired, which is final: install a new one")
        if self._greatest_sequence() >= MAX_SEQUENCE:
            return Readiness(why="a member has used up the sequence numbers: begin anew, with a new key by file")
        lacking, volatile = self._confirmed(key_id, present, without)
        absent = [name for name in self._absent(present, without) if not self._holds(name, key_id, Holding.WRITTEN)]
        # A key that travels is given again to a member that lost it.
        return Readiness(lacking=lacking, volatile=volatile if known.by_file else (), absent=tuple(absent))

    def use(self, key_id: bytes, present: Collection[str], without: Collection[str] = ()) -> KeyStatement:
        """Seal with a key from now on, at every member; arguments as for `may_use`.

        Raises:
            PreconditionFailed: it may not be used.
        """
        self._require(self.may_use(key_id, present, without), f"key {key_id.hex()} can't be used yet")
        if self.keys.sealing == key_id and self.keys.state(key_id) == KeyState.USED:
            return self._stated(KeyStatement(key_id))
        return self._stated(KeyStatement(key_id, KeyState.USED, self._greatest_sequence() + 1))

    def may_retire(self, key_id: bytes, present: Collection[str], without: Collection[str] = ()) -> Readiness:
        """Return whether a key may be retired, and what it waits for; arguments as for `may_use`."""
        known, successor = self.keys.statement(key_id), self.keys.sealing
        if known is None:
            return Readiness(why=f"there is no key {key_id.hex()}")
        if known.state >= KeyState.RETIRED:
            return Readiness()
        if successor is None or successor == key_id or self.keys.state(successor) < KeyState.USED:
            return Readiness(why=f"key {key_id.hex()} seals: use another one first")
        if len(set(without).intersection(present)) > MAX_EXCEPTED:
            return Readiness(why=f"at most {MAX_EXCEPTED} present members can be excepted: stop the others")
        if not all(map(is_member_name, without)):
            return Readiness(why="members are excepted by their names, 'ip:port'")
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
        return self._stated(
            KeyStatement(key_id, KeyState.RETIRED, excepted=tuple(sorted(set(without).intersection(present))))
        )

    def forget_retired(self, present: Collection[str]) -> tuple[bytes, ...]:
        """Forget the retired keys of whose retirement every present member has reported; return their ids."""
        found = [key_id for key_id in self.keys.opening if self._may_forget(key_id, present)]
        for key_id in found:
            self.keys.forget(key_id)
        return tuple(found)

    def closing_text(self, key_id: bytes, present: Collection[str]) -> str:
        """Return who has not yet reported the retirement of a key, for people; "ready" if all have."""
        statement = self.keys.statement(key_id)
        excepted = () if statement is None else statement.excepted
        waiting = (name for name in self._asked(present, excepted) if not self._has_closed(name, key_id))
        return str(Readiness(lacking=tuple(waiting)))

    @property
    def unreported(self) -> tuple[str, ...]:
        """The names of the other members without a report."""
        return tuple(name for name in sorted(self._members) if self.reports.get(name) is None)

    @property
    def members(self) -> tuple[str, ...]:
        """The names of the other members that are known, absent ones included."""
        return tuple(sorted(self._members))

    @property
    def has_rotated(self) -> bool:
        """Whether a key was ever installed, used or retired: until then the key file stays as its user made it."""
        known = self.keys.statements()
        return len(known) > 1 or any(one.sequence for one in known)

    @property
    def is_rotating(self) -> bool:
        """Whether a rotation goes on: several keys are held, or one is wanted."""
        return len(self.keys.opening) > 1 or bool(self.keys.wanted())

    def lagging(self, present: Collection[str]) -> list[str]:
        """Return the present members that have not reported what follows from the keys of this node."""
        return [name for name in self._asked(present, ()) if name != self.name and not self._keeps_up(name)]

    def _keeps_up(self, name: str) -> bool:
        report, keys = self.reports.get(name), self.keys
        if report is None or report.sealing != (keys.sealing or b""):
            return False
        dialing = set(keys.dialing)
        return all(
            report.holdings.get(key_id, -1) >= Holding.VOLATILE
            if key_id in dialing
            else report.holdings.get(key_id, Holding.CLOSING) == Holding.CLOSING
            for key_id in keys.opening
            if not (key_id in dialing and self._is_by_file(key_id))
        )

    def _is_by_file(self, key_id: bytes) -> bool:
        known = self.keys.statement(key_id)
        return known is not None and known.by_file

    def may_step(self, to: Rollout, present: Collection[str], without: Collection[str] = ()) -> Readiness:
        """Return whether this node may take the next step of a rollout; names as for `may_use`."""
        sealing = self.keys.sealing
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

    def reach(self, rollout: Rollout | None) -> bool:
        """Go forward to the step that the key file has, taken by another node of it; return whether so."""
        if rollout is None or (rollout.accept, rollout.send) <= (self.rollout.accept, self.rollout.send):
            return False
        self.rollout, self._has_rollout = rollout, True
        return True

    def step(self, to: Rollout, present: Collection[str], without: Collection[str] = ()) -> None:
        """Take the next step of a rollout; names as for `may_use`.

        Raises:
            PreconditionFailed: it may not be taken.
        """
        what = f"accept={to.accept.name.lower()}, send={to.send.name.lower()} is not possible yet"
        self._require(self.may_step(to, present, without), what)
        self.rollout = to

    def _stated(self, statement: KeyStatement) -> KeyStatement:
        """Merge a statement of this node's own; return what is known of its key now."""
        self.keys.merge((statement,))
        return self.keys.statement(statement.key_id) or statement

    def _greatest_sequence(self) -> int:
        return max((one.sequence for one in self.keys.statements()), default=0)

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
        return tuple(name for name in sorted(self._members.difference(named)) if not self._is_given(name))

    def _is_given(self, name: str) -> bool:
        report = self.reports.get(name)
        return name in self._given or (report is not None and report.is_given)

    def _holds(self, name: str, key_id: bytes, least: Holding) -> bool:
        report = self.reports.get(name)
        return report is not None and least <= report.holdings.get(key_id, -1) <= Holding.WRITTEN

    def _seals(self, name: str, key_id: bytes) -> bool:
        report = self.reports.get(name)
        return report is not None and report.sealing == key_id

    def _has_reached(self, name: str, step: Rollout) -> bool:
        if name == self.name:
            return self.rollout.accept >= step.accept and self.rollout.send >= step.send
        report = self.reports.get(name)
        return report is not None and report.accept >= step.accept and report.send >= step.send

    def _may_forget(self, key_id: bytes, present: Collection[str]) -> bool:
        statement = self.keys.statement(key_id)
        if statement is None or statement.state < KeyState.RETIRED:
            return False
        self.report()
        return all(self._has_closed(name, key_id) for name in self._asked(present, statement.excepted))

    def _has_closed(self, name: str, key_id: bytes) -> bool:
        report = self.reports.get(name)
        return report is not None and report.holdings.get(key_id, Holding.CLOSING) == Holding.CLOSING

    def _require(self, readiness: Readiness, what: str) -> None:
        if not readiness.is_ready:
            raise PreconditionFailed(f"{what}: {readiness}")
