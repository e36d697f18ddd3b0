"""The syntax trees of the package's modules."""

from __future__ import annotations

import ast
from pathlib import Path

import trionet

__all__ = ["PACKAGE", "parse_package"]

PACKAGE = Path(trionet.__file__).parent


def parse_package(word: str = "") -> dict[Path, ast.Module]:
    """Return the tree of each module of the package that contains this word, by its file.

    They take a second to make and a million objects, which every later garbage collection visits: a test module has
    them in a fixture, and never at its import.
    """
    texts = {path: path.read_text(encoding="utf-8") for path in sorted(PACKAGE.rglob("*.py"))}
    return {path: ast.parse(text) for path, text in texts.items() if word in text}
