"""What the ssh client itself says, apart from the output of nodes."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["SSHLog", "open_log"]


class SSHLog:
    """The file of one client.

    Args:
        file: where it writes; None: to standard error.
        name: the name of the file.
    """

    def __init__(self, file: IO[bytes] | None, name: str) -> None:
        self._file = file
        self.options: list[str] = ["-E", name] if name else []

    def lines(self) -> list[str]:
        """Return the lines that were not returned before."""
        text = b"" if self._file is None else self._file.read()
        lines = (line.strip("@ \t") for line in text.decode(errors="replace").splitlines())  # some have a frame
        return [line for line in lines if line and not line.startswith("Warning:")]


@contextmanager
def open_log() -> Generator[SSHLog]:
    """Open a file for the client's own messages."""
    try:
        file: IO[bytes] = tempfile.NamedTemporaryFile(prefix="trionet-ssh-")  # noqa: SIM115  closed below
        name = file.name
    except OSError:  # no folder is writable
        try:
            file = os.fdopen(os.memfd_create("trionet-ssh"), "rb")
            name = f"/proc/{os.getpid()}/fd/{file.fileno()}"
        except (OSError, AttributeError):  # not on Linux: the messages go to standard error
            yield SSHLog(None, "")
            return
    with file:
        yield SSHLog(file, name)
