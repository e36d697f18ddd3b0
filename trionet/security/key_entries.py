"""The keys of one node with their states, and their form in a key file.

The simplest file is one line: the text of one key, which is used. Otherwise a line has a key, its state, and where it
applies its sequence and ``by-file``. Of a retired key that was forgotten, the id stays, so that it can't come back::

    trionet-key-v1:...48 characters... used sequence=3
    trionet-key-v1:...48 characters... installed by-file
    id=1a2b3c4d retired sequence=2

Empty lines, and those that begin with ``#``, are comments.

Invariants: `parse_entries` and `format_entries` are inverse. Each id occurs once, and at least one key is used. No
error, and no variable of a frame in its traceback, shows key material.
"""

from __future__ import annotations

import dataclasses
import enum
import re
from typing import TYPE_CHECKING, Final

from trionet.errors import ConfigError

from .keys import KEY_ID_BYTES, ClusterKey

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["MAX_ENTRIES", "KeyEntry", "KeyState", "check_entries", "format_entries", "parse_entries", "sealing_key"]

MAX_ENTRIES: Final = 1024
"""How many keys a file may name, the retired ones included."""

_MAX_SEQUENCE: Final = 2**63 - 1
_ID: Final = re.compile(rf"id=([0-9a-f]{{{2 * KEY_ID_BYTES}}})\Z")
_ATTRIBUTES: Final = re.compile(
    r"(?P<state>installed|used|retired)(?: sequence=(?P<sequence>0|[1-9][0-9]{0,18}))?(?P<by_file> by-file)?\Z"
)


class KeyState(enum.IntEnum):
    """What a key is for. A state is only ever followed by a greater one."""

    INSTALLED = 1
    """It opens."""
    USED = 2
    """It opens, and seals if no other used key has a greater (sequence, id)."""
    RETIRED = 3
    """It does neither any more, or will not soon."""


@dataclasses.dataclass(frozen=True, slots=True)
class KeyEntry:
    """A key with its state.

    Attributes:
        id: the key id.
        state: its state.
        sequence: the number of the operator's command ``use`` for this key; 0 for one that was never told.
        by_file: whether it never travels to other nodes.
        key: the key; None for a retired one that was forgotten.
    """

    id: bytes
    state: KeyState
    sequence: int = 0
    by_file: bool = False
    key: ClusterKey | None = None

    def __post_init__(self) -> None:
        if type(self.id) is not bytes or len(self.id) != KEY_ID_BYTES:
            raise ConfigError(f"a key id has {KEY_ID_BYTES} bytes")
        if not isinstance(self.state, KeyState):
            raise ConfigError(f"the state of a key is a KeyState, not a {type(self.state).__name__}")
        if type(self.sequence) is not int or not 0 <= self.sequence <= _MAX_SEQUENCE:
            raise ConfigError(f"the sequence of a key is a number from 0 to {_MAX_SEQUENCE}")
        if type(self.by_file) is not bool:
            raise ConfigError(f"by_file is True or False, not a {type(self.by_file).__name__}")
        if self.key is None and self.state is not KeyState.RETIRED:
            raise ConfigError(f"the key {self.id.hex()} is {self.state.name.lower()}, so it can't be forgotten")
        if self.key is not None and (not isinstance(self.key, ClusterKey) or self.key.id != self.id):
            raise ConfigError("the id of an entry is that of its key")

    @classmethod
    def of(cls, key: ClusterKey, state: KeyState = KeyState.USED) -> KeyEntry:
        """Return the entry of a new key."""
        if not isinstance(key, ClusterKey):
            raise ConfigError(f"expected a ClusterKey, not a {type(key).__name__}")
        return cls(key.id, state, key=key)


def sealing_key(entries: Sequence[KeyEntry]) -> ClusterKey:
    """Return the key that seals: the used one with the greatest (sequence, id).

    Raises:
        ConfigError: none is used.
    """
    used = [entry for entry in entries if entry.state is KeyState.USED]
    if not used:
        raise ConfigError("no key is used: mark one as used, or make one with: trionet keys new FILE")
    key = max(used, key=lambda entry: (entry.sequence, entry.id)).key
    assert key is not None  # of a used entry
    return key


def parse_entries(text: str) -> tuple[KeyEntry, ...]:
    """Return the entries in the text of a key file.

    Raises:
        ConfigError: the text is none; the error begins with the line, and does not quote it.
    """
    found = _parsed(text)
    del text
    if isinstance(found, str):
        raise ConfigError(found)
    check_entries(found)
    return found


def format_entries(entries: Sequence[KeyEntry]) -> str:
    """Return the text of a key file. It holds key material.

    Raises:
        ConfigError: there are too many, one occurs twice, or none is used.
    """
    check_entries(entries)
    if len(entries) == 1 and entries[0] == KeyEntry(entries[0].id, KeyState.USED, key=entries[0].key):
        return f"{sealing_key(entries).reveal()}\n"
    return "".join(f"{_line_of(entry)}\n" for entry in entries)


def check_entries(entries: Sequence[KeyEntry]) -> None:
    """Raise `ConfigError` if these can't be all keys of one node."""
    if len(entries) > MAX_ENTRIES:
        raise ConfigError(f"there are more than {MAX_ENTRIES} keys: remove the lines of those retired long ago")
    known = set[bytes]()
    for entry in entries:
        if entry.id in known:
            raise ConfigError(f"the key {entry.id.hex()} is there twice: remove one of the lines")
        known.add(entry.id)
    if not entries:
        raise ConfigError("there is no key: make one with: trionet keys new FILE")
    sealing_key(entries)


def _parsed(text: str) -> tuple[KeyEntry, ...] | str:
    """Return the entries, or what is wrong."""
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line and not line.startswith("#")]
    entries = []
    for number, line in lines:
        entry = _entry_in(line, is_alone=len(lines) == 1)
        if isinstance(entry, str):
            return f"line {number}: {entry}"
        entries.append(entry)
        if len(entries) > MAX_ENTRIES:
            break
    return tuple(entries)


def _entry_in(line: str, *, is_alone: bool) -> KeyEntry | str:
    """Return the entry in a line, or what is wrong with it."""
    name, space, rest = line.partition(" ")
    attributes = _ATTRIBUTES.match(rest)
    by_id = _ID.match(name)
    if space and attributes is None:
        return "after the key come its state (installed, used or retired), then sequence=N, then by-file, if they apply"
    if by_id is not None and (attributes is None or attributes["state"] != "retired"):
        return "only a retired key is given by its id"
    if not (space or is_alone):
        return "with several keys in a file, each needs its state: add ' used' or ' installed' to the line"
    try:
        key = None if by_id else ClusterKey.parse(name)
    except ConfigError as exc:
        return exc.text
    key_id = key.id if key else bytes.fromhex(by_id[1]) if by_id else b""
    if attributes is None:
        return KeyEntry(key_id, KeyState.USED, key=key)
    state = KeyState[attributes["state"].upper()]
    sequence = int(attributes["sequence"] or 0)
    if sequence > _MAX_SEQUENCE:
        return f"a sequence is at most {_MAX_SEQUENCE}"
    return KeyEntry(key_id, state, sequence, attributes["by_file"] is not None, key)


def _line_of(entry: KeyEntry) -> str:
    name = f"id={entry.id.hex()}" if entry.key is None else entry.key.reveal()
    sequence = f" sequence={entry.sequence}" if entry.sequence else ""
    return f"{name} {entry.state.name.lower()}{sequence}{' by-file' if entry.by_file else ''}"
