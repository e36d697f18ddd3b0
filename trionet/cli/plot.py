"""``trionet plot``: pictures of a simulation whose trace was saved."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NoReturn

from trionet.errors import DecodeError
from trionet.streams import prepare_streams

from .arguments import Parser

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from trionet.simulation.trace import Trace

__all__ = ["main", "make_parser"]

_DESCRIPTION = """\
Draw a sheet of pictures of a simulation, 16:9, from its saved trace: the views of the nodes over time (members), the
messages per second (rate), messages as arrows (space_time), the spread of rumors (spread). A file that ends in .html
becomes a page for a browser instead: a time line to zoom and filter.
"""

_EPILOG = """\
examples:
  trionet plot trace.jsonl pictures.svg
  trionet plot trace.jsonl rumors.png --picture spread --picture rate
  trionet plot failed.jsonl report.html --against passed.jsonl

exit status: 0 drawn, 1 the trace can't be read, the file can't be written, or matplotlib isn't installed, 2 wrong usage
"""


def make_parser() -> Parser:
    """Return the parser of its arguments."""
    parser = Parser(prog="trionet plot", description=_DESCRIPTION, epilog=_EPILOG)
    parser.add_argument("trace", metavar="TRACE", help="the file of JSON lines, written by Trace.save")
    parser.add_argument("out", metavar="OUT", help="the file to draw into: .png, .svg, .pdf or .html")
    parser.add_argument(
        "--picture", metavar="NAME", action="append", help="a picture to draw; repeatable; default: all that apply"
    )
    parser.add_argument(
        "--against", metavar="TRACE", help="another run, for a page that tells where the two first differ"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command; ends the process."""
    prepare_streams()
    parser = make_parser()
    options = parser.parse_args(argv)
    _check(parser, options)
    try:
        _write(options)
    except OSError as exc:
        print(f"{parser.prog}: {exc.filename}: {exc.strerror}", file=sys.stderr)
    except DecodeError as exc:
        print(f"{parser.prog}: {exc}", file=sys.stderr)
    else:
        sys.exit(0)
    sys.exit(1)


def _is_page(options: argparse.Namespace) -> bool:
    return bool(options.out.lower().endswith(".html"))


def _check(parser: Parser, options: argparse.Namespace) -> None:
    """Refuse what can't be drawn, before the trace is read."""
    from trionet.simulation.pictures import check_request

    if _is_page(options):
        if options.picture:
            parser.error("--picture: a page shows the whole run; only .png, .svg and .pdf have pictures to choose")
        return
    if options.against is not None:
        parser.error("--against: a picture shows one run; a file that ends in .html compares two")
    try:
        check_request(options.out, options.picture)
    except (ValueError, RuntimeError) as exc:
        print(f"{parser.prog}: {exc}", file=sys.stderr)
        sys.exit(2 if isinstance(exc, ValueError) else 1)


def _write(options: argparse.Namespace) -> None:
    from trionet.simulation.pictures import draw
    from trionet.simulation.report import write_report

    trace = _loaded(options.trace)
    if _is_page(options):
        other = None if options.against is None else _loaded(options.against)
        write_report(trace, options.out, passing_trace=other)
    else:
        draw(trace, options.out, options.picture)


def _loaded(path: str) -> Trace:
    from trionet.simulation.trace import Trace

    try:
        return Trace.load(path)
    except DecodeError as exc:
        raise DecodeError(f"{path} is no trace: {exc}") from exc
