"""What a viewer looks at: its topics, and what of them.

Invariant: all of it is bounded, and checked before anything is gathered.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import msgspec

from trionet.errors import MalformedRequest
from trionet.identity import SID

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

__all__ = ["MOST_OF", "LookedAt", "asked_of", "together"]

MOST_OF: Final = 64
"""The nodes whose details one viewer sees at once: the rows in sight."""
_MOST_OF_ALL: Final = 256
"""The nodes whose details all viewers see together."""
_MOST_CHARS: Final = 300
"""The most of the text that names a node or a rumor."""

_SID: Final = re.compile(r"[0-9a-f]{10}")


class LookedAt(msgspec.Struct, frozen=True, kw_only=True):
    """What one viewer looks at, or all together.

    Attributes:
        topics: the names of the topics.
        of: the SIDs of the nodes whose rows are in sight.
        nodes: the SIDs of the nodes that are shown in full: one per viewer.
        rumors: the rumors that are followed, as ``GID:ID``: one per viewer.
    """

    topics: tuple[str, ...] = ()
    of: tuple[SID, ...] = ()
    nodes: tuple[SID, ...] = ()
    rumors: tuple[str, ...] = ()


def asked_of(query: Mapping[str, str], known: Collection[str]) -> LookedAt:
    """Return what the query of a stream asks for.

    Args:
        query: its parameters: ``topics``, and ``of`` (lists with commas), ``node`` and ``rumor``.
        known: the names of all topics.

    Raises:
        MalformedRequest: it names no topic, or an unknown one; or one of its parts is malformed or too long.
    """
    topics = _listed(query.get("topics", ""))
    if not topics or not set(topics) <= set(known):
        raise MalformedRequest(f"topics are some of {', '.join(sorted(known))}, not {query.get('topics', '')!r:.80}")
    of = _listed(query.get("of", ""))
    if len(of) > MOST_OF:
        raise MalformedRequest(f"of names at most {MOST_OF} nodes, not {len(of)}")
    node, rumor = query.get("node", ""), query.get("rumor", "")
    for sid in (*of, *((node,) if node else ())):
        if not _SID.fullmatch(sid):
            raise MalformedRequest(f"a SID is 10 hex digits, not {sid!r:.40}")
    if rumor and (":" not in rumor or len(rumor) > _MOST_CHARS):
        raise MalformedRequest(f"a rumor is 'GID:ID', not {rumor!r:.80}")
    return LookedAt(topics=topics, of=of, nodes=(node,) if node else (), rumors=(rumor,) if rumor else ())


def together(asked: Iterable[LookedAt]) -> LookedAt:
    """Return what all viewers look at, each thing once; of the rows in sight the first `_MOST_OF_ALL`."""
    every = list(asked)
    return LookedAt(
        topics=_each(name for one in every for name in one.topics),
        of=_each(sid for one in every for sid in one.of)[:_MOST_OF_ALL],
        nodes=_each(sid for one in every for sid in one.nodes),
        rumors=_each(rumor for one in every for rumor in one.rumors),
    )


def _listed(text: str) -> tuple[str, ...]:
    return _each(part for part in text.split(",") if part)


def _each(parts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(parts))
