"""The bounds of a node: how much it accepts, and how long it waits."""

from __future__ import annotations

import msgspec

from .bounds import MAX_CONTAINERS
from .errors import ConfigError
from .user_code import shown

__all__ = ["Limits"]

_MAX_BYTES = 2**40
_MAX_COUNT = 2**31 - 1
_MAX_SECONDS = 1e9
_LEAST_HELD_BYTES = 256 * 1024 * 1024
_MOST_HELD_BYTES = 2**50
_HELD_MESSAGES = 8
_LEAST_HELD_MESSAGES = 4

_POSITIVE: dict[str, float] = {
    "max_message_bytes": _MAX_BYTES,
    "max_message_containers": _MAX_BYTES,
    "max_calls_per_peer": _MAX_COUNT,
    "max_threads": _MAX_COUNT,
    "max_connections": _MAX_COUNT,
    "idle_timeout_s": _MAX_SECONDS,
    "body_timeout_s": _MAX_SECONDS,
    "connect_timeout_s": _MAX_SECONDS,
}
"""Positive settings, and their maxima: larger values can't be sent, or waited for."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of a `NodeConfig` that bound its use of memory, connections and time.

    Attributes:
        max_message_bytes: the largest request or reply body that is received or sent. Sane: 64 KiB to 1 GiB.
        max_held_bytes: the bytes of messages that all links hold together: incomplete messages, calls until they are
            answered, answers until they are written. At the limit the link that holds most is closed. None: 256 MiB,
            or eight times `max_message_bytes` where that is more. Sane: a quarter of the memory; at least four times
            `max_message_bytes`.
        max_message_containers: the most lists, dicts, tuples and so on in a received message, counted in its wire form.
            Each takes some 100 bytes of memory, and as few as one on the wire. Sane: 10,000 to 10,000,000.
        max_calls_per_peer: the calls of one peer in progress at once, at each depth of nesting up to 7; further ones
            wait at the caller. Deeper calls share as many slots, and are refused if all are in use. Sane: 16 to 65536.
        max_threads: the handlers that run in worker threads at once, at each depth of nesting; further ones wait. Sane:
            the number of processors, for calculations, to 500, for waiting. One in virtual time.
        max_connections: the open connections at once. At the limit a connection without a complete request is closed,
            else the longest idle one, or, if all are in use, the new one. Sane: above twice the number of nodes, below
            the process's limit of open files.
        idle_timeout_s: the time limit for an idle connection, for the head of a request, and for a peer that reads
            nothing of an answer. Sane: 40 to 600. It must exceed the 30 s after which a node's own client closes an
            idle connection; otherwise calls meet connections that are being closed.
        body_timeout_s: the time limit of a request's body. Sane: 5 to 600.
        connect_timeout_s: the time limit of a connection attempt. Sane: 1 to 30.
        stop_grace_s: how long a stopping node waits for the calls in progress. Sane: 0 to 30.
    """

    max_message_bytes: int = 16 * 1024 * 1024
    max_held_bytes: int | None = None
    max_message_containers: int = MAX_CONTAINERS
    max_calls_per_peer: int = 1024
    max_threads: int = 40
    max_connections: int = 4096
    idle_timeout_s: float = 75.0
    body_timeout_s: float = 60.0
    connect_timeout_s: float = 5.0
    stop_grace_s: float = 2.0

    @property
    def held_bytes_limit(self) -> int:
        """The bytes of messages that all links hold together: `max_held_bytes`, or its default."""
        if self.max_held_bytes is not None:
            return self.max_held_bytes
        return max(_LEAST_HELD_BYTES, _HELD_MESSAGES * self.max_message_bytes)

    def check_ranges(self) -> None:
        """Raise `ConfigError` unless all limits, which have their types already, are in their ranges."""
        for setting, most in _POSITIVE.items():
            value = getattr(self, setting)
            if not 0 < value <= most:
                raise ConfigError(f"{setting} is a positive number, at most {most:g}, not {shown(value)}")
        least = _LEAST_HELD_MESSAGES * self.max_message_bytes
        if not least <= self.held_bytes_limit <= _MOST_HELD_BYTES:
            raise ConfigError(
                f"max_held_bytes is at least {_LEAST_HELD_MESSAGES} times max_message_bytes, here {least:,}, and at "
                f"most {_MOST_HELD_BYTES:,}, not {shown(self.max_held_bytes)}"
            )
        if not 0 <= self.stop_grace_s <= _MAX_SECONDS:
            raise ConfigError(f"stop_grace_s is from 0 to {_MAX_SECONDS:g}, not {self.stop_grace_s!r}")
