"""What two members tell each other of their keys, over a sealed link.

Invariants: keys travel only as answers to those who want them, and are hidden in every representation. What is decoded
has the right types; the ring judges the rest.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

import msgspec

from trionet.errors import MalformedRequest

from .key_material import KeyMaterial
from .key_reports import KeyReport
from .key_statements import MAX_KEYS, MAX_MEMBERS, KeyStatement

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["KeyNews", "decode_news", "digest_of", "encode_news"]

_DIGEST_BYTES: Final = 8
_MOST_WANTED: Final = 64


class KeyNews(msgspec.Struct, array_like=True, frozen=True):
    """One member's news.

    Attributes:
        statements: what it knows of all keys.
        reports: its own report; or all that it has, where the digests differ.
        digest: of all the reports that it has.
        wanted: the ids of the keys that it asks for.
        materials: the keys for which it was asked.
        members: the names of members from which it has no report.
    """

    statements: tuple[KeyStatement, ...] = ()
    reports: tuple[KeyReport, ...] = ()
    digest: bytes = b""
    wanted: tuple[bytes, ...] = ()
    materials: tuple[KeyMaterial, ...] = ()
    members: tuple[str, ...] = ()


def digest_of(reports: Iterable[KeyReport]) -> bytes:
    """Return a digest of reports; two nodes with the same ones have the same."""
    heads = sorted((one.name, one.life, one.number) for one in reports)
    return hashlib.sha256(msgspec.msgpack.encode(heads)).digest()[:_DIGEST_BYTES]


def encode_news(news: KeyNews) -> bytes:
    """Return the bytes of news. They may hold key material."""
    return _ENCODER.encode(news)


def decode_news(data: object) -> KeyNews:
    """Return the news in some bytes.

    Raises:
        MalformedRequest: there are none; the text quotes nothing.
    """
    found = _decoded(data)
    del data
    if isinstance(found, str):
        raise MalformedRequest(found)
    return found


def _decoded(data: object) -> KeyNews | str:
    if type(data) is not bytes:
        return f"news of keys are bytes, not a {type(data).__name__}"
    try:
        news: KeyNews = _DECODER.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as exc:
        return f"these are no news of keys: {type(exc).__name__}"
    many = len(news.statements) > MAX_KEYS or max(len(news.reports), len(news.members)) > MAX_MEMBERS
    if many or len(news.wanted) > _MOST_WANTED or len(news.materials) > _MOST_WANTED:
        return "these are more news of keys than there can be"
    return news


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(KeyNews)
