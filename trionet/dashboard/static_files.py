"""The files of the page, as they are in the package.

Invariant: only the files directly in ``static/`` are served, of known types, by plain names.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Final

import msgspec
import trio

__all__ = ["StaticFile", "static_file"]

_FOLDER: Final = Path(__file__).parent / "static"
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}\.([a-z]{2,5})")
_TYPES: Final = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "png": "image/png",
    "ico": "image/x-icon",
}
_TAG_CHARS: Final = 24


class StaticFile(msgspec.Struct, frozen=True):
    """A file of the page.

    Attributes:
        content: its bytes.
        content_type: its media type.
        etag: its entity tag: that of its content, without quotes.
    """

    content: bytes
    content_type: str
    etag: str


async def static_file(name: str) -> StaticFile | None:
    """Return a file of the page; None if there is none with that name.

    Raises:
        OSError: it can't be read.
    """
    found = _NAME.fullmatch(name)
    if found is None or found[1] not in _TYPES:
        await trio.lowlevel.checkpoint()
        return None
    try:
        content = await trio.to_thread.run_sync((_FOLDER / name).read_bytes)
    except FileNotFoundError:
        return None
    return StaticFile(content, _TYPES[found[1]], hashlib.sha256(content).hexdigest()[:_TAG_CHARS])
