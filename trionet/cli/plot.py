"""``trionet plot``: pictures of a simulation whose trace was saved."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NoReturn

from trionet.errors import DecodeError
from trionet.streams import prepare_streams

from .arguments import Parser

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main", "make_parser"]

_DESCRIPTION = """\
Draw a sheet of pictures of a simulation, 16:9, from its saved trace: the views of the nodes over time (members), the
messages per second (rate), messages as arrows (space_time), the spread of rumors (spread).
"""

_EPILOG = """\
examples:
  trionet plot trace.jsonl pictures.svg
  trionet plot trace.jsonl rumors.png --picture spread --picture rate

exit status: 0 drawn, 1 the trace can't be read, the file can't be written, or matplotlib isn't installed, 2 wrong usage
"""


def make_parser() -> Parser:
    """Return the parser of its arguments."""
    parser = Parser(prog="trionet plot", description=_DESCRIPTION, epilog=_EPILOG)
    parser.add_argument("trace", metavar="TRACE", help="the file of JSON lines, written by Trace.save")
    parser.add_argument("out", metavar="OUT", help="the file to draw into: .png, .svg or .pdf")
    parser.add_argument(
        "--picture", metavar="NAME", action="append", help="a picture to draw; repeatable; default: all that apply"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command; ends the process."""
    prepare_streams()
    options = make_parser().parse_args(argv)
    from trionet.simulation.pictures import check_request, draw
    from trionet.simulation.trace import Trace

    try:
        check_request(options.out, options.picture)
    except (ValueError, RuntimeError) as exc:
        print(f"trionet plot: {exc}", file=sys.stderr)
        sys.exit(2 if isinstance(exc, ValueError) else 1)
    try:
        draw(Trace.load(options.trace), options.out, options.picture)
    except OSError as exc:
        print(f"trionet plot: {exc.filename}: {exc.strerror}", file=sys.stderr)
    except DecodeError as exc:
        print(f"trionet plot: {options.trace} is no trace: {exc}", file=sys.stderr)
    else:
        sys.exit(0)
    sys.exit(1)
