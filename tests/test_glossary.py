"""The names in the last column of docs/glossary.md are those of the code."""

from __future__ import annotations

import importlib
import re
from functools import reduce
from pathlib import Path
from typing import Any

import pytest

GLOSSARY = Path(__file__).parents[1] / "docs" / "glossary.md"
ROW = re.compile(r"^\| ([^|]+) \| [^|]+ \| [^|]+ \| ([^|]+) \|$", re.MULTILINE)
TERMS = [
    (word, code) for word, code in ROW.findall(GLOSSARY.read_text(encoding="utf-8")) if word not in ("word", "---")
]


def found(path: str) -> Any:
    """Return the object with this dotted path, of a module or within it; raise an error if there is none."""
    module, _, names = path, "", ""
    while True:
        try:
            owner = importlib.import_module(module)
        except ModuleNotFoundError:
            module, _, name = module.rpartition(".")
            names = f"{name}.{names}" if names else name
            continue
        return reduce(getattr, names.split(".") if names else (), owner)


@pytest.mark.parametrize(("word", "code"), TERMS)
def test_each_word_of_the_glossary_is_in_the_code(word: str, code: str) -> None:
    paths = re.findall(r"`(trionet[\w.]*)`", code)
    assert paths, f"{word} has no place in the code"
    for path in paths:
        found(path)


def test_a_name_that_is_not_in_the_code_is_noticed() -> None:
    with pytest.raises(AttributeError):
        found("trionet.protocols.swim.Swim.accuse")


def test_the_words_of_each_section_of_the_glossary_are_there() -> None:
    words = {name for word, _ in TERMS for name in word.split(", ")}
    assert len(words) > 100
    assert {
        "node",
        "NID",
        "frame",
        "window",
        "incarnation",
        "final probe",
        "rumor",
        "fabric",
        "trial",
        "nemesis",
    } <= words
