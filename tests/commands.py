"""Runs commands of ``trionet`` in this process, which is faster than a process each, and looks at what they print."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
from typing import Any, NamedTuple

import pytest

from trionet.cli.main import main

__all__ = ["Done", "run"]


class Done(NamedTuple):
    """A command that has ended.

    Attributes:
        status: its exit status.
        out, err: what it has printed.
    """

    status: object
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document on standard output."""
        return json.loads(self.out)

    @property
    def documents(self) -> list[Any]:
        """The JSON documents on standard output, one a line."""
        return [json.loads(line) for line in self.out.splitlines()]


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def run(*words: str, width: int | None = None, **environment: str) -> Done:
    """Run ``trionet WORDS...``.

    Args:
        *words: the arguments.
        width: that of the terminal that it prints to; None for no terminal.
        **environment: variables besides those of this process, without trionet's.
    """
    out, err = io.StringIO() if width is None else _Terminal(), io.StringIO()
    log = logging.getLogger("trionet")
    level = log.level
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        for name in [name for name in os.environ if name.startswith("TRIONET_") or name in ("NO_COLOR", "COLUMNS")]:
            patch.delenv(name)
        patch.setenv("TERM", "xterm")
        if width is not None:
            patch.setenv("COLUMNS", str(width))
        for name, value in environment.items():
            patch.setenv(name, value)
        try:
            with pytest.raises(SystemExit) as ended:
                main(list(words))
        finally:
            log.setLevel(level)
    return Done(ended.value.code or 0, out.getvalue(), err.getvalue())
