"""The link: one long-lived connection for each pair of nodes, multiplexed, in MessagePack.

Its protocol is `trionet.protocols.link`, a sans-IO core. The parts around it:

- `link`: one link; `outgoing`: the tasks of callers; `incoming`: the tasks of handlers
- `transport`: all links of one node
- `tcp`: the driver for sockets; the driver for a memory fabric is in `trionet.transports.memory`
"""

from .tcp import TCPTransport

__all__ = ["TCPTransport"]
