"""Tickets, by which a browser gets a token that must not be in a URL.

A URL is in histories, and in the argument list of the program that opens it, which others on the machine can read. So
whoever holds a token leaves it with the node for a minute, and opens the page with a ticket for it in the fragment.

Invariants: a ticket is good at one node, once, and for `LIFETIME_S`; it grants no more than its token, and no longer. A
node keeps at most `MOST` of them, in memory alone.
"""

from __future__ import annotations

import secrets
from typing import Final

import trio

__all__ = ["LIFETIME_S", "MOST", "TICKET_PREFIX", "Tickets"]

LIFETIME_S: Final = 60.0
"""How long a ticket is good."""
MOST: Final = 64
"""The most tickets at once; a newer one replaces the oldest."""

TICKET_PREFIX: Final = "trionet-ticket-v1."
_RANDOM_BYTES: Final = 24


class Tickets:
    """The tickets of one node."""

    def __init__(self) -> None:
        self._tokens: dict[str, tuple[float, str]] = {}

    def put(self, token: str) -> str:
        """Return a new ticket for a token."""
        self._drop_ended()
        while len(self._tokens) >= MOST:
            del self._tokens[next(iter(self._tokens))]
        ticket = TICKET_PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)
        self._tokens[ticket] = trio.current_time() + LIFETIME_S, token
        return ticket

    def take(self, ticket: str) -> str | None:
        """Return the token of a ticket, which is good no more; None if it isn't any more, or never was."""
        self._drop_ended()
        found = self._tokens.pop(ticket, None)
        return None if found is None else found[1]

    def _drop_ended(self) -> None:
        now = trio.current_time()
        for ticket in [one for one, (ends_at, _) in self._tokens.items() if ends_at <= now]:
            del self._tokens[ticket]
