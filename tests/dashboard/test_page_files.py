"""The files of the page: none is left over, and the panels keep to themselves."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

import trionet.dashboard
from trionet.dashboard import viewer

FILES = Path(trionet.dashboard.__file__).parent / "static"
IMPORT = re.compile(r"""^(?:import|export)\b[^;]*?["']\./([\w.-]+)["'];""", re.MULTILINE)


def text_of(name: str) -> str:
    return (FILES / name).read_text(encoding="utf-8")


def test_every_file_of_the_page_is_there_and_is_used() -> None:
    used: set[str] = {"index.html"}
    left = set(re.findall(r"""(?:src|href)="dashboard/([\w.-]+)\"""", text_of("index.html")))
    left |= set(re.findall(r"""import\("\./([\w.-]+)"\)""", text_of("panels.js")))
    while left:
        name = left.pop()
        used.add(name)
        if name.endswith(".js"):
            left |= set(IMPORT.findall(text_of(name))) - used
    assert used == {file.name for file in FILES.iterdir() if file.is_file()}


def test_a_frozen_node_is_noticed_within_seconds_and_a_slow_one_is_not_taken_for_frozen() -> None:
    [silence_ms] = re.findall(r"^export const SILENCE_MS = ([\d_]+);", text_of("stream.js"), re.MULTILINE)
    assert 2 * viewer._PING_S < int(silence_ms) / 1e3 < 15  # noqa: SLF001  the page reads no Python


def test_each_class_is_described_by_one_file() -> None:
    """Otherwise the rules of one panel change another: all are on one page."""
    files: dict[str, set[str]] = defaultdict(set)
    for file in FILES.glob("*.css"):
        rules = re.sub(r"/\*.*?\*/", "", file.read_text(encoding="utf-8"), flags=re.DOTALL)
        for selectors in re.findall(r"([^{}]+)\{", rules):
            for selector in selectors.split(","):
                if found := re.match(r"\s*\.(?!panel-)([\w-]+)", selector):
                    files[found[1]].add(file.name)
    assert {name: sorted(by) for name, by in files.items() if len(by) > 1} == {}
