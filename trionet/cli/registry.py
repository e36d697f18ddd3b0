"""All commands of ``trionet``, by purpose, and the module of each.

A module has ``COMMANDS``, a mapping of name to `trionet.cli.frame.Command`, or a function ``main(argv)``.
"""

from __future__ import annotations

from typing import Final

__all__ = ["MODULES", "PURPOSES"]

PURPOSES: Final[dict[str, dict[str, tuple[str, str]]]] = {
    "begin": {
        "demo": (".demo", "start a group of nodes, call it, stop it, and check the results"),
        "node": (".node", "run one node; the same as trionet-node"),
        "up": (".up", "run several nodes in one group, until Ctrl-C"),
    },
    "look at a running cluster": {
        "members": (".commands.members", "show the members of a node's cluster"),
        "ping": (".commands.ping", "measure round trips to nodes, by links and by datagrams"),
        "top": (".commands.top", "watch the members of a cluster, with calls, latencies and lag"),
        "doctor": (".commands.doctor", "check a cluster for what goes wrong in practice, and say what to do"),
    },
    "act": {
        "keys": (".keys", "make the key of a cluster, and tokens for its HTTP face"),
        "reload": (".reload", "have a running node read its key file and certificate again"),
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
