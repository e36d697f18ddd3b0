"""The link: the way nodes talk. One long-lived connection for each pair, multiplexed, in MessagePack.

- `frames`: what is said, as bytes; sans-IO
- `flow`: windows of bytes, and the measured round trip
- `outbox`: what waits to be written
- `outgoing`: this node's calls to the peer; `incoming`: the peer's calls to this node
- `connection`: one link, reading and acting, from its hello to its bye
- `handshake`: the first words
- `transport`: all links of one node
"""

from .transport import LinkTransport

__all__ = ["LinkTransport"]
