"""Why a side refuses the other's mode: the byte after the preface, which nothing authenticates.

It is a hint for the text of an error. A side never changes its mode because of it.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

__all__ = ["FIRST_REFUSAL", "Refusal"]

FIRST_REFUSAL: Final = 0x80
"""The byte after the preface is 0 in plain links, and less than this in sealed ones."""


class Refusal(IntEnum):
    """A reason to refuse a connection, as its byte on the wire."""

    UNKNOWN_KEY = 0x80
    PLAIN = 0x81
    SEALED = 0x82
    VERSION = 0x83
    UNOPENED = 0x84
    NO_CERTIFICATE = 0x85
    CERTIFICATE = 0x86

    @property
    def as_refused(self) -> str:
        """The text at the refused side."""
        return _AS_REFUSED[self]

    @property
    def as_refusing(self) -> str:
        """The text at the refusing side."""
        return _AS_REFUSING[self]


_AS_REFUSED: Final = {
    Refusal.UNKNOWN_KEY: "it does not have this node's cluster key: give both nodes the same key",
    Refusal.PLAIN: "it accepts only nodes with its cluster key: give this node the same key",
    Refusal.SEALED: "it has no cluster key, and this node has one: give both nodes the same key",
    Refusal.VERSION: "it speaks another version of the link",
    Refusal.UNOPENED: "its cluster has another name, or another key: give both nodes the same name and key",
    Refusal.NO_CERTIFICATE: "it accepts only nodes with a certificate, and this node has none: give both nodes one",
    Refusal.CERTIFICATE: "it has no certificate, and this node has one: give both nodes a certificate",
}
_AS_REFUSING: Final = {
    Refusal.UNKNOWN_KEY: "its cluster key is not this node's: give both nodes the same key",
    Refusal.PLAIN: "it has no cluster key, and this node has one: give both nodes the same key",
    Refusal.SEALED: "it has a cluster key, and this node has none: give both nodes the same key",
    Refusal.VERSION: "it speaks another version of the link",
    Refusal.UNOPENED: "its cluster has another name, or another key: give both nodes the same name and key",
    Refusal.NO_CERTIFICATE: "it has no certificate, and this node has one: give both nodes a certificate",
    Refusal.CERTIFICATE: "it has a certificate, and this node has none: give both nodes a certificate",
}
