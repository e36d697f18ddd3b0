"""The library of threads, which Trio looks for while it is imported.

`ctypes.util.find_library` runs a program for that, ``ldconfig -p``, which takes more time than the rest of Trio's
import with some libraries installed. The GNU C library has the same name for it wherever it is found so.

Invariant: after the block `find_library` is as before, and within it other libraries are found as ever.
"""

from __future__ import annotations

import ctypes.util
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["known_at_once"]

_NAME: Final = "pthread"
_FILE: Final = "libpthread.so.0"


@contextmanager
def known_at_once() -> Generator[None]:
    """Have the library of threads found without a search within the block, with the GNU C library."""
    search = ctypes.util.find_library

    def find_library(name: str) -> str | None:
        return _FILE if name == _NAME else search(name)

    if _has_gnu_c_library():
        ctypes.util.find_library = find_library
    try:
        yield
    finally:
        ctypes.util.find_library = search


def _has_gnu_c_library() -> bool:
    try:
        return (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc")
    except (AttributeError, ValueError, OSError):  # another system
        return False
