"""The link: one long-lived connection for each pair of nodes, multiplexed, in MessagePack.

Its protocol is `trionet.protocols.link`, a sans-IO core. Here is what surrounds it:

- `link`: one link; `outgoing`: the tasks that wait for answers; `incoming`: the handlers that answer
- `transport`: all links of one node
- `tcp`: the driver for sockets; that for a memory fabric is in `trionet.transports.memory`
"""

from .tcp import TCPTransport

__all__ = ["TCPTransport"]
