"""The limit of open files of this process.

Each spawned node and each link takes one. Many systems start programs with a soft limit of 1,024, and let them raise it
to a hard limit that is much higher; programs that wait by ``select(2)`` can't have more than 1,024.
"""

from __future__ import annotations

import errno
from contextlib import suppress

__all__ = ["explain_full", "is_full", "raise_limit"]


def raise_limit() -> None:
    """Raise the soft limit to the hard one, where that is permitted."""
    try:
        import resource
    except ImportError:  # not on Windows
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(OSError, ValueError):  # a sandbox forbids it
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def is_full(exc: Exception) -> bool:
    """Return whether an operation failed because too many files are open, here or on this machine."""
    return isinstance(exc, OSError) and exc.errno in (errno.EMFILE, errno.ENFILE)


def explain_full(exc: OSError) -> str:
    """Return what to do about an error of which `is_full` is true."""
    if exc.errno == errno.ENFILE:
        return "all files that this machine may have open are: raise fs.file-max, or stop other programs"
    import resource  # where this error comes from, there it is

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return (
        f"this process may have {soft:,} files open, one for each spawned node and each link: raise the limit "
        f"('ulimit -n', systemd's LimitNOFILE, resource.setrlimit(resource.RLIMIT_NOFILE, ...)), to {hard:,} here"
    )
