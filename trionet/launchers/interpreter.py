"""Starting the same Python again, with the same flags and import path.

The import path is sent through a descriptor instead of the command line: an argument may have at most 128 KiB on Linux,
and folders may have any name.

Source: the flags are those that ``multiprocessing`` passes on (``subprocess._args_from_interpreter_flags``), with all
``-X`` options, and ``-u``.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys

from trionet.errors import SpawnError
from trionet.key_texts import KEY_VARIABLE

__all__ = ["import_path", "python_command", "python_environment", "python_flags"]

# `exit` is site's, and -S leaves that out.
_BEGIN = """\
import os, sys
text = b""
while len(text) < {size}:
    text += os.read({descriptor}, {size} - len(text)) or os._exit(1)
sys.path[:] = eval(text)
{program}"""


def python_command(program: str, descriptor: int) -> tuple[list[str], bytes]:
    """Return a command that runs `program`, and the bytes to write to its descriptor first.

    Args:
        program: statements, which import from the same places as this process.
        descriptor: the descriptor from which the new process reads its import path, blocking.

    Raises:
        SpawnError: the path of the interpreter is unknown, as where Python is embedded in another program.
    """
    if not sys.executable:
        raise SpawnError("can't start another Python: sys.executable is empty")
    text = ascii(import_path()).encode("ascii")
    begin = _BEGIN.format(size=len(text), descriptor=descriptor, program=program)
    return [sys.executable, *python_flags(), "-c", begin], text


def python_flags() -> list[str]:
    """Return the options of this Python."""
    flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # noqa: SLF001  as multiprocessing
    passed = {flags[place + 1].partition("=")[0] for place, flag in enumerate(flags) if flag == "-X"}
    for name, value in sys._xoptions.items():  # noqa: SLF001  its documented name
        if name not in passed:
            flags += ["-X", name if value is True else f"{name}={value}"]
    if any(isinstance(getattr(stream, "buffer", None), io.RawIOBase) for stream in (sys.__stdout__, sys.__stderr__)):
        flags.append("-u")  # sys.flags does not have it
    return flags


def python_environment() -> dict[str, str]:
    """Return the environment for another Python.

    It is that of this process, without a key, which a child gets through its pipe; and without the relative places in
    ``PYTHONPATH`` if the working directory has been deleted, because Python would not start.
    """
    environment = dict(os.environ)
    environment.pop(KEY_VARIABLE, None)
    if "PYTHONPATH" in environment and _here() is None:
        places = environment["PYTHONPATH"].split(os.pathsep)
        environment["PYTHONPATH"] = os.pathsep.join(filter(os.path.isabs, places))
    return environment


def import_path() -> list[str]:
    """Return the import path of this process, as absolute paths.

    Relative places are omitted when the working directory has been deleted: nothing can be imported from there.
    """
    here = _here()
    # The import system ignores other objects, too. A Path is a mistake with a clear meaning.
    places = [os.fsdecode(place) for place in sys.path if isinstance(place, str | os.PathLike)]
    return [os.path.join(here or "", place) for place in places if here is not None or os.path.isabs(place)]


def _here() -> str | None:
    """Return the working directory; None when it has been deleted."""
    try:
        return os.getcwd()
    except OSError:
        return None
