"""Base64 with the alphabet for URLs and without padding, in one form only.

Invariant: each text has at most one value, and each value one text: what differs in any character is refused. So bits
that carry nothing can't be flipped unnoticed.

Source: RFC 4648, sections 3.5 (canonical encoding) and 5.
"""

from __future__ import annotations

import base64
import binascii

__all__ = ["from_text", "to_text"]


def to_text(data: bytes) -> str:
    """Return the text of `data`."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def from_text(text: str) -> bytes | None:
    """Return the bytes of which `text` is the text; None if there are none."""
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):  # ValueError: not ASCII
        return None
    return data if to_text(data) == text else None
