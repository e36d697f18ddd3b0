"""Datagrams between hosts: ``serve`` answers each, ``ask IP COUNT PATIENCE`` prints how many were answered.

It prints their median time and the errors, too. It waits for all answers, and ends when none has come for PATIENCE
seconds.
"""

from __future__ import annotations

import select
import socket
import sys
import time
from typing import Final

_PORT: Final = 9000
_BETWEEN_S: Final = 0.001


def _serve() -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as served:
        served.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        served.bind(("::", _PORT))
        print("ready", flush=True)
        while True:
            served.sendto(*served.recvfrom(2000))


def _ask(ip: str, count: int, patience_s: float) -> None:
    """Send datagrams, one each millisecond; the size, 1,000 bytes, shows rates."""
    took: list[float] = []
    with socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET, socket.SOCK_DGRAM) as asked:
        sent, last, errors = 0, time.monotonic(), 0
        while len(took) + errors < count and time.monotonic() - last < patience_s:
            if sent < count:
                sent, last = sent + 1, time.monotonic()
                try:
                    asked.sendto(b"%020.9f".ljust(1000) % last, (ip, _PORT))
                except OSError:
                    errors += 1
            if select.select([asked], [], [], _BETWEEN_S)[0]:
                last = time.monotonic()
                took.append(last - float(asked.recv(2000)[:20]))
    print(len(took), 1e3 * sorted(took)[len(took) // 2] if took else 0.0, errors)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        _serve()
    else:
        _ask(sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
