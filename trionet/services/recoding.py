"""What a node passes in a call to itself, encoded and decoded as on the wire: so the results are those of any call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trionet.error_wire import error_from_wire
from trionet.errors import RemoteError, TrionetError, error_to_wire

if TYPE_CHECKING:
    from trionet.codec import Codec

__all__ = ["recoded", "recoded_error"]


def recoded(value: Any, codec: Codec) -> Any:
    """Return a copy of a handler's value.

    Raises:
        RemoteError: the value can't be encoded.
    """
    try:
        blobs: list[bytes] = []
        return codec.decode(codec.encode(value, blobs), iter(blobs) if blobs else None)
    except TrionetError as exc:
        raise RemoteError.from_exception(exc) from exc


def recoded_error(error: TrionetError, codec: Codec) -> TrionetError:
    """Return a copy of an error."""
    return error_from_wire(codec.decode(codec.encode(error_to_wire(error))))
