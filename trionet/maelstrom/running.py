"""A node as a process of its own."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from .node import MaelstromNode

__all__ = ["run"]


def run(node: MaelstromNode, *, log_level: int = logging.INFO) -> None:
    """Run `node` on standard input and output until the input ends.

    From here on only messages reach standard output: ``print`` writes to standard error, as does the log, unless the
    program has configured logging itself. Ctrl-C ends the process with status 130.

    Args:
        node: the node; a node runs once.
        log_level: the level of the log.
    """
    from .stdio import open_stdio

    lines, out = open_stdio()
    logging.basicConfig(level=log_level, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")

    async def serve() -> None:
        async with lines, out:
            await node.serve(lines, out)

    try:
        trio.run(serve)
    except KeyboardInterrupt:
        sys.exit(130)
    except BaseExceptionGroup as exc:
        if exc.split(KeyboardInterrupt)[1] is None:
            sys.exit(130)
        raise
