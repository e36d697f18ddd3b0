"""The frame of the commands that are clients of a running node: ``trionet COMMAND ADDR ...``.

A module of such a command holds a `Command`: what it is for, examples, its arguments, and an async function
``run(client, options)``, which calls the node, prints by ``options.output``, and returns whether all went well. The
frame does the rest.

Invariants: the address comes first, or from ``TRIONET_ADDR``. The exit status is 0, 1 when it failed or some members
did, 2 for wrong usage, 3 when it may have happened, and 130 after Ctrl-C. An error is one line on standard error,
without a traceback unless ``--debug`` is given; with ``--json`` it is a JSON document on standard output, too.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn

import trio

from trionet.errors import IndefiniteError, KeyMismatch, MalformedRequest, TrionetError
from trionet.identity import NodeAddress
from trionet.streams import OutputLost

from .arguments import Parser, seconds
from .client import open_client
from .clients import access_of, add_client, add_token
from .output import Output, ReaderGone, line_of

if TYPE_CHECKING:
    import argparse
    from collections.abc import Awaitable, Callable, Sequence

    from .client import Client

__all__ = ["ADDRESS_VARIABLE", "Command", "Status"]

ADDRESS_VARIABLE: Final = "TRIONET_ADDR"
_NO_ADDRESS: Final = frozenset("=/{\"' ")
"""Characters that words with a colon have which are no addresses."""

_STATUS: Final = """
exit status: 0 done, 1 it failed, or some members did, 2 wrong usage, 3 it may have happened, 130 interrupted
"""


class Status:
    """The exit statuses of commands."""

    DONE: Final = 0
    FAILED: Final = 1
    USAGE: Final = 2
    INDEFINITE: Final = 3
    INTERRUPTED: Final = 130


def _no_arguments(_: argparse.ArgumentParser) -> None: ...


class Command(NamedTuple):
    """A command that is a client of a running node.

    Attributes:
        name: its name.
        description: what it does, for ``--help``; the first line is a sentence.
        examples: the arguments of examples, at least one, beginning with the address.
        run: called with the client and the options; returns whether all went well: False is exit status 1. The options
            have ``words``, the arguments after the address; ``output``, an `Output`; ``parser``, whose ``error(text)``
            ends the command for wrong usage; ``access``, an `Access`; and those of `add_arguments`.
        words: the arguments after the address, for ``--help``.
        least: how many words there must be.
        most: how many there may be; None for any number.
        add_arguments: adds its own options to a parser.
        timeout_s: the default of ``--timeout``; None for no limit.
        limits_itself: whether it keeps ``options.timeout`` itself; with ``--follow`` every command does, and without a
            default.
        run_offline: called first, without an address: returns whether all is done then, without any node.
    """

    name: str
    description: str
    examples: Sequence[str]
    run: Callable[[Client, argparse.Namespace], Awaitable[bool]]
    words: str = ""
    least: int = 0
    most: int | None = 0
    add_arguments: Callable[[argparse.ArgumentParser], None] = _no_arguments
    timeout_s: float | None = 30.0
    limits_itself: bool = False
    run_offline: Callable[[argparse.Namespace], bool] | None = None

    @property
    def summary(self) -> str:
        """What it does, in a line without a full stop."""
        sentence = self.description.partition("\n")[0].partition(". ")[0].rstrip(".")
        return sentence[:1].lower() + sentence[1:]

    def make_parser(self) -> Parser:
        """Return the parser of its arguments."""
        lines = "\n".join(f"  trionet {self.name} {example}" for example in self.examples)
        usage = " ".join(part for part in (f"trionet {self.name} [options] ADDR", self.words) if part)
        parser = Parser(
            prog=f"trionet {self.name}",
            usage=usage,
            description=self.description,
            epilog=f"examples:\n{lines}\n{_STATUS}",
        )
        parser.add_argument(
            "words",
            nargs="*",
            metavar="ADDR",
            help=f"the address of a node, ip:port; default: {ADDRESS_VARIABLE}",
        )
        self.add_arguments(parser)
        self._add_common(parser)
        return parser

    def _add_common(self, parser: argparse.ArgumentParser) -> None:
        limit = "none" if self.timeout_s is None else f"{self.timeout_s:g}"
        common = parser.add_argument_group("options of all commands")
        common.add_argument(
            "--json", action="store_true", help="print JSON: one document, or one a line when following"
        )
        common.add_argument(
            "--timeout", metavar="S", type=seconds, help=f"the time limit in seconds (default: {limit})"
        )
        common.add_argument("--debug", action="store_true", help="show the traceback of an error, and the log")
        add_token(common)
        add_client(common)

    def options(self, argv: Sequence[str]) -> argparse.Namespace:
        """Return the options in its arguments, without the address; wrong ones end the process."""
        parser = self.make_parser()
        options = parser.parse_intermixed_args(argv)
        options.parser, options.output = parser, Output(is_json=options.json)
        follows = getattr(options, "follow", False)
        if options.timeout is None and not follows:
            options.timeout = self.timeout_s
        options.limit = None if self.limits_itself or follows else options.timeout
        return options

    def take_address(self, options: argparse.Namespace) -> None:
        """Take the address from the words of the options; wrong words end the process."""
        parser: Parser = options.parser
        words: list[str] = options.words
        given = os.environ.get(ADDRESS_VARIABLE)
        is_first = bool(words) and _is_like_address(words[0]) and (given is None or len(words) > self.least)
        address = words.pop(0) if is_first else given
        if not address:
            parser.error(f"give the address of a node first, ip:port, or set {ADDRESS_VARIABLE}")
        if len(words) < self.least:
            parser.error(f"give {self.words}")
        if self.most is not None and len(words) > self.most:
            parser.error(f"unexpected arguments: {' '.join(words[self.most :])}")
        try:
            options.node = NodeAddress.of(address)
        except MalformedRequest as exc:
            parser.error(f"{exc.text}; an address is ip:port")
        if not options.node.port:
            parser.error(f"no node has the port 0: {address}")

    def main(self, argv: Sequence[str]) -> NoReturn:
        """Run the command; ends the process."""
        options = self.options(argv)
        if options.debug:
            logging.basicConfig(level=logging.DEBUG, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
        else:
            logging.getLogger("trionet").setLevel(logging.CRITICAL)  # the error says it all, and once
        sys.exit(self._status(options))

    def _status(self, options: argparse.Namespace) -> int:
        try:
            if self.run_offline is not None and self.run_offline(options):
                return Status.DONE
            self.take_address(options)
            return Status.DONE if trio.run(self._run, options) else Status.FAILED
        except KeyboardInterrupt:
            return Status.INTERRUPTED
        except TrionetError as exc:
            if options.debug:
                logging.getLogger("trionet").exception("trionet %s failed", self.name)
            return self._report(exc, options.output)
        except ReaderGone:
            return Status.DONE
        except OutputLost as exc:
            self._complain(str(exc))
            return Status.FAILED
        except Exception as exc:
            if options.debug:
                raise
            text = f"an error in trionet: {type(exc).__name__}: {exc}".rstrip(": ")
            self._complain(f"{text} (--debug shows where)")
            self._show_error({"type": type(exc).__name__, "indefinite": True, "text": text}, options.output)
            return Status.FAILED

    async def _run(self, options: argparse.Namespace) -> bool:
        options.access = access_of(options)
        async with open_client(options.node, options.access) as client, client.limited(options.limit):
            return await self.run(client, options)

    def _report(self, error: TrionetError, output: Output) -> int:
        remedy = "; for a command: --key-file FILE" if isinstance(error, KeyMismatch) else ""
        self._complain(f"{error}{remedy}")
        if isinstance(error, MalformedRequest) and error.node is None:  # no node has raised it
            return Status.USAGE
        self._show_error(error, output)
        return Status.INDEFINITE if isinstance(error, IndefiniteError) else Status.FAILED

    def _complain(self, text: str) -> None:
        print(f"trionet {self.name}: {line_of(text)}", file=sys.stderr)

    def _show_error(self, error: object, output: Output) -> None:
        """Print the document of an error, if JSON is asked for; the exit status remains that of the error."""
        if output.is_json:
            try:
                output.show({"error": error})
            except ReaderGone:
                pass
            except OutputLost as exc:
                self._complain(str(exc))


def _is_like_address(word: str) -> bool:
    return ":" in word and _NO_ADDRESS.isdisjoint(word)
