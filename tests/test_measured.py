"""The measured figures of README.md and docs/ are those of the files in benchmarks/measured/."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec
import pytest

from benchmarks import measured_files, page_tables, tables
from benchmarks.measured_files import MEASURED, load
from benchmarks.results import Goal, Result

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

NAMES = sorted(path.stem for path in MEASURED.glob("*.json"))


def test_the_tables_of_the_pages_are_those_of_the_files() -> None:
    pages = tables.in_pages()
    assert {page.name for page in pages} >= {"README.md", "comparison.md", "performance.md", "link.md", "glomers.md"}
    for page, text in pages.items():
        assert page.read_text(encoding="utf-8") == text, "write the tables anew: python -m benchmarks.tables"


def test_the_five_figures_of_the_readme_are_beside_those_of_peers() -> None:
    readme = MEASURED.parents[1] / "README.md"
    block = re.search(r"<!-- figures: README -->(.*?)<!-- end -->", readme.read_text(encoding="utf-8"), re.DOTALL)
    assert block is not None
    lines = [line for line in block[1].split("\n") if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines][2:]
    assert len(rows) == 5
    for (_, name, own, form, peers), (_, shown, others) in zip(page_tables.FIVE, rows, strict=True):
        column = re.findall(r"\[(.+?)\]", form)[0]
        assert numbers([shown]) == numbers([load(name).cell(own, column)])
        cells = [load(name).cell(peer, column) for peer in peers.values()]
        assert numbers(others.split("; ")) == numbers(cells)


def numbers(texts: Iterable[object]) -> list[float]:
    found = [re.search(r"(\d[\d,.]*)[a-z/ ]*$", str(text)) for text in texts if text is not None]
    return [float(match[1].replace(",", "")) for match in found if match]


@pytest.mark.parametrize("name", NAMES)
def test_each_file_says_which_run_it_is_from(name: str) -> None:
    measured = load(name)
    assert f"python -m benchmarks {name}" in measured.run
    assert all(len(row) == len(measured.columns) for row in measured.rows)


def test_a_column_of_goals_shows_goals() -> None:
    for page, text in tables.in_pages().items():
        for block in re.findall(r"<!-- figures: .*?<!-- end -->", text, re.DOTALL):
            lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in block.split("\n") if line[:1] == "|"]
            if "goal" in lines[0]:
                assert any(line[lines[0].index("goal")] for line in lines[2:]), (page.name, lines[0])


def test_a_table_of_a_new_run_is_kept_and_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = Result(
        "Sealed links",
        ["load", "plain", "sealed", "unit", "ratio", "from", "to"],
        goals=[Goal("a: b", 0.9, True, 0.954)],
    )
    result.rows = [["a", 12345.6, 99.0, "calls/s", 0.954, None, None]]
    machine = {"cores": 2, "architecture": "x86_64"}
    facts = {
        "date": "2026-11-29",
        "machine": machine,
        "versions": {"trio": "0.35", "Ray": "2.60"},
        "settings": {"rounds": 7},
    }
    (tmp_path / "run.json").write_bytes(msgspec.json.encode(facts | {"results": {"sealed": result}}))
    monkeypatch.setattr(measured_files, "MEASURED", tmp_path / "kept")
    assert measured_files.take(tmp_path / "run.json") == ["sealed: kept"]
    assert load("sealed").run == "`python -m benchmarks sealed`, 2026-11-29: 2 cores of x86_64, Ray 2.60, 7 rounds."
    text = tables.written("a\n<!-- figures: sealed -->\nold\n<!-- end -->\n")
    assert "| a | 12,346 calls/s | 99 calls/s | 0.954 | | 0.9, reached |" in text
    assert "old" not in text


def test_a_figure_that_is_not_there_is_an_error() -> None:
    with pytest.raises(ValueError, match="no row 'gRPC 2' with a column '1: calls/s'"):
        load("calls").cell("gRPC 2", "1: calls/s")
