"""What groups keep for their members: services and groups by rule, which members that come later get, too.

A group keeps a thing by an entry of its replicated map. Invariants, for each key such as ``route/counter``:

- This node holds the thing of the greatest live entry among the groups of which it is a member, by its own view. So two
  members of the same groups hold the same things, in whichever order entries and members come.
- Each entry is put here at most once: state survives duplicates, and what this node has replaced or removed by itself
  does not come back.
- A node that joins a cluster again, after it had left, ends what the groups of the cluster before have kept.
- A thing that this node has put by itself is replaced by a call of `keep` alone, and never by an entry that arrives
  otherwise.
- A group-wide call that ends a thing is an entry, too, where the group keeps it. So of a `put` and a removal that
  don't know of each other one holds on all nodes, even if the caller is cancelled or crashes amid its calls.
- A thing that can't be put is logged and published, and changes nothing; each further delivery tries again.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

import trio

from trionet.errors import Abort, ConfigError, GroupNotFound, MalformedRequest, TrionetError
from trionet.log_limits import about, limited_log
from trionet.user_code import pass_endings
from trionet.user_errors import as_error

from .base import rpc
from .replicated import decode_entry, encode_entry

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable
    from typing import Protocol

    from trionet.events import Event
    from trionet.identity import NodeAddress
    from trionet.protocols.entries import Entry, EntryChanged, EntryConflict

    from .groups import Groups
    from .replicated import Replicated

    class KeptKind(Protocol):
        """A kind of things that groups keep.

        Attributes:
            prefix: the begin of its keys; the rest is a name.
        """

        prefix: str

        def has_own(self, name: str) -> bool:
            """Whether this node has a thing of that name which it has put by itself."""

        def is_put(self, name: str) -> bool:
            """Whether `put` has put the thing, and nothing has replaced or removed it since."""

        def put(self, name: str, value: bytes) -> None:
            """Put the thing, in place of any other; raise any exception if that is impossible."""

        def get(self, name: str) -> Any:
            """Return the reply to the call that has put the thing."""

        def remove(self, name: str) -> None:
            """Remove the thing if `is_put`."""

        def drop(self, name: str) -> Any:
            """Remove the thing, whoever has put it; return the reply to the call, or raise any exception."""

        def stays(self, name: str) -> Any:
            """Return the reply of `drop` for a thing that another group keeps."""

        def failed(self, node: NodeAddress, gid: str, name: str, error: TrionetError) -> Event:
            """Return the event for a thing of the group `gid` that can't be put."""


__all__ = ["Kept"]

_log = limited_log(__name__)

_NEW_S: Final = 10.0
"""After this time in a group with others, this node has all its entries: a few times longer than that takes."""


class Kept:
    """The local service ``kept``, for nodes only."""

    def __init__(
        self,
        own: NodeAddress,
        groups: Groups,
        replicated: Replicated,
        kinds: Iterable[KeptKind],
        publish: Callable[[Event], None],
    ) -> None:
        self._own = own
        self._groups = groups
        self._replicated = replicated
        self._publish = publish
        self._kinds = list(kinds)
        self._live: dict[str, dict[str, Entry]] = {}  # by key and group
        self._done: dict[str, bytes] = {}  # the entry that was put last, or that this node's own thing outlasts; by key
        self._called: str | None = None
        self._memberships: dict[str, bool] = {}  # of the groups that keep anything
        self._since: dict[str, float] = {}  # when a group got its first other member
        for kind in self._kinds:
            replicated.on(kind.prefix, self._handle_entry)
            replicated.on_conflict(kind.prefix, self._handle_conflict)
        replicated.on_forgotten(self._handle_forgotten)

    # ---- called by other nodes

    @rpc
    async def keep(self, entry: bytes) -> Any:
        """Hold an entry, and put its thing here; return the reply of its kind.

        Raises:
            Abort: a later entry has replaced it; or this node is no member of the group, by its own view.
            GroupNotFound: this node does not have the group.
            MalformedRequest: the thing can't be put.
        """
        given = decode_entry(entry)
        if given.value is None:
            raise MalformedRequest(f"the entry {given.key!r:.100} is nothing that a group can keep: it ends a thing")
        self._kind_of(given.key)
        with self._called_for(given.key):
            self._replicated.merge(entry)
        self._check_holds(given)
        self._settle(given.key, is_called=True)
        kind, name = self._kind_of(given.key)
        return kind.get(name)

    @rpc
    async def remove(self, gid: str, key: str) -> Any:
        """Remove a thing that `gid` does not keep; return the reply of its kind. One that it keeps stays.

        Returns:
            For a thing that `gid` keeps, as far as this node knows, its entry: only a later entry can end it.
        """
        kind, name = self._kind_of(key)
        return await self.held(gid, key) if self._keeps(gid, key) else kind.drop(name)

    @rpc
    async def end(self, entry: bytes) -> Any:
        """Hold the entry that ends a thing, and remove the thing here; return the reply of its kind.

        Raises:
            Abort: a later entry keeps the thing.
            MalformedRequest: the entry ends nothing.
        """
        given = decode_entry(entry)
        if given.value is not None:
            raise MalformedRequest(f"the entry {given.key!r:.100} keeps a thing, and ends none")
        self._kind_of(given.key)
        with self._called_for(given.key), suppress(ConfigError, GroupNotFound):  # then this node keeps nothing of it
            self._replicated.merge(entry)
        if given.gid in self._live.get(given.key, {}):
            raise Abort(f"a later change of {given.key!r} in the group {given.gid!r} has replaced this one")
        return self._drop(given.key)

    @rpc
    async def held(self, gid: str, key: str) -> bytes | None:
        """Return the live entry that this node holds; None without one."""
        entry = self._live.get(key, {}).get(gid)
        return None if entry is None else encode_entry(entry)

    # ---- for the group-wide services

    def put(self, gid: str, key: str, value: bytes) -> bytes:
        """Let `gid` keep a thing; return the entry for the members, to `keep`.

        Raises:
            ConfigError: this node belongs to no cluster.
            GroupNotFound: it has no such group.
        """
        with self._called_for(key):
            written = self._replicated.put(gid, key, value)
        is_wanted = self._wanted(key) is self._live.get(key, {}).get(gid)
        try:
            self._settle(key, is_called=is_wanted)
        except BaseException as exc:  # `keep` follows, and raises it for the caller
            pass_endings(exc)
        return written.encoded

    def forget(self, gid: str, key: str) -> None:
        """Let `gid` keep the thing no more, if it does; members hear of that by gossip."""
        if self._keeps(gid, key):
            self._replicated.put(gid, key, None)

    def begin_end(self, gid: str, key: str) -> tuple[bytes, Any] | None:
        """Let `gid` keep the thing no more, and remove it here if this node is a member.

        Returns:
            The entry for the other members, to `end`; and the reply or the error of the kind. None if `gid` keeps none.
        """
        if not self._keeps(gid, key):
            return None
        with self._called_for(key):  # not pushed: the calls are as fast, and their replies tell of what there was
            entry = self._replicated.begin_put(gid, key, None)[0].encoded
        if not self._is_member(gid):
            self._settle_or_report(key)
            return entry, None
        try:
            return entry, self._drop(key)
        except TrionetError as exc:
            return entry, exc

    def _keeps(self, gid: str, key: str) -> bool:
        return gid in self._live.get(key, {}) and self._replicated.is_active

    def may_lack(self, gid: str, key: str) -> bool:
        """Whether other members may know of a thing that this node has not heard of yet."""
        if gid in self._live.get(key, {}) or gid not in self._since:
            return False
        return trio.current_time() - self._since[gid] < _NEW_S

    def learn(self, entry: bytes) -> None:
        """Hold an entry that another member has."""
        self._replicated.merge(entry)

    # ---- for the node

    def handle_group_changed(self, gid: str) -> None:
        """Handle other members of a group; in constant time."""
        if gid not in self._since and self._groups.size(gid) > 1:
            self._since[gid] = trio.current_time()
        if gid in self._memberships and self._memberships[gid] != self._is_member(gid):
            self._memberships[gid] = not self._memberships[gid]
            self._settle_all(gid)

    def handle_group_removed(self, gid: str) -> None:
        """Handle the deletion of a group on this node: it keeps nothing here any more."""
        self._since.pop(gid, None)
        self._memberships.pop(gid, None)
        for key, by_group in list(self._live.items()):
            if by_group.pop(gid, None) is not None:
                self._settle_or_report(key)

    # ---- inside

    @contextmanager
    def _called_for(self, key: str) -> Generator[None]:
        """Leave the entry of `key` to the caller, for whom its exceptions are, instead of the log."""
        self._called = key
        try:
            yield
        finally:
            self._called = None

    def _drop(self, key: str) -> Any:
        """Remove a thing that one group has ended, unless another group has put it; put that of another group else."""
        kind, name = self._kind_of(key)
        wanted = self._wanted(key)
        if wanted is not None and self._done.get(key) == wanted.id and kind.is_put(name):
            return kind.stays(name)
        try:
            return kind.drop(name)
        finally:
            self._settle_or_report(key)

    def _is_member(self, gid: str) -> bool:
        return self._groups.has(gid, self._own)

    def _kind_of(self, key: str) -> tuple[KeptKind, str]:
        kind = next((kind for kind in self._kinds if key.startswith(kind.prefix)), None)
        if kind is None:
            raise MalformedRequest(f"{key!r:.100} is nothing that a group can keep")
        return kind, key[len(kind.prefix) :]

    def _check_holds(self, given: Entry) -> None:
        held = self._live.get(given.key, {}).get(given.gid)
        if held is None or held.id != given.id:
            raise Abort(f"a later change of {given.key!r} in the group {given.gid!r} has replaced this one")
        if not self._is_member(given.gid):
            raise Abort(f"this node is no member of the group {given.gid!r} in its own view; it follows once it is one")
        if self._wanted(given.key) is not held:
            raise Abort(f"another group keeps {given.key!r} here, since later")

    def _handle_entry(self, changed: EntryChanged) -> None:
        entry = changed.entry
        by_group = self._live.setdefault(entry.key, {})
        if entry.value is None:
            by_group.pop(entry.gid, None)
            kind, name = self._kind_of(entry.key)
            if not kind.is_put(name) and not kind.has_own(name):  # removed for this group, and another may keep it
                self._done.pop(entry.key, None)
        else:
            by_group[entry.gid] = entry
            self._memberships.setdefault(entry.gid, self._is_member(entry.gid))
        if self._called != entry.key:
            self._settle_or_report(entry.key)

    def _handle_forgotten(self) -> None:
        keys = list(self._live)
        for entries in (self._live, self._memberships, self._since):
            entries.clear()
        for key in keys:
            self._settle_or_report(key)

    def _handle_conflict(self, conflict: EntryConflict) -> None:
        winner, loser = conflict.winner, conflict.loser
        _log.warning(
            "%s and %s have changed %s in the group %s without knowing of each other; the change by %s holds: "
            "to replace it, change it again",
            loser.writer,
            winner.writer,
            conflict.key,
            conflict.gid,
            winner.writer,
            extra=about(conflict.gid, node=self._own, gid=conflict.gid, key=conflict.key),
        )

    def _wanted(self, key: str) -> Entry | None:
        """Return the entry that decides what this node has under `key`."""
        mine = [entry for gid, entry in self._live.get(key, {}).items() if self._is_member(gid)]
        return max(mine, key=lambda entry: (entry.stamp, entry.id), default=None)

    def _settle_all(self, gid: str) -> None:
        for key, by_group in list(self._live.items()):
            if gid in by_group:
                self._settle_or_report(key)

    def _settle(self, key: str, *, is_called: bool = False) -> None:
        """Make what this node has under `key` follow the entries; raise what prevents that."""
        kind, name = self._kind_of(key)
        entry = self._wanted(key)
        if entry is None or entry.value is None:
            self._done.pop(key, None)
            if not self._live.get(key):
                self._live.pop(key, None)
            kind.remove(name)
            return
        is_own = kind.has_own(name)
        if self._done.get(key) == entry.id and not (is_own and is_called):
            return
        if is_own and not is_called:
            self._report_own(entry)
        else:
            kind.put(name, entry.value)
        self._done[key] = entry.id

    def _settle_or_report(self, key: str) -> None:
        try:
            self._settle(key)
        except BaseException as exc:
            pass_endings(exc)
            self._report_failed(key, as_error(exc))

    def _report_own(self, entry: Entry) -> None:
        _log.info(
            "this node's own %s stays, though the group %s keeps another: to replace it, put that in the group again",
            entry.key,
            entry.gid,
            extra=about(entry.gid, node=self._own, gid=entry.gid, key=entry.key),
        )

    def _report_failed(self, key: str, error: TrionetError) -> None:
        kind, name = self._kind_of(key)
        entry = self._wanted(key)
        gid = "" if entry is None else entry.gid
        _log.warning(
            "%s, which the group %s keeps, can't be put here: %s; to try again, put it in the group again",
            key,
            gid,
            error,
            extra=about(gid, node=self._own, gid=gid, key=key),
        )
        self._publish(kind.failed(self._own, gid, name, error))
