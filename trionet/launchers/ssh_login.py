"""How to log in on another machine."""

from __future__ import annotations

import getopt
import json
import re
import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from trionet.errors import MalformedRequest

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Login", "check_options", "remote_line"]

_HOME: Final = re.compile(r"~[A-Za-z0-9_.-]*/")

_LETTERS: Final = "1246AB:CD:E:F:GI:J:KL:MNO:P:Q:R:S:TVW:XYab:c:e:fgi:kl:m:no:p:qstvw:xy"
"""The options of OpenSSH; those with a colon have an argument."""

_OTHER_USES: Final = ("-G", "-N", "-O", "-Q", "-V", "-W", "-f", "-n", "-s")
"""With each of these, ssh runs no command over there, or leaves it without input."""

_SETTING: Final = re.compile(r"\s*(\w+)(?:\s*=\s*|\s+)\"?([^\s\"]*)")
_HARMLESS: Final = {
    "forkafterauthentication": ("no", "false"),
    "sessiontype": ("default",),
    "stdinnull": ("no", "false"),
}
"""The settings that do the same by ``-o``, with the values by which they don't. Source: ssh_config(5)."""


def check_options(options: Sequence[str]) -> None:
    """Refuse options with which ssh would log in elsewhere, or run no command that reads and writes.

    Raises:
        MalformedRequest: they are such; the text is what is wrong.
    """
    try:
        found, others = getopt.getopt(list(options), _LETTERS)
    except getopt.GetoptError as exc:
        if len(exc.opt) == 1 and f"{exc.opt}:" in _LETTERS:
            raise MalformedRequest(f"-{exc.opt} is the last one, and lacks its argument") from None
        return  # one of a newer ssh, perhaps: an older one says that it does not know it
    if others or "--" in options[-1:]:
        word = others[0] if others else "--"
        raise MalformedRequest(f'options and their arguments alone, as ["-p", "2222"]; {word!r:.100} is neither')
    if wrong := [word for name, value in found if (word := _other_use(name, value))]:
        raise MalformedRequest(f"with {wrong[0]} ssh runs no command there that has input and output: leave it out")


def _other_use(name: str, value: str) -> str:
    """Return what makes ssh do something else; nothing if this option doesn't."""
    if name in _OTHER_USES:
        return name
    setting = _SETTING.match(value) if name == "-o" else None
    harmless = None if setting is None else _HARMLESS.get(setting[1].lower())
    if setting is None or harmless is None or setting[2].lower() in harmless:
        return ""
    return f"-o {value:.100}"


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
