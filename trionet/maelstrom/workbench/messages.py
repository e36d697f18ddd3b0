"""Messages as the network carries them."""

from __future__ import annotations

import msgspec

__all__ = ["NetworkMessage", "is_client"]

_encode = msgspec.json.Encoder().encode


def is_client(name: str) -> bool:
    """Return whether a name is a client's: all that begin with c are."""
    return name.startswith("c")


class NetworkMessage:
    """A message on the network; its body is JSON, as it was sent."""

    __slots__ = ("body", "dest", "id", "is_clients", "src")

    def __init__(self, number: int, src: str, dest: str, body: bytes) -> None:
        self.id: int = number
        self.src: str = src
        self.dest: str = dest
        self.body: bytes = body
        self.is_clients: bool = is_client(src) or is_client(dest)

    def line(self) -> bytes:
        """Return it as a node reads it."""
        src, dest = _encode(self.src), _encode(self.dest)
        return b'{"id":%d,"src":%b,"dest":%b,"body":%b}\n' % (self.id, src, dest, self.body)
