"""The secret of a run: the nodes of one process, and all that they have spawned, share it.

By it they know code that one of them has sent; it seals nothing. A process makes its own, unless its spawner has passed
one in the boot message, through the private pipe. ``trionet up`` and the fixtures of tests need nothing more: their
nodes are of one process, or spawned by it.

Invariants: no representation shows it. A process has one for all its life, and its forks have the same.
"""

from __future__ import annotations

import secrets
from typing import Final

import msgspec

from trionet.codec import register_type

__all__ = ["RunSecret", "join_run", "run_secret"]

_BYTES: Final = 32


@register_type
class RunSecret(msgspec.Struct, frozen=True):
    """The secret of a run.

    Attributes:
        material: 32 random bytes.
    """

    material: bytes

    def __repr__(self) -> str:
        return "<RunSecret>"


_of_process: list[RunSecret] = []


def run_secret() -> RunSecret:
    """Return the secret of this process's run."""
    if not _of_process:
        _of_process.append(RunSecret(secrets.token_bytes(_BYTES)))
    return _of_process[0]


def join_run(secret: RunSecret) -> None:
    """Belong to the run of the spawner of this process, from now on."""
    _of_process[:] = [secret]
