"""``trionet maelstrom test``: tests of Maelstrom nodes, without Maelstrom."""

from __future__ import annotations

import argparse
import dataclasses
import io
import logging
import random
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import msgspec

from trionet.errors import ConfigError
from trionet.maelstrom.workbench import (
    WORKLOADS,
    Options,
    SetupFailed,
    Store,
    StoreFailed,
    exit_status,
    judge,
    render,
    run,
    verdict_line,
)
from trionet.maelstrom.workbench.options import (
    parse_availability,
    parse_concurrency,
    parse_faults,
    parse_models,
)
from trionet.maelstrom.workbench.plots import latency_svg, rate_svg
from trionet.maelstrom.workbench.space_time import space_time_svg
from trionet.maelstrom.workbench.topologies import TOPOLOGIES
from trionet.streams import OutputLost, check_written, claim_stdout, prepare_streams
from trionet.version import __version__

from .arguments import Parser

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trionet.maelstrom.workbench import Run, Status

__all__ = ["StatusLine", "main", "make_parser"]

_DESCRIPTION = """\
Run nodes, send them operations, inject faults, and check the history: with Maelstrom's workloads, services, network,
faults and checkers. A node is any program that speaks Maelstrom's protocol on standard input and output.
"""

_EPILOG = """\
Words that are no options, and all words after --, are the arguments of the program. Options that Maelstrom also has
have its names, defaults and meanings.

examples:
  trionet maelstrom test -w echo --bin ./echo.py --node-count 1 --time-limit 10
  trionet maelstrom test -w broadcast --bin ./node --node-count 25 --rate 100 --latency 100 --time-limit 20 -- --fast
  trionet maelstrom test -w broadcast --bin broadcast --simulate --seed 7 --node-count 25 --p-loss 0.5

exit status, by our verdict: 0 valid, 1 invalid, 2 unknown; 3 the test could not begin, its options are wrong, or the
store can't be written; 130 interrupted
"""

_CANNOT: Final = 3
_DASHES: Final = ("\u2013", "\u2014")  # en dash, em dash


class _Parser(Parser):
    def error(self, message: str) -> NoReturn:
        self.exit(_CANNOT, f"{self.prog}: {message}; see {self.prog} --help\n")


def make_parser() -> Parser:
    """Return the parser of its arguments, and the word ``test``."""
    parser = Parser(prog="trionet maelstrom")
    parser.add_subparsers().add_parser("test", parents=[_test_parser()], add_help=False)
    return parser


def _test_parser() -> Parser:
    parser = _Parser(prog="trionet maelstrom test", description=_DESCRIPTION, epilog=_EPILOG)
    add = parser.add_argument
    add("arguments", nargs="*", metavar="ARG", help="arguments of the program")
    add("--bin", metavar="PROGRAM", required=True, help="a node's program; with --simulate, a challenge's "
        "name, module:function, or a Python file with a function build")  # fmt: skip
    add("-w", "--workload", default="lin-kv", choices=sorted(WORKLOADS), help="the workload (default: lin-kv)")
    _add_load(parser)
    _add_network(parser)
    _add_checking(parser)
    return parser


def _add_load(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("nodes and clients").add_argument
    add("--node-count", type=int, metavar="N", help="that many nodes, n0 to n(N-1)")
    add("--nodes", metavar="LIST", default="n1,n2,n3,n4,n5", help="their names, with commas (default: n1 to n5)")
    add("--concurrency", default="1n", metavar="C", help="workers; 4n is four for each node (default: 1n)")
    add("--rate", type=float, default=5.0, metavar="HZ", help="operations per second (default: 5)")
    add("--time-limit", dest="time_limit_s", type=float, default=60.0, metavar="S", help="seconds (default: 60)")
    add("--init-timeout", dest="init_timeout_s", type=float, default=10.0, metavar="S", help="for nodes (default: 10)")
    add("--topology", default="grid", choices=sorted(TOPOLOGIES), help="for broadcast nodes (default: grid)")
    add("--key-count", type=int, metavar="N", help="keys in use at a time, for txn-* and kafka (default: 10)")
    add("--max-txn-length", type=int, default=4, metavar="N", help="micro-operations per transaction (default: 4)")
    add("--max-writes-per-key", type=int, default=16, metavar="N", help="for txn-* and kafka (default: 16)")


def _add_network(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("network and faults").add_argument
    add("--latency", dest="latency_ms", type=int, default=0, metavar="MS", help="mean, between nodes (default: 0)")
    add("--latency-dist", default="constant", choices=("constant", "uniform", "exponential"), help="its distribution")
    add("--p-loss", type=float, default=0.0, metavar="P", help="probability that such a message is lost (default: 0)")
    add("--nemesis", default="", metavar="FAULTS", help="partition, kill, pause: any, with commas")
    add("--nemesis-interval", dest="nemesis_interval_s", type=float, default=10.0, metavar="S", help="mean time "
        "between faults (default: 10)")  # fmt: skip


def _add_checking(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("checking and output").add_argument
    add("--availability", metavar="A", help="'total', or the fraction of operations that must be ok")
    add("--consistency-models", default="strict-serializable", metavar="MODELS", help="of transactions, with commas")
    add("--no-final-reads", dest="compares_final_reads", action="store_false", help="don't compare final reads")
    add("--simulate", dest="is_simulated", action="store_true", help="run nodes in this process, in virtual time")
    add("--seed", type=int, metavar="X", help="of all choices; a simulation repeats with it (default: by chance)")
    add("--store", type=Path, default=Path("store"), metavar="DIR", help="the folder of results (default: store)")
    add("--no-store", action="store_true", help="save nothing")
    add("--json", action="store_true", help="print the results as JSON")
    add("--log-stderr", action="store_true", help="show the standard error of nodes")
    add("--log-net-send", action="store_true", help=argparse.SUPPRESS)  # Maelstrom's; messages.jsonl has it all
    add("--log-net-recv", action="store_true", help=argparse.SUPPRESS)


def _parse(argv: Sequence[str]) -> tuple[argparse.Namespace, Options]:
    parser = _test_parser()
    words = list(argv)
    own = words[: words.index("--")] if "--" in words else words
    given = parser.parse_intermixed_args(own)
    given.arguments += words[len(own) + 1 :]
    for word in given.arguments:
        if word.startswith(_DASHES) or (word.startswith("-") and word[1:2] in _DASHES):
            _say(f"warning: {word!r} begins with a typographic dash, so it is no option but an argument of the program")
    try:
        nodes = tuple(f"n{number}" for number in range(given.node_count or 0)) or tuple(given.nodes.split(","))
        settings = {field.name: getattr(given, field.name) for field in dataclasses.fields(Options)} | {
            "arguments": tuple(given.arguments),
            "nodes": nodes,
            "concurrency": parse_concurrency(given.concurrency, len(nodes)),
            "nemesis": parse_faults(given.nemesis) if given.nemesis else (),
            "availability": None if given.availability is None else parse_availability(given.availability),
            "consistency_models": parse_models(given.consistency_models),
            "seed": random.SystemRandom().randrange(1 << 32) if given.seed is None else given.seed,
        }
        return given, Options(**settings)
    except ConfigError as exc:
        parser.error(str(exc))


def _say(text: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write("\r\x1b[K")
    print(text, file=sys.stderr, flush=True)


class StatusLine:
    """One line that is overwritten on a terminal; elsewhere, a line every five seconds."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s

    def __call__(self, status: Status) -> None:
        """Show the progress of a test."""
        text = (
            f"{self._where(status)}: {status.operations} operations, "
            f"{status.unfinished} of unknown outcome, {status.messages} messages"
        )
        text += f", {status.fault}" if status.fault else ""
        if sys.stderr.isatty():
            sys.stderr.write(f"\r\x1b[K{text[:120]}")
            sys.stderr.flush()
        elif round(status.elapsed_s) % 5 == 0:
            print(text, file=sys.stderr, flush=True)

    def _where(self, status: Status) -> str:
        if status.phase == "working":
            return f"{min(status.elapsed_s, self._limit_s):.0f} of {self._limit_s:g} s"
        return f"{status.phase}, {max(status.elapsed_s - self._limit_s, 0):.0f} s after the time limit"


def _test(given: argparse.Namespace, options: Options, store: Store | None) -> dict[str, Any]:
    if options.is_simulated:
        stream = None if store is None else io.TextIOWrapper(store.node_log("simulated"), write_through=True)
        logging.basicConfig(stream=stream, level=logging.WARNING if store is None else logging.INFO)
    began = time.perf_counter()
    progress = None if options.is_simulated else StatusLine(options.time_limit_s)
    done = run(options, store, on_line=_say, on_status=progress)
    took_s = time.perf_counter() - began
    results = judge(done)
    results["options"] = msgspec.to_builtins(options)
    if store is not None:
        _save(store, done, results)
    if sys.stderr.isatty() and progress is not None:
        sys.stderr.write("\r\x1b[K")
    if given.json:
        print(msgspec.json.encode(results).decode(), file=given.results)
        return results
    how = f"simulated {done.duration_s:.1f} s in {took_s:.1f} s" if options.is_simulated else f"{done.duration_s:.1f} s"
    print(f"{options.workload}, {len(options.nodes)} nodes, seed {options.seed}: {how}", file=given.results)
    print(render(results), file=given.results)
    if store is not None:
        print(f"\nThe results are in {store.path}", file=given.results)
    return results


def _save(store: Store, done: Run, results: dict[str, Any]) -> None:
    store.save_history(done.history)
    store.save_results(results)
    store.save_text("latency.svg", latency_svg(done.history))
    store.save_text("rate.svg", rate_svg(done.history))
    store.save_text("messages.svg", space_time_svg(done.arrows))


def main(argv: Sequence[str]) -> NoReturn:
    """Run the command; ends the process."""
    prepare_streams()
    words = list(argv)
    if words == ["--version"]:
        print(f"trionet maelstrom {__version__}")
        sys.exit(0)
    if not words or words[0] != "test":
        print("usage: trionet maelstrom test ...; see trionet maelstrom test --help", file=sys.stderr)
        sys.exit(0 if words and words[0] in {"-h", "--help"} else _CANNOT)
    given, options = _parse(words[1:])
    given.results = claim_stdout()
    try:
        if given.no_store:
            results = _test(given, options, None)
        else:
            with Store(given.store, options.workload) as store:
                results = _test(given, options, store)
        if not given.json:
            print(verdict_line(results), file=given.results)
        check_written(given.results)
    except (ConfigError, SetupFailed, StoreFailed, OutputLost) as exc:
        _say(f"trionet maelstrom test: {exc}")
        sys.exit(_CANNOT)
    sys.exit(exit_status(results))
