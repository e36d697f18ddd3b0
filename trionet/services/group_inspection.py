"""The part of ``inspection`` about groups: what one node holds under each gid.

Invariant: two nodes that hold the same members, rule and subset under a gid give the same digest for it.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final

from trionet.codec import MESSAGEPACK

from .base import rpc
from .group_rules import description_of

if TYPE_CHECKING:
    from typing import Protocol

    from .groups import Groups

    class _HasGroups(Protocol):
        @property
        def groups(self) -> Groups: ...

    class _HasLocal(Protocol):
        @property
        def local(self) -> _HasGroups: ...


__all__ = ["GroupInspection"]

_DIGEST_BYTES: Final = 8


class GroupInspection:
    """The methods of ``inspection`` about groups."""

    _node: _HasLocal

    @rpc(read=True)
    def groups(self) -> list[dict[str, Any]]:
        """Return the node's groups: members, rule and subset of each; see `GroupDescription`."""
        return [self._shown_group(gid) for gid in self._node.local.groups.gids()]

    @rpc(read=True)
    def group(self, gid: str) -> dict[str, Any]:
        """Return one of the node's groups, as `groups` does.

        Raises:
            GroupNotFound: there is no such group.
        """
        return self._shown_group(gid)

    @rpc(read=True)
    def group_digests(self) -> dict[str, str]:
        """Return a digest of each of the node's groups, by gid: to compare the groups of many nodes at a low price."""
        return {gid: self._digest(gid) for gid in self._node.local.groups.gids()}

    def _digest(self, gid: str) -> str:
        groups = self._node.local.groups
        rule, subset = groups.rule(gid), groups.subset(gid)
        where = None if rule is None else rule.description()
        ruled = sorted(where.items()) if isinstance(where, dict) else where
        # The SID stands for the address, which it is made of.
        parts = [list(groups.members(gid)), ruled, description_of(subset) if callable(subset) else subset]
        return blake2b(MESSAGEPACK.encode(parts), digest_size=_DIGEST_BYTES).hexdigest()

    def _shown_group(self, gid: str) -> dict[str, Any]:
        groups = self._node.local.groups
        rule, subset = groups.rule(gid), groups.subset(gid)
        return {
            "gid": gid,
            "members": {sid: str(node) for sid, node in groups.members(gid).items()},
            "where": None if rule is None else rule.description(),
            "subset": description_of(subset) if callable(subset) else subset,
        }
