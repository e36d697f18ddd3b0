"""The settings of this node's groups, as entries of their replicated maps: keys and values of the user's.

Invariant: a value that this node can't decode harms nobody: it is logged, `get` raises the reason, and in events and
among all items the reason takes its place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import trio

from trionet.codec import MESSAGEPACK
from trionet.errors import DecodeError, KeyDoesNotExist, MalformedRequest
from trionet.events import SettingChanged, SettingConflict
from trionet.log_limits import about, limited_log

from .protocol_driver import address_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from trionet.codec import Codec
    from trionet.config import NodeConfig
    from trionet.events import Event
    from trionet.identity import NodeAddress
    from trionet.protocols.entries import Entry, EntryChanged, EntryConflict
    from trionet.protocols.mux import Packet

    from .replicated import Replicated

__all__ = ["MOST_KEY_BYTES", "Settings"]

_log = limited_log(__name__)

MOST_KEY_BYTES: Final = 128
_PREFIX: Final = "setting/"


class Settings:
    """The settings of one node's groups."""

    def __init__(
        self, own: NodeAddress, config: NodeConfig, replicated: Replicated, publish: Callable[[Event], None]
    ) -> None:
        self._own = own
        self._replicated = replicated
        self._publish = publish
        self._codec: Codec = MESSAGEPACK.limited(config.max_message_containers)
        self._waiting: dict[tuple[str, str], trio.lowlevel.ParkingLot] = {}
        replicated.on(_PREFIX, self._handle_change)
        replicated.on_conflict(_PREFIX, self._handle_conflict)
        replicated.on_left(self.wake_all)

    def begin_put(self, gid: str, key: str, value: Any) -> tuple[str, dict[NodeAddress, Packet]]:
        """Write a setting; return its id, and the packets of its first hop, for `Gossip.hand_over`.

        Raises:
            EncodeError: the value can't travel.
            TrionetError: those of `Replicated.put`.
        """
        written, packets = self._replicated.begin_put(gid, _key(key), MESSAGEPACK.encode(value))
        return written.id, packets

    def begin_removal(self, gid: str, key: str) -> tuple[str, dict[NodeAddress, Packet]]:
        """Remove a setting; return the same as `begin_put`.

        Raises:
            KeyDoesNotExist: this node knows no such setting.
            TrionetError: those of `Replicated.put`.
        """
        self._entry(gid, key)
        written, packets = self._replicated.begin_put(gid, _key(key), None)
        return written.id, packets

    def get(self, gid: str, key: str) -> Any:
        """Return the value of a setting.

        Raises:
            KeyDoesNotExist: this node knows no such setting.
            DecodeError: this node can't decode the value.
            TrionetError: those of `Replicated.get`.
        """
        return self._codec.decode(self._entry(gid, key).value or b"")

    def items(self, gid: str) -> dict[str, Any]:
        """Return all settings, in the order of their keys, with a `DecodeError` for a value that can't be decoded.

        Raises:
            TrionetError: those of `Replicated.items`.
        """
        found = self._replicated.items(gid, _PREFIX)
        return {key.removeprefix(_PREFIX): self._decoded(entry) for key, entry in found.items()}

    async def wait(self, gid: str, key: str) -> Any:
        """Wait until a setting exists; return its value, or raise what `get` does."""
        full = _key(key)
        await trio.lowlevel.checkpoint()
        while self._replicated.get(gid, full) is None:
            lot = self._waiting.setdefault((gid, full), trio.lowlevel.ParkingLot())
            try:
                await lot.park()
            finally:
                if not lot and self._waiting.get((gid, full)) is lot:
                    del self._waiting[gid, full]
        return self.get(gid, key)

    def wake_all(self) -> None:
        """Have all that wait look again: the node stops, or has left its cluster, or a group has been deleted."""
        for lot in list(self._waiting.values()):
            lot.unpark_all()

    def _entry(self, gid: str, key: str) -> Entry:
        entry = self._replicated.get(gid, _key(key))
        if entry is None:
            raise KeyDoesNotExist(f"the group {gid!r:.130} has no setting {key!r:.130}, as far as this node knows")
        return entry

    def _decoded(self, entry: Entry | None) -> Any:
        if entry is None or entry.value is None:
            return None
        try:
            return self._codec.decode(entry.value)
        except DecodeError as exc:
            return exc

    def _handle_change(self, event: EntryChanged) -> None:
        entry, before = event.entry, event.before
        if entry.value == (None if before is None else before.value):
            return
        value, key = self._decoded(entry), entry.key.removeprefix(_PREFIX)
        if isinstance(value, DecodeError):
            _log.warning(
                "the setting %r of group %s can't be decoded here: %s. Register its types on this node, too",
                key,
                event.gid,
                value,
                extra=about(event.gid, node=self._own, gid=event.gid, key=key),
            )
        self._publish(
            SettingChanged(
                node=self._own,
                gid=event.gid,
                key=key,
                value=value,
                is_removed=entry.value is None,
                by=address_of(entry.writer),
            )
        )
        if lot := self._waiting.get((event.gid, entry.key)):
            lot.unpark_all()

    def _handle_conflict(self, event: EntryConflict) -> None:
        winner, loser = event.winner, event.loser
        key = event.key.removeprefix(_PREFIX)
        _log.warning(
            "%s and %s have written the setting %r of group %s without knowing of each other; the value of %s holds, "
            "and the other one is in a SettingConflict event: to replace it, put it again",
            loser.writer,
            winner.writer,
            key,
            event.gid,
            winner.writer,
            extra=about(event.gid, node=self._own, gid=event.gid, key=key),
        )
        self._publish(
            SettingConflict(
                node=self._own,
                gid=event.gid,
                key=key,
                value=self._decoded(winner),
                is_removed=winner.value is None,
                by=address_of(winner.writer),
                lost=self._decoded(loser),
                is_lost_removal=loser.value is None,
                lost_by=address_of(loser.writer),
            )
        )


def _key(key: Any) -> str:
    """Return the key in the map.

    Raises:
        MalformedRequest: it is no text of 1 to 128 bytes.
    """
    if not isinstance(key, str):
        raise MalformedRequest(f"the key of a setting is a text, not {key!r:.80}")
    try:
        size = len(key.encode())
    except UnicodeEncodeError as exc:
        raise MalformedRequest(f"the key {key!r:.80} has a lone surrogate, which is no Unicode text") from exc
    if not 0 < size <= MOST_KEY_BYTES:
        raise MalformedRequest(f"the key of a setting has 1 to {MOST_KEY_BYTES} bytes as UTF-8, not {size:,}")
    return _PREFIX + key
