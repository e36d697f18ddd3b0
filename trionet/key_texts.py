"""How the text of a cluster key is recognised, so that no error quotes one that was put in a wrong place."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["KEY_PREFIX", "KEY_VARIABLE", "holds_key_text"]

KEY_PREFIX: Final = "trionet-key-v1:"
"""The first characters of the text of a key. The version changes with the form, and with the derivation."""

KEY_VARIABLE: Final = "TRIONET_KEY"
"""The environment variable that may hold a key."""

_IN_TEXT: Final = re.compile(r"trionet-key-v[0-9]+:")
_IN_BYTES: Final = re.compile(rb"trionet-key-v[0-9]+:")


def holds_key_text(value: object) -> bool:
    """Whether a value is, or contains, the text of a key of any version."""
    kind = type(value)  # isinstance would use __class__, which may be the user's code
    if issubclass(kind, bytes | bytearray):
        return _IN_BYTES.search(value) is not None  # type: ignore[call-overload]  # these are bytes
    return issubclass(kind, str) and _IN_TEXT.search(value) is not None  # type: ignore[call-overload]  # this is a text
