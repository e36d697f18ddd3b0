"""``trionet-glomers``: a solution of one of the Gossip Glomers challenges, as a node for Maelstrom."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from trionet.errors import ConfigError
from trionet.maelstrom.challenges import challenge_names, load_challenge
from trionet.maelstrom.program import main as run_program
from trionet.streams import prepare_streams
from trionet.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

_USAGE = """\
usage: trionet-glomers CHALLENGE [OPTIONS]

Be a node of Maelstrom's that solves a challenge of Gossip Glomers, on standard input and output:

  maelstrom test -w echo --bin "$(which trionet-glomers)" --node-count 1 --time-limit 10 echo

challenges: {}
`trionet-glomers CHALLENGE --help` lists a challenge's options.
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    prepare_streams()
    name, *arguments = [*(sys.argv[1:] if argv is None else argv), ""]
    if name == "--version":
        print(f"trionet-glomers {__version__}")
        return
    if name in ("-h", "--help"):
        print(_USAGE.format(", ".join(challenge_names())), end="")
        return
    if not name:
        print("trionet-glomers: which challenge? see trionet-glomers --help", file=sys.stderr)
        sys.exit(2)
    try:
        build = load_challenge(name)
    except ConfigError as exc:
        print(f"trionet-glomers: {exc}", file=sys.stderr)
        sys.exit(2)
    run_program(build, arguments[:-1])


if __name__ == "__main__":
    main()
