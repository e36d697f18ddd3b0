"""The environment and the working directory that a spawner on another machine wants for its nodes.

They come as two lines of JSON in standard input, before all else: so they are on no command line.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Final

from trionet.launchers.children import explain_failure

from .arguments import import_from_working_directory

__all__ = ["enter_place", "read_line"]

_ENTERED: Final = "--entered"
"""The option of ``trionet-node`` that says that it has the environment."""


def enter_place(*, has_entered: bool) -> str:
    """Have what was asked for; return why that is not possible, or nothing.

    With another environment the command begins again, because Python reads some of it at its start.

    Args:
        has_entered: whether it has begun again.
    """
    if not has_entered and (environment := json.loads(read_line() or b"{}")):
        try:
            os.environ.update(environment)
            os.execv(sys.executable, [*sys.orig_argv, _ENTERED])  # noqa: S606  this program
        except (OSError, ValueError) as exc:  # as where it is too long
            read_line()
            return f"can't begin again with that environment: {explain_failure(exc)}"
    directory = json.loads(read_line() or b"null")
    if directory is None:
        return ""
    try:
        os.chdir(os.path.expanduser(directory))
    except (OSError, ValueError) as exc:
        return f"can't change to the working directory {directory!r:.200}: {explain_failure(exc)}"
    import_from_working_directory()
    return ""


def read_line() -> bytes:
    """Read one line of standard input, and no byte more."""
    line = bytearray()
    while (byte := os.read(0, 1)) not in (b"", b"\n"):
        line += byte
    return bytes(line)
