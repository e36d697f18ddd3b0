"""All commands of ``trionet``, by purpose, and the module of each.

A module has the functions ``main(argv)`` and ``make_parser()``, or else ``COMMANDS``, a mapping of name to
`trionet.cli.frame.Command`, which has them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn, Protocol

    from .arguments import Parser

    class Runnable(Protocol):
        """A command."""

        def main(self, argv: Sequence[str]) -> NoReturn:
            """Run it; ends the process."""

        def make_parser(self) -> Parser:
            """Return the parser of its arguments."""


__all__ = ["MODULES", "PURPOSES", "load"]

PURPOSES: Final[dict[str, dict[str, tuple[str, str]]]] = {
    "begin": {
        "demo": (".demo", "a guided tour: nodes, calls, a rumor, a death noticed, the repair"),
        "node": (".node", "run one node; the same as trionet-node"),
        "up": (".up", "run a cluster of several nodes, until Ctrl-C"),
    },
    "look at a running cluster": {
        "members": (".commands.looks", "show the members of a node's cluster"),
        "calls": (".commands.calls", "show the running calls of a cluster, as a tree"),
        "groups": (".commands.looks", "show the groups of a node"),
        "services": (".commands.looks", "show the methods that can be called"),
        "events": (".commands.following", "show what happens to members, children and tasks"),
        "status": (".commands.looks", "show what identifies a node, and how it is"),
        "statistics": (".commands.looks", "show the figures that a node counts"),
        "config": (".commands.looks", "show the settings of a node"),
        "tags": (".commands.acts", "show or change the tags of a node"),
        "ping": (".commands.ping", "measure round trips to nodes, by links and by datagrams"),
        "top": (".commands.top", "watch the members of a cluster, with calls, latencies and lag"),
        "dashboard": (".commands.dashboard", "open the dashboard of a node in a browser"),
        "doctor": (".commands.doctor", "check a cluster for what goes wrong in practice, and say what to do"),
        "logs": (".commands.following", "show the latest log records of a node"),
    },
    "call": {
        "call": (".commands.call", "call a method of a node, or of all members of a group"),
        "gossip": (".commands.gossip", "send a rumor, and show how far it has come"),
    },
    "act": {
        "cancel": (".commands.calls", "cancel a running call, and all that is below it"),
        "spawn": (".commands.acts", "have a node start another one"),
        "stop": (".commands.acts", "stop a node, or all"),
        "join": (".commands.acts", "have a node join a cluster"),
        "leave": (".commands.acts", "have a node leave its cluster"),
        "forget": (".commands.acts", "have all members forget one that is gone for good"),
        "keys": (".keys", "make the key of a cluster, and tokens for its HTTP face"),
        "reload": (".reload", "have a running node read its key file and certificate again"),
    },
    "for the shell": {
        "completion": (".completion", "print the completion of bash or zsh"),
    },
    "simulate and test": {
        "simulate": (".simulate", "search for a seed with which a cluster fails"),
        "maelstrom": (".maelstrom", "test Maelstrom nodes without Maelstrom"),
        "plot": (".plot", "draw pictures of a simulation from its trace"),
    },
}
"""Module and purpose of each command, in the order of ``--help``."""

MODULES: Final = {name: module for commands in PURPOSES.values() for name, (module, _) in commands.items()}
"""The module of each command, relative to this package. Only that of the command that runs is imported."""


def load(name: str) -> Runnable:
    """Return a command; only its own module is imported."""
    module: Any = importlib.import_module(MODULES[name], __package__)
    found: Runnable = module if hasattr(module, "main") else module.COMMANDS[name]
    return found
