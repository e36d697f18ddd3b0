"""The keys that one node holds, and what it knows of all keys of the cluster.

Invariants: of the keys that are held the one of the highest rank seals: the last that was used. All open that are held,
and dialing takes those that are not retired. A retired key that is forgotten is never held again. A key leaves this
node only as `KeyMaterial`, over a sealed link, and never if it was installed by file: so only such keys leave behind
whoever holds the old ones. At most `_MOST_HELD` keys are held, and `_MOST_KEYS` known.

Source: CRDTs (Shapiro, Preguiça, Baquero, Zawirski 2011), section 2.2, for the merge.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from trionet.errors import MalformedRequest, PreconditionFailed

from .key_statements import (
    KEY_BYTES,
    KeyMaterial,
    KeyState,
    KeyStatement,
    is_valid,
    is_valid_material,
    merged,
    rank,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["HeldKeys", "first_key"]

_MOST_KEYS: Final = 4096
_MOST_INSTALLED: Final = 16
_MOST_HELD: Final = 64
"""More than may be installed: those that operators install at once, in a partition, are held as well."""


def first_key(key: bytes, id_of: Callable[[bytes], bytes]) -> KeyMaterial:
    """Return the record of the only key of a new cluster: it is used from the start."""
    return KeyMaterial(KeyStatement(id_of(key), KeyState.USED), key)


class HeldKeys:
    """The keys of one node."""

    __slots__ = ("_id_of", "_keys", "_statements")

    def __init__(self, id_of: Callable[[bytes], bytes], records: Iterable[KeyMaterial] = ()) -> None:
        """Hold the keys of a key file.

        Args:
            id_of: returns the id of a key.
            records: the keys of the file; invalid ones are left out.
        """
        self._id_of = id_of
        self._statements: dict[bytes, KeyStatement] = {}
        self._keys: dict[bytes, bytes] = {}
        for one in records:
            self.merge((one.statement,))
            if is_valid_material(one, id_of):  # a key that is retired and still there is not forgotten yet
                self._hold(one)

    def __contains__(self, key_id: object) -> bool:
        return key_id in self._keys

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._keys)

    def reload(self, records: Iterable[KeyMaterial]) -> bool:
        """Take the keys of the key file, those that never travel too; return whether anything is new."""
        is_new = False
        for one in records:
            if is_valid_material(one, self._id_of):
                is_new = self._take(one) or is_new
        return is_new

    def install(self, key: bytes, *, by_file: bool = False) -> KeyStatement:
        """Hold a new key; it seals nothing until it is used.

        Raises:
            MalformedRequest: it has not 32 bytes.
            PreconditionFailed: it is retired, another key has its id, or there are too many keys.
        """
        if len(key) != KEY_BYTES:
            raise MalformedRequest(f"a key has {KEY_BYTES} bytes")
        key_id = self._id_of(key)
        known = self._statements.get(key_id)
        if known is not None and known.state >= KeyState.RETIRED:
            raise PreconditionFailed(f"key {key_id.hex()} is retired, which is final: make a new one")
        if self._keys.get(key_id, key) != key:
            raise PreconditionFailed(f"another key has the id {key_id.hex()}: make a new one")
        installed = sum(one.state < KeyState.RETIRED for one in self._statements.values())
        if known is None and installed >= _MOST_INSTALLED:
            raise PreconditionFailed(f"there are {installed} keys already: retire some first")
        if known is None and len(self._statements) >= _MOST_KEYS:
            raise PreconditionFailed(f"there have been {_MOST_KEYS} keys: begin anew, with a new cluster name")
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
        return tuple(KeyMaterial(one, key) for one, key in found if one.state < KeyState.RETIRED and not one.by_file)

    def take_material(self, materials: Iterable[KeyMaterial]) -> bool:
        """Hold the keys that a peer sent over a sealed link; return whether any is new."""
        is_new = False
        for one in materials:
            known = self._statements.get(one.statement.key_id, one.statement)
            if is_valid_material(one, self._id_of) and not (known.by_file or one.statement.by_file):
                is_new = self._take(one) or is_new
        return is_new

    def _take(self, material: KeyMaterial) -> bool:
        """Merge the statement of a valid key, and hold it unless it is retired; return whether anything is new."""
        is_new = self.merge((material.statement,))
        known = self._statements.get(material.statement.key_id)
        if known is None or known.state >= KeyState.RETIRED or known.key_id in self._keys:
            return is_new
        self._hold(material)
        return is_new or known.key_id in self._keys

    def _hold(self, material: KeyMaterial) -> None:
        if len(self._keys) < _MOST_HELD and material.statement.key_id in self._statements:
            self._keys.setdefault(material.statement.key_id, material.key)

    def statement(self, key_id: bytes) -> KeyStatement | None:
        """Return what is known of a key; None if it is not known."""
        return self._statements.get(key_id)

    def state(self, key_id: bytes) -> int:
        """Return the `KeyState` of a key that is known."""
        return self._statements[key_id].state

    def records(self) -> tuple[KeyMaterial, ...]:
        """Return what belongs into the key file."""
        return tuple(KeyMaterial(one, self._keys.get(one.key_id, b"")) for one in self._statements.values())

    def forget(self, key_id: bytes) -> None:
        """Hold a retired key no longer."""
        del self._keys[key_id]
