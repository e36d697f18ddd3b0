"""Whether repeated work keeps memory: what is allocated after a first part of it must not grow."""

from __future__ import annotations

import gc
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["no_growth"]

_MOST_BLOCKS: Final = 2_000
_MOST_BYTES: Final = 32 * 1024 * 1024
"""Allocators keep what was freed; a leak of 64 bytes in each of a million cases is more than this."""

_STATM: Final = Path("/proc/self/statm")
_PAGE_BYTES: Final = 4096


@contextmanager
def no_growth() -> Generator[None]:
    """Check that the block leaves no more Python objects, nor more memory of the process, than a few."""
    blocks, resident = _measured()
    yield
    more_blocks, more_resident = (now - before for now, before in zip(_measured(), (blocks, resident), strict=True))
    assert more_blocks < _MOST_BLOCKS, f"{more_blocks} more blocks are in use"
    assert more_resident < _MOST_BYTES, f"the process has {more_resident:,} more bytes"


def _measured() -> tuple[int, int]:
    gc.collect()
    resident = int(_STATM.read_text(encoding="ascii").split()[1]) * _PAGE_BYTES if _STATM.exists() else 0
    return sys.getallocatedblocks(), resident
