"""Ports for what is started later: nobody else gets them meanwhile."""

from __future__ import annotations

import itertools
import os
import random
import socket
from pathlib import Path
from typing import Final

__all__ = ["free_port"]

_FIRST: Final = 20_000
_END: Final = 32_768
_WORKERS: Final = 16
_IPV4_RANGE: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")


def _end() -> int:
    """Return the first of the ports that the system gives to those who ask for any free one."""
    try:
        end = int(_IPV4_RANGE.read_text(encoding="ascii").split()[0])
    except OSError:  # not Linux, or hidden
        end = _END
    return end if end > _FIRST + 100 * _WORKERS else _END  # where it gives all, one that is free is probably so later


def _own_ports() -> range:
    """Return the ports of this process alone: each worker of xdist has others."""
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _WORKERS
    count = (_end() - _FIRST) // _WORKERS
    return range(_FIRST + number * count, _FIRST + (number + 1) * count)


def _is_free(port: int) -> bool:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as sock:
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                return False
    return True


_ports: Final = _own_ports()
_next: Final = itertools.count(random.SystemRandom().randrange(len(_ports)))  # another run of the tests may be here


def free_port(count: int = 1) -> int:
    """Return the first of `count` ports in a row that are free on 127.0.0.1, for TCP and UDP.

    The system gives none of them to a socket that asks for any port, so they are still free when they are used.
    """
    for _ in range(len(_ports)):
        found = [_ports[next(_next) % len(_ports)] for _ in range(count)]
        if found[-1] - found[0] == count - 1 and all(map(_is_free, found)):
            return found[0]
    raise AssertionError("there are no free ports")
