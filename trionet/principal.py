"""Principals: in whose name a call is made.

Invariants: a call has the principal with which it entered the cluster, whoever forwards it. A principal has one text,
which travels with forwarded calls; the text of an anonymous one is ``anyone``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import msgspec

from .errors import MalformedRequest

if TYPE_CHECKING:
    from .identity import NodeAddress

__all__ = ["ANYONE", "KINDS", "Principal"]

KINDS: Final = ("node", "certificate", "token", "anyone")
_MAX_CHARS: Final = 300
_TEXT: Final = re.compile(
    r"(?P<kind>node|certificate):(?P<name>[A-Za-z0-9_.:\[\]-]{1,255})"
    r"|(?P<token>token):(?P<scope>read|call|admin):(?P<id>[0-9a-f]{8})"
    r"|(?P<anyone>anyone)",
    re.ASCII,
)


class Principal(msgspec.Struct, frozen=True, gc=False):
    """In whose name a call is made.

    Its text, ``str(principal)``, is ``node:IP:PORT``, ``certificate:NAME``, ``token:SCOPE:ID`` or ``anyone``.

    Attributes:
        kind: ``node``, a holder of the cluster's key, by the address that it claims; ``certificate``, a node by the
            name in its certificate; ``token``, the holder of a bearer token; ``anyone``, a peer without a proof.
        name: the address, the name in the certificate, or the id of the token; empty for anyone.
        scope: the scope of the token: ``read``, ``call`` or ``admin``; empty for others.
    """

    kind: str
    name: str = ""
    scope: str = ""

    def __str__(self) -> str:
        return ":".join(part for part in (self.kind, self.scope, self.name) if part)

    @classmethod
    def node(cls, address: NodeAddress | None) -> Principal:
        """Return a node by the address that it claims; by none if it has none."""
        return cls("node", "-" if address is None else str(address))

    @classmethod
    def parse(cls, text: object) -> Principal:
        """Return the principal with this text.

        Raises:
            MalformedRequest: there is none.
        """
        found = _TEXT.fullmatch(text) if isinstance(text, str) and len(text) <= _MAX_CHARS else None
        if found is None:
            raise MalformedRequest(f"{text!r:.80} is no principal")
        if found["token"]:
            return cls("token", found["id"], found["scope"])
        return ANYONE if found["anyone"] else cls(found["kind"], found["name"])


ANYONE: Final = Principal("anyone")
"""Whoever reaches a node without a key."""
