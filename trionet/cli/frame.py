"""The frame of the commands that are clients of a running node: ``trionet COMMAND ADDR ...``.

A module of such a command holds a `Command`: what it is for, examples, its arguments, and an async function
``run(client, options)``, which calls the node, prints by ``options.output``, and returns whether all went well. The
frame does the rest.

Invariants: the address comes first, or from ``TRIONET_ADDR``. The exit status is 0, 1 when it failed or some members
did, 2 for wrong usage, 3 when it may have happened, and 130 after Ctrl-C. An error is one line on standard error,
without a traceback unless ``--debug`` is given; with ``--json`` it is a JSON document on standard output, too.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn

import trio

from trionet.errors import CallTimeout, ConfigError, IndefiniteError, MalformedRequest, TrionetError
from trionet.identity import NodeAddress
from trionet.streams import OutputLost

from .arguments import Parser
from .client import open_client
from .clients import access_of, add_client, add_token
from .output import Output

if TYPE_CHECKING:
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
            ends the command for wrong usage; and those of `add_arguments`.
        words: the arguments after the address, for ``--help``.
        least: how many words there must be.
        most: how many there may be; None for any number.
        add_arguments: adds its own options to a parser.
        timeout_s: the default of ``--timeout``; None for no limit.
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

    def parser(self) -> argparse.ArgumentParser:
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
            "--timeout", metavar="S", type=_seconds, help=f"the time limit in seconds (default: {limit})"
        )
        common.add_argument("--debug", action="store_true", help="show the traceback of an error, and the log")
        add_token(common)
        add_client(common)

    def options(self, argv: Sequence[str]) -> argparse.Namespace:
        """Return the options in its arguments; wrong ones end the process."""
        parser = self.parser()
        options = parser.parse_intermixed_args(argv)
        options.parser, options.output = parser, Output(is_json=options.json)
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
        if options.timeout is None:
            options.timeout = self.timeout_s
        return options

    def main(self, argv: Sequence[str]) -> NoReturn:
        """Run the command; ends the process."""
        options = self.options(argv)
        if not options.debug:
            logging.getLogger("trionet").setLevel(logging.CRITICAL)  # the error says it all, and once
        sys.exit(self._status(options))

    def _status(self, options: argparse.Namespace) -> int:
        try:
            return Status.DONE if trio.run(self._run, options) else Status.FAILED
        except KeyboardInterrupt:
            return Status.INTERRUPTED
        except TrionetError as exc:
            if options.debug:
                logging.getLogger("trionet").exception("trionet %s failed", self.name)
            return self._report(exc, options.output)
        except OutputLost as exc:
            print(f"trionet {self.name}: {exc}", file=sys.stderr)
            return Status.FAILED
        except Exception as exc:
            if options.debug:
                raise
            text = f"{type(exc).__name__}: {exc}".rstrip(": ")
            print(f"trionet {self.name}: an error in trionet: {text} (--debug shows where)", file=sys.stderr)
            return Status.FAILED

    async def _run(self, options: argparse.Namespace) -> bool:
        options.access = access_of(options)  # once: a key in the environment is gone then
        async with open_client(options.node, options.access) as client:
            if options.timeout is None:
                return await self.run(client, options)
            with trio.move_on_after(options.timeout):
                return await self.run(client, options)
        raise CallTimeout(f"no answer within {options.timeout:g} s (--timeout)", node=options.node)

    def _report(self, error: TrionetError, output: Output) -> int:
        print(f"trionet {self.name}: {error}", file=sys.stderr)
        if isinstance(error, ConfigError) and error.node is None:
            return Status.USAGE
        if output.is_json:
            output.show({"error": error})
        return Status.INDEFINITE if isinstance(error, IndefiniteError) else Status.FAILED


def _is_like_address(word: str) -> bool:
    return ":" in word and _NO_ADDRESS.isdisjoint(word)


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"a number of seconds, not {text!r:.80}")
    return seconds
