"""The npm package that does the same in JavaScript, and our programs that drive it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

__all__ = ["PACKAGE", "script"]

PACKAGE: Final = "@brown-ds/distribution"


def script(name: str) -> Path:
    """Return one of our programs in this folder."""
    return Path(__file__).resolve().parent / f"{name}.js"
