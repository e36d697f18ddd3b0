"""Blobs: long ``bytes`` within a value, which travel beside its MessagePack, and are not copied.

To copy 100 MB takes a tenth of a second, in which a node does nothing else. In the MessagePack an extension of the type
`BLOB_CODE` without data stands for each blob, in the order of the blobs.

Invariant: `encode_apart` and a decoder with the hook of `from_blobs` give back an equal value, whose long ``bytes`` are
the same objects.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from .errors import DecodeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["BLOB_BYTES", "BLOB_CODE", "HoldsBlobs", "LongBytes", "encode_apart", "from_blobs", "refuse_blobs"]

BLOB_BYTES: Final = 63 * 1024
"""Longer ``bytes`` are blobs."""

BLOB_CODE: Final = 1
_PLACE: Final = msgspec.msgpack.Ext(BLOB_CODE, b"")


class LongBytes:
    """Stands for a blob in plain data.

    Attributes:
        data: the blob.
    """

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data: bytes = data


class HoldsBlobs(Exception):
    """A value holds blobs."""


def refuse_blobs(_: Any) -> Any:
    """Raise `HoldsBlobs`: the ``enc_hook`` of an encoder for `encode_apart`."""
    raise HoldsBlobs


def encode_apart(encode: Callable[[Any], bytes], plain: Any, blobs: list[bytes]) -> bytes:
    """Return `plain` as MessagePack; append the blobs that it holds, as `LongBytes`, to `blobs`.

    Args:
        encode: the encoder for values without blobs, with the hook `refuse_blobs`.
        plain: plain data, or a frame.
        blobs: what travels beside.
    """
    try:
        return encode(plain)
    except HoldsBlobs:

        def put_apart(long: LongBytes) -> msgspec.msgpack.Ext:
            blobs.append(long.data)
            return _PLACE

        return msgspec.msgpack.Encoder(enc_hook=put_apart).encode(plain)


def from_blobs(blobs: Iterator[bytes]) -> Callable[[int, memoryview], bytes]:
    """Return the ``ext_hook`` of a decoder which takes the blobs from `blobs`.

    It raises `DecodeError` for all other extensions: they are no values of ours.
    """

    def next_blob(code: int, data: memoryview) -> bytes:
        blob = next(blobs, None) if code == BLOB_CODE and not data else None
        if blob is None:
            raise DecodeError(f"unknown extension type {code}")
        return blob

    return next_blob
