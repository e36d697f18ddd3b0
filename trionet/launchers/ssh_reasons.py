"""Why ``trionet-node`` has not begun on another machine, as far as one further login can tell."""

from __future__ import annotations

import os
import re
import subprocess
from typing import TYPE_CHECKING, Final

import trio

from trionet.version import __version__

from .far_frames import are_compatible, skew
from .interpreter import python_environment
from .ssh_login import remote_line

if TYPE_CHECKING:
    from .ssh_login import Login

__all__ = ["reasons"]

_NOT_FOUND, _NOT_EXECUTABLE = 127, 126
"""The exit statuses of a shell that can't run a command (POSIX, "Exit Status for Commands")."""

_USAGE: Final = 2
_BROKEN: Final = 255
_ASK_S: Final = 15.0
_LINES: Final = 3
_MAX_TEXT: Final = 500
_VERSION: Final = re.compile(r"^trionet(?:-node| node)? (\d[\w.+!-]*)$", re.MULTILINE)
_MISSING: Final = re.compile(r"No module named '?trionet'?")
_HINTS: Final = {
    "HOST IDENTIFICATION HAS CHANGED": "find out why, and then remove the old key from known_hosts (ssh-keygen -R)",
    "Host key verification failed": "log in once by hand, and compare the key, or add it to known_hosts",
    "Permission denied": "the client must log in without a prompt: see that a key for this host is in ssh's agent, or "
    "give it with -i among the options",
    "kex_exchange_identification": "sshd there takes a limited number of logins at a time (MaxStartups in sshd_config)",
}
"""What to do about words of the ssh client."""


async def reasons(login: Login, status: int, log: list[str]) -> list[str]:
    """Return the reasons for an exit status of ssh, with what to do.

    Args:
        login: what has failed.
        status: the exit status.
        log: what the ssh client itself has said.
    """
    hints = [hint for mark, hint in _HINTS.items() if any(mark in line for line in log)]
    if status == _BROKEN and not log:
        hints.append(f"ssh gives no reason in its log; perhaps a signal has killed {login.command[0]} on {login.host}")
    return [*filter(None, [await _reason_there(login, status)]), *log, *hints[:1]]


async def _reason_there(login: Login, status: int) -> str:
    """Return what the other machine says; empty if that is nothing."""
    runs_another = login.command[1:2] not in ((), ("-m",))  # a program: its own words say what is missing
    if status == _NOT_FOUND and not runs_another:
        where = "" if "/" in login.command[0] else "on the PATH that a login without terminal has "
        return (
            f"{login.command[0]} isn't {where}on {login.host}: install trionet=={__version__} there, or correct the "
            f"command, which says where it is"
        )
    if status == _NOT_EXECUTABLE and not runs_another:
        return f"{login.command[0]} can't be executed on {login.host}"
    if status < 0 or status == _BROKEN:
        return ""
    said = await _version(login)
    if (found := _VERSION.search(said)) is not None:
        there = found[1]
        if not are_compatible(there, __version__):
            return skew(__version__, there, login.host)
        if status == _USAGE:
            return (
                f"trionet {there} on {login.host} can't start several nodes in one login, as {__version__} here needs: "
                f"install trionet=={__version__} there"
            )
        return f"trionet {there} on {login.host} ended before it could start nodes; what it printed says why"
    if _MISSING.search(said):
        said += f"\ninstall trionet=={__version__} there"
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    if not lines:
        return (
            f"{login.command[0]} does not even tell its version on {login.host}: does a start-up file of the shell "
            f"there end the login?"
        )
    return "; ".join(lines[-_LINES:])[-_MAX_TEXT:]


async def _version(login: Login) -> str:
    """Return what the command says to ``--version``."""
    *_, separator, host, _ = login.there
    command = [*login.ssh, "-E", os.devnull, separator, host, remote_line([*login.command, "--version"])]
    with trio.move_on_after(_ASK_S):
        done = await trio.run_process(
            command,
            capture_stdout=True,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            check=False,
            env=python_environment(),
        )
        return done.stdout.decode(errors="replace")
    return ""
