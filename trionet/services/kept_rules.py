"""Groups by rule that another group keeps for its members.

Invariant: a group that this node has put anew or deleted since is not removed with its entry.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from trionet.errors import DecodeError
from trionet.events import Event, GroupFailed
from trionet.identity import check_gid

from .group_rules import checked_rule
from .groups import check_changeable
from .subsets import checked_subset

if TYPE_CHECKING:
    from trionet.errors import TrionetError
    from trionet.identity import NodeAddress

    from .group_entry import GroupEntry
    from .groups import Groups

__all__ = ["KeptRules", "kept_rule", "rule_key"]

_PREFIX: Final = "group/"


class _Value(msgspec.Struct, array_like=True):
    """The value of an entry.

    Attributes:
        where: the rule: tags, or the import path of a function.
        subset: a number of members, or the import path of a function.
    """

    where: dict[str, str] | str
    subset: int | str | None = None


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Value)


def rule_key(gid: str) -> str:
    """Return the key of the entry for a group.

    Raises:
        MalformedRequest: it is not a gid.
    """
    return _PREFIX + check_gid(gid)


def kept_rule(gid: str, where: Any, subset: Any) -> tuple[str, bytes]:
    """Return the key and the value of the entry for a group by rule.

    Args:
        gid: the group.
        where: tags, or the import path of a function.
        subset: a number, the import path of a function, or None.

    Raises:
        MalformedRequest: one of them is malformed, or can't be imported.
    """
    check_changeable(gid)
    rule = checked_rule(where)
    checked_subset(subset, [])
    return rule_key(gid), _encoder.encode(_Value(rule.description(), subset))


class KeptRules:
    """The kind of kept groups on one node."""

    prefix: str = _PREFIX

    def __init__(self, groups: Groups) -> None:
        self._groups = groups
        self._put: dict[str, GroupEntry] = {}

    def has_own(self, gid: str) -> bool:
        """Whether this node has put a group of that name by itself."""
        entry = self._groups.find(gid)
        return entry is not None and entry is not self._put.get(gid)

    def is_put(self, gid: str) -> bool:
        """Whether the group is a kept one."""
        entry = self._groups.find(gid)
        return entry is not None and entry is self._put.get(gid)

    def put(self, gid: str, value: bytes) -> None:
        """Put the group.

        Raises:
            DecodeError: the value has no rule.
            MalformedRequest: a function can't be imported, or the gid is malformed.
            ConfigError: this node belongs to no cluster.
        """
        try:
            rule = _decoder.decode(value)
        except (msgspec.MsgspecError, ValueError) as exc:
            raise DecodeError(f"not a kept group: {exc}") from exc
        self._groups.store(gid, where=rule.where, subset=rule.subset)
        entry = self._groups.find(gid)
        if entry is not None:
            self._put[gid] = entry

    def get(self, gid: str) -> Any:
        """Return the present members, as `Groups.put` does."""
        return self._groups.members(gid)

    def remove(self, gid: str) -> None:
        """Remove the group if it is a kept one."""
        if self.is_put(gid):
            self._groups.drop(gid)
        self._put.pop(gid, None)

    def drop(self, gid: str) -> Any:
        """Remove the group; return its members, as `Groups.del_` does.

        Raises:
            GroupNotFound: there is no such group.
            MalformedRequest: it can't be deleted.
        """
        return self._groups.drop(gid)

    def stays(self, gid: str) -> Any:
        """Return the members of the group."""
        return self._groups.members(gid)

    def failed(self, node: NodeAddress, gid: str, name: str, error: TrionetError) -> Event:
        """Return the event for a group that can't be put."""
        return GroupFailed(node=node, gid=gid, group=name, error=str(error))
