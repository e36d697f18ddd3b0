"""A relay for frames, run in the switch's network: what leaves a host arrives later (``tc netem`` is not everywhere).

``python slow_ports.py port1=0.01 ...``: for each port a TAP device, ``slow1``, takes its place in the bridge. Both ends
keep the kernel's header of offloaded checksums and segments, so frames pass as they are. It ends with its standard
input.
"""

from __future__ import annotations

import fcntl
import heapq
import os
import select
import socket
import struct
import sys
import time
from typing import Final, NamedTuple

_TUNSETIFF: Final = 0x400454CA
_IFF_TAP_NO_PI_VNET_HDR: Final = 0x0002 | 0x1000 | 0x4000
_SOL_PACKET: Final = 263
_PACKET_VNET_HDR: Final = 15
_ETH_P_ALL: Final = 0x0003
_OUTGOING: Final = 4
_FRAME: Final = 70_000
_MANY: Final = 64


class _Port(NamedTuple):
    host: socket.socket
    bridge: int
    delay_s: float


def _open(name: str, delay_s: float) -> _Port:
    tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    request = struct.pack("16sH22x", name.replace("port", "slow").encode(), _IFF_TAP_NO_PI_VNET_HDR)
    fcntl.ioctl(tap, _TUNSETIFF, request)
    host = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
    host.setsockopt(_SOL_PACKET, _PACKET_VNET_HDR, 1)
    host.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    host.bind((name, 0))
    host.setblocking(False)
    return _Port(host, tap, delay_s)


class _Relay:
    """Frames on their way, by the time of their arrival; those of equal times stay in order."""

    def __init__(self, ports: list[_Port]) -> None:
        self._from_host = {port.host.fileno(): port for port in ports}
        self._from_bridge = {port.bridge: port for port in ports}
        self._waiting: list[tuple[float, int, int, bytes]] = []
        self._count = 0

    def run(self) -> None:
        watched = [0, *self._from_host, *self._from_bridge]
        while True:
            wait_s = max(0.0, self._waiting[0][0] - time.monotonic()) if self._waiting else None
            ready = select.select(watched, [], [], wait_s)[0]
            if 0 in ready:
                return
            for file in ready:
                self._take(file)
            self._deliver()

    def _take(self, file: int) -> None:
        for _ in range(_MANY):
            try:
                if (port := self._from_host.get(file)) is not None:
                    frame, sender = port.host.recvfrom(_FRAME)
                    if sender[2] == _OUTGOING:
                        continue
                    self._count += 1
                    due = time.monotonic() + port.delay_s
                    heapq.heappush(self._waiting, (due, self._count, port.bridge, frame))
                else:
                    self._from_bridge[file].host.send(os.read(file, _FRAME))
            except OSError:  # nothing more; a host has gone
                return

    def _deliver(self) -> None:
        now = time.monotonic()
        while self._waiting and self._waiting[0][0] <= now:
            _, _, tap, frame = heapq.heappop(self._waiting)
            try:
                os.write(tap, frame)
            except OSError:  # no room: lost, as in any network
                continue


if __name__ == "__main__":
    relay = _Relay([_open(name, float(delay)) for name, _, delay in (word.partition("=") for word in sys.argv[1:])])
    print("ready", flush=True)
    relay.run()
