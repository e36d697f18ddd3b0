"""The keys that one node holds, and what it knows of all keys of the cluster.

Invariants: of the keys that are held the one of the highest rank seals: the last that was used. All open that are held,
and dialing takes those that are not retired. A retired key that is forgotten is never held again. A key leaves this
node only as `KeyMaterial`, over a sealed link, and never if it was installed by file: so only such keys leave behind
whoever holds the old ones. At most `_MOST_HELD` keys are held, and `MAX_KEYS` known.

Source: CRDTs (Shapiro, Preguiça, Baquero, Zawirski 2011), section 2.2, for the merge.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Final

from trionet.errors import MalformedRequest, PreconditionFailed

from .holds_secrets import HoldsSecrets
from .key_entries import KeyEntry
from .key_material import KeyMaterial
from .key_statements import MAX_KEYS, KeyState, KeyStatement, is_valid, merged, rank
from .keys import ClusterKey

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["HeldKeys"]

_MOST_INSTALLED: Final = 16
_MOST_HELD: Final = 64
"""More than may be installed: those that operators install at once, in a partition, are held as well."""


class HeldKeys(HoldsSecrets):
    """The keys of one node."""

    __slots__ = ("_keys", "_statements")

    def __init__(self, entries: Iterable[KeyEntry] = ()) -> None:
        """Hold the keys of a key file."""
        self._statements: dict[bytes, KeyStatement] = {}
        self._keys: dict[bytes, ClusterKey] = {}
        for one in entries:
            self.merge((one.statement,))
            self._hold(one)  # a key that is retired and still there is not forgotten yet

    def __contains__(self, key_id: object) -> bool:
        return key_id in self._keys

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._keys)

    def reload(self, entries: Iterable[KeyEntry]) -> bool:
        """Take what is new in the key file, keys that never travel too; return whether anything is.

        A key that is new there is installed, whatever a file of one key alone says: whether it may be used depends on
        the other members.
        """
        is_new = False
        for one in entries:
            is_assumed = one.state is KeyState.USED and not one.sequence and one.id not in self._statements
            is_new = self._take(dataclasses.replace(one, state=KeyState.INSTALLED) if is_assumed else one) or is_new
        return is_new

    def install(self, key: ClusterKey, *, by_file: bool = False) -> KeyStatement:
        """Hold a new key; it seals nothing until it is used.

        Raises:
            MalformedRequest: it is no key.
            PreconditionFailed: it is retired, another key has its id, or there are too many keys.
        """
        if not isinstance(key, ClusterKey):
            raise MalformedRequest(f"a ClusterKey is installed, not a {type(key).__name__}")
        key_id = key.id
        known = self._statements.get(key_id)
        if known is not None and known.state >= KeyState.RETIRED:
            raise PreconditionFailed(f"key {key_id.hex()} is retired, which is final: make a new one")
        if self._keys.get(key_id, key) != key:
            raise PreconditionFailed(f"another key has the id {key_id.hex()}: make a new one")
        installed = sum(one.state < KeyState.RETIRED for one in self._statements.values())
        if known is None and installed >= _MOST_INSTALLED:
            raise PreconditionFailed(f"there are {installed} keys already: retire some first")
        if known is None and len(self._statements) >= MAX_KEYS:
            raise PreconditionFailed(f"there have been {MAX_KEYS} keys: begin anew, with a new cluster name")
        self._take(KeyEntry(key_id, KeyState.INSTALLED, by_file=by_file, key=key))
        return self._statements[key_id]

    def key(self, key_id: bytes) -> ClusterKey:
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

    def statements(self) -> tuple[KeyStatement, ...]:
        """Return the statements about all keys, for gossip."""
        return tuple(self._statements.values())

    def merge(self, statements: Iterable[KeyStatement]) -> bool:
        """Merge statements; return whether anything is new. Invalid ones are ignored, and new ones over the bound."""
        is_new = False
        for one in statements:
            known = self._statements.get(one.key_id)
            if not is_valid(one) or (known is None and len(self._statements) >= MAX_KEYS):
                continue
            now = one if known is None else merged(known, one)
            is_new = is_new or now != known
            self._statements[one.key_id] = now
        return is_new

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
            KeyMaterial(one, key.reveal()) for one, key in found if one.state < KeyState.RETIRED and not one.by_file
        )

    def take_material(self, materials: Iterable[KeyMaterial]) -> bool:
        """Hold the keys that a peer sent over a sealed link; return whether any is new."""
        is_new = False
        for one in materials:
            entry = one.entry()
            if entry is None or entry.by_file or self._is_by_file(entry.id):
                continue
            is_new = self._take(entry) or is_new
        return is_new

    def _is_by_file(self, key_id: bytes) -> bool:
        known = self._statements.get(key_id)
        return known is not None and known.by_file

    def _take(self, entry: KeyEntry) -> bool:
        """Merge the statement of a key, and hold it unless it is retired; return whether anything is new."""
        is_new = self.merge((entry.statement,))
        known = self._statements.get(entry.id)
        if known is None or known.state >= KeyState.RETIRED or known.key_id in self._keys:
            return is_new
        self._hold(entry)
        return is_new or entry.id in self._keys

    def _hold(self, entry: KeyEntry) -> None:
        if entry.key is not None and len(self._keys) < _MOST_HELD and entry.id in self._statements:
            self._keys.setdefault(entry.id, entry.key)

    def statement(self, key_id: bytes) -> KeyStatement | None:
        """Return what is known of a key; None if it is not known."""
        return self._statements.get(key_id)

    def state(self, key_id: bytes) -> int:
        """Return the `KeyState` of a key that is known."""
        return self._statements[key_id].state

    def entries(self) -> tuple[KeyEntry, ...]:
        """Return what belongs into the key file."""
        return tuple(KeyEntry.stated(one, self._keys.get(one.key_id)) for one in self._statements.values())

    def forget(self, key_id: bytes) -> None:
        """Hold a retired key no longer."""
        del self._keys[key_id]
