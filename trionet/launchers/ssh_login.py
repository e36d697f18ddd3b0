"""How to log in on another machine."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Login", "remote_line"]

_HOME: Final = re.compile(r"~[A-Za-z0-9_.-]*/")


def remote_line(words: Sequence[str]) -> str:
    """Return a command for the shell over there: a ``~/`` that begins it is the home, all else is as it is."""
    first, *others = words
    home = _HOME.match(first)
    if home is None:
        return shlex.join(words)
    return " ".join([home[0] + shlex.quote(first[home.end() :]), *map(shlex.quote, others)])


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
