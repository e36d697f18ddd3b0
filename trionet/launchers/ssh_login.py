"""How to log in on another machine."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

__all__ = ["Login"]


@dataclass(frozen=True)
class Login:
    """How to get to another machine, and what its nodes find there.

    Attributes:
        host: its name for the ssh client.
        ssh: the command of the client, with its options.
        command: the remote command of ``trionet-node``.
        there: what follows the client's options for the helper.
        cwd: the working directory of the nodes; None: that of the login.
        env: variables on top of those of the login.
    """

    host: str
    ssh: tuple[str, ...]
    command: tuple[str, ...]
    there: tuple[str, ...]
    cwd: str | None
    env: tuple[tuple[str, str], ...] = field(repr=False)  # perhaps secrets

    @property
    def has_surroundings(self) -> bool:
        """Whether the nodes are to have others than the login."""
        return bool(self.env or self.cwd)

    def surroundings(self) -> bytes:
        """Return the lines with the environment and the working directory; see `trionet.cli.place`."""
        return f"{json.dumps(dict(self.env))}\n{json.dumps(self.cwd)}\n".encode()
