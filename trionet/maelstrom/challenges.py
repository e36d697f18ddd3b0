"""The solutions of Gossip Glomers: the programs of ``examples/gossip_glomers/``, which are installed with trionet.

Invariant: there is one copy of them. A checkout has them among the examples; a wheel has them in this package.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from trionet.errors import ConfigError

from .program import build_node, load_build

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .node import MaelstromNode

__all__ = ["build_challenge", "challenge_names", "load_challenge"]


def _folder() -> Path:
    installed = Path(__file__).parent / "gossip_glomers"
    return installed if installed.is_dir() else Path(__file__).parents[2] / "examples" / "gossip_glomers"


def challenge_names() -> list[str]:
    """Return the names of the challenges with a solution, such as ``"unique-ids"``."""
    return sorted(path.stem.replace("_", "-") for path in _folder().glob("[a-z]*.py"))


def load_challenge(name: str) -> Callable[..., MaelstromNode]:
    """Return the function ``build`` of a challenge's program.

    Raises:
        ConfigError: there is no such challenge.
    """
    path = _folder() / f"{name.replace('-', '_')}.py"
    if not name.replace("-", "").isalnum() or not path.is_file():
        raise ConfigError(f"there is no challenge {name!r:.100}: it is one of {', '.join(challenge_names())}")
    return load_build(path)


def build_challenge(name: str, arguments: Sequence[str] = ()) -> MaelstromNode:
    """Return a node that solves a challenge, as ``trionet-glomers NAME ARGUMENTS`` runs it; for use in process.

    Raises:
        ConfigError: there is no such challenge, or no such option.
    """
    return build_node(load_challenge(name), arguments)
