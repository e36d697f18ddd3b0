"""What a key file holds: the keys of one node with their states, and the members that it knows.

The simplest file is one line: the text of one key, which is used. Otherwise a line has a key, its state, and where they
apply its sequence, ``by-file``, and the members for which its retirement did not wait. Of a key that is not held only
the id is there: of a retired one that was forgotten, so that it can't come back; or of one that others hold, and that
this node has not received yet. Other lines name the other members, so that a node that has just
started does not take itself for the whole cluster::

    trionet-key-v1:...48 characters... used sequence=3
    trionet-key-v1:...48 characters... installed by-file
    id=1a2b3c4d retired sequence=2 without=10.0.0.7:8080,10.0.0.8:8080
    member=10.0.0.2:8080

During a rollout another line says how far it has come here, so that a restart doesn't undo it::

    rollout accept=both send=plain

Empty lines, and those that begin with ``#``, are comments.

Invariants: `KeyFile.parse` and `KeyFile.text` are inverse. Each id occurs once, and at least one key that is held is
used. No error, and no variable of a frame in its traceback, shows key material.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Final

from trionet.errors import ConfigError

from .key_statements import (
    MAX_EXCEPTED,
    MAX_KEYS,
    MAX_MEMBERS,
    MAX_SEQUENCE,
    KeyState,
    KeyStatement,
    is_member_name,
    rank,
)
from .keys import KEY_ID_BYTES, ClusterKey
from .rollout import Rollout, rollout_named

__all__ = ["KeyEntry", "KeyFile"]

_ID_PREFIX: Final = "id="
_ID: Final = re.compile(rf"{_ID_PREFIX}[0-9a-f]{{{2 * KEY_ID_BYTES}}}\Z")
_ATTRIBUTES: Final = re.compile(
    r"(?P<state>installed|used|retired)(?: sequence=(?P<sequence>0|[1-9][0-9]{0,18}))?(?P<by_file> by-file)?"
    r"(?: without=(?P<excepted>[!-~]+))?\Z"
)
_MEMBER_LINE: Final = "member="
_ROLLOUT_LINE: Final = "rollout "
_ROLLOUT: Final = re.compile(r"rollout accept=([a-z]{1,8}) send=([a-z]{1,8})\Z")


@dataclasses.dataclass(frozen=True, slots=True)
class KeyEntry:
    """A key with its state.

    Attributes:
        id: the key id.
        state: its state.
        sequence: the number of the operator's command ``use`` for this key; 0 for one that was never told.
        by_file: whether it never travels to other nodes.
        excepted: the members for which its retirement does not wait, sorted.
        key: the key; None if this node does not hold it.
    """

    id: bytes
    state: KeyState
    sequence: int = 0
    by_file: bool = False
    excepted: tuple[str, ...] = ()
    key: ClusterKey | None = None

    def __post_init__(self) -> None:
        if type(self.id) is not bytes or len(self.id) != KEY_ID_BYTES:
            raise ConfigError(f"a key id has {KEY_ID_BYTES} bytes")
        if not isinstance(self.state, KeyState):
            raise ConfigError(f"the state of a key is a KeyState, not a {type(self.state).__name__}")
        if type(self.sequence) is not int or not 0 <= self.sequence <= MAX_SEQUENCE:
            raise ConfigError(f"the sequence of a key is a number from 0 to {MAX_SEQUENCE}")
        if type(self.by_file) is not bool:
            raise ConfigError(f"by_file is True or False, not a {type(self.by_file).__name__}")
        _check_names(self.excepted, MAX_EXCEPTED)
        if self.excepted and self.state is not KeyState.RETIRED:
            raise ConfigError("members are excepted from a retirement alone")
        if self.key is not None and (not isinstance(self.key, ClusterKey) or self.key.id != self.id):
            raise ConfigError("the id of an entry is that of its key")

    @classmethod
    def stated(cls, statement: KeyStatement, key: ClusterKey | None) -> KeyEntry:
        """Return the entry of a key with a valid statement."""
        state = KeyState(statement.state)
        return cls(statement.key_id, state, statement.sequence, statement.by_file, statement.excepted, key)

    @property
    def statement(self) -> KeyStatement:
        """What is stated about the key."""
        return KeyStatement(self.id, self.state, self.sequence, self.by_file, self.excepted)

    @classmethod
    def of(cls, key: ClusterKey, state: KeyState = KeyState.USED) -> KeyEntry:
        """Return the entry of a new key."""
        if not isinstance(key, ClusterKey):
            raise ConfigError(f"expected a ClusterKey, not a {type(key).__name__}")
        return cls(key.id, state, key=key)


@dataclasses.dataclass(frozen=True, slots=True)
class KeyFile:
    """What a key file holds.

    Attributes:
        entries: the keys.
        members: the names of the other members that are known, sorted.
        rollout: how far a rollout has come at the nodes with this file; None if there was none.
    """

    entries: tuple[KeyEntry, ...]
    members: tuple[str, ...] = ()
    rollout: Rollout | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.entries, tuple) or not all(isinstance(entry, KeyEntry) for entry in self.entries):
            raise ConfigError("the keys of a file are a tuple of entries")
        if len(self.entries) > MAX_KEYS:
            raise ConfigError(f"there are more than {MAX_KEYS} keys: remove the lines of those retired long ago")
        known = set[bytes]()
        for entry in self.entries:
            if entry.id in known:
                raise ConfigError(f"the key {entry.id.hex()} is there twice: remove one of the lines")
            known.add(entry.id)
        _check_names(self.members, MAX_MEMBERS)
        if not self.entries:
            raise ConfigError("there is no key: make one with: trionet keys new FILE")
        if not self._used():
            raise ConfigError("no key is used: mark one as used, or make one with: trionet keys new FILE")

    @classmethod
    def of(cls, key: ClusterKey) -> KeyFile:
        """Return the simplest file."""
        return cls((KeyEntry.of(key),))

    @classmethod
    def parse(cls, text: str) -> KeyFile:
        """Return what a text holds.

        Raises:
            ConfigError: it is no text of a key file; the error names the line, and does not quote it.
        """
        found = _parsed(text)
        del text
        if isinstance(found, str):
            raise ConfigError(found)
        return cls(*found)

    @property
    def sealing_key(self) -> ClusterKey:
        """The key that seals: the used one with the greatest (sequence, id)."""
        return max(self._used(), key=lambda found: rank(found[0].statement))[1]

    def _used(self) -> list[tuple[KeyEntry, ClusterKey]]:
        """Return the used keys that are held."""
        return [(one, one.key) for one in self.entries if one.state is KeyState.USED and one.key is not None]

    def text(self) -> str:
        """Return the text of the file. It holds key material."""
        key = self.sealing_key
        if self == KeyFile.of(key):
            return f"{key.reveal()}\n"
        lines = [*map(_line_of, self.entries), *(f"{_MEMBER_LINE}{name}" for name in self.members)]
        if self.rollout is not None:
            lines.append(f"{_ROLLOUT_LINE}{self.rollout}")
        return "".join(f"{line}\n" for line in lines)


def _check_names(names: object, most: int) -> None:
    """Raise `ConfigError` if these are not sorted names of members."""
    if not isinstance(names, tuple) or not all(isinstance(name, str) and is_member_name(name) for name in names):
        raise ConfigError("members are named by texts of up to 128 visible characters without commas")
    if len(names) > most:
        raise ConfigError(f"there are more than {most} names of members")
    if list(names) != sorted(set(names)):
        raise ConfigError("names of members are sorted, and each is there once")


def _parsed(text: str) -> tuple[tuple[KeyEntry, ...], tuple[str, ...], Rollout | None] | str:
    """Return the entries, the members and the rollout, or what is wrong."""
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line and not line.startswith("#")]
    keys = [(number, line) for number, line in lines if not line.startswith((_MEMBER_LINE, _ROLLOUT_LINE))]
    members = tuple(line.removeprefix(_MEMBER_LINE) for _, line in lines if line.startswith(_MEMBER_LINE))
    rollout: Rollout | None = None
    for number, line in lines:
        if line.startswith(_ROLLOUT_LINE):
            found = _ROLLOUT.match(line)
            rollout = rollout_named(*found.groups()) if found and rollout is None else None
            if rollout is None:
                return f"line {number}: after rollout come accept=both send=plain, once, or later steps of a rollout"
    entries = []
    for number, line in keys[: MAX_KEYS + 1]:
        entry = _entry_in(line, is_alone=len(keys) == 1)
        if isinstance(entry, str):
            return f"line {number}: {entry}"
        entries.append(entry)
    return tuple(entries), members, rollout


def _entry_in(line: str, *, is_alone: bool) -> KeyEntry | str:
    """Return the entry in a line, or what is wrong with it."""
    name, space, rest = line.partition(" ")
    attributes = _ATTRIBUTES.match(rest)
    by_id = _ID.match(name)
    try:
        key = ClusterKey.parse(name) if by_id is None else None
        if space and attributes is None:
            return "after a key come its state (installed, used or retired), sequence=N, by-file and without=NAMES"
        if not (space or is_alone or by_id):
            return "with several keys in a file, each needs its state: add ' used' or ' installed' to the line"
        if attributes is None:
            return "after a key id comes its state: installed, used or retired" if key is None else KeyEntry.of(key)
        key_id = key.id if key is not None else bytes.fromhex(name.removeprefix(_ID_PREFIX))
        state, sequence = KeyState[attributes["state"].upper()], int(attributes["sequence"] or 0)
        excepted = tuple(attributes["excepted"].split(",")) if attributes["excepted"] else ()
        return KeyEntry(key_id, state, sequence, attributes["by_file"] is not None, excepted, key)
    except ConfigError as exc:
        return exc.text


def _line_of(entry: KeyEntry) -> str:
    name = f"{_ID_PREFIX}{entry.id.hex()}" if entry.key is None else entry.key.reveal()
    sequence = f" sequence={entry.sequence}" if entry.sequence else ""
    without = f" without={','.join(entry.excepted)}" if entry.excepted else ""
    return f"{name} {entry.state.name.lower()}{sequence}{' by-file' if entry.by_file else ''}{without}"
