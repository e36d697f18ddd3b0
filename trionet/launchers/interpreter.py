"""How the same Python is started again: with the flags that it has, importing from where it does.

The import path goes through a descriptor, not on the command line: an argument may have 128 KiB on Linux, and the names
of folders may be anything.

Source: the flags are those that ``multiprocessing`` passes on (``subprocess._args_from_interpreter_flags``), with all
``-X`` options, and ``-u``.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys

from trionet.errors import SpawnError

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
    """Return a command that runs `program`, and what has to be written to its descriptor before anything else.

    Args:
        program: statements; what they import is found where this process finds it.
        descriptor: what the new process is to read its import path from, blocking.

    Raises:
        SpawnError: this process doesn't know which program it is, as where Python is embedded in another.
    """
    if not sys.executable:
        raise SpawnError("can't start another Python: sys.executable is empty")
    text = ascii(import_path()).encode("ascii")
    begin = _BEGIN.format(size=len(text), descriptor=descriptor, program=program)
    return [sys.executable, *python_flags(), "-c", begin], text


def python_flags() -> list[str]:
    """Return the options that this Python was started with."""
    flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # noqa: SLF001  as multiprocessing
    passed = {flags[place + 1].partition("=")[0] for place, flag in enumerate(flags) if flag == "-X"}
    for name, value in sys._xoptions.items():  # noqa: SLF001  its documented name
        if name not in passed:
            flags += ["-X", name if value is True else f"{name}={value}"]
    if any(isinstance(getattr(stream, "buffer", None), io.RawIOBase) for stream in (sys.__stdout__, sys.__stderr__)):
        flags.append("-u")  # no flag tells
    return flags


def python_environment() -> dict[str, str]:
    """Return the environment that a Python is to be started with.

    It is that of this process; but relative places in ``PYTHONPATH`` would keep Python from starting when the working
    directory has been deleted.
    """
    environment = dict(os.environ)
    if "PYTHONPATH" in environment and _here() is None:
        places = environment["PYTHONPATH"].split(os.pathsep)
        environment["PYTHONPATH"] = os.pathsep.join(filter(os.path.isabs, places))
    return environment


def import_path() -> list[str]:
    """Return where this process imports from, as absolute paths.

    A relative place is left out when the working directory has been deleted: nothing can be imported from there.
    """
    here = _here()
    # What is no text is passed over by the import system, too; a Path stands there by mistake, and says what is meant.
    places = [os.fsdecode(place) for place in sys.path if isinstance(place, str | os.PathLike)]
    return [os.path.join(here or "", place) for place in places if here is not None or os.path.isabs(place)]


def _here() -> str | None:
    """Return the working directory; None when it has been deleted."""
    try:
        return os.getcwd()
    except OSError:
        return None
