"""The search of the built pages works from files, without a server: one script has the texts for its excerpts."""

from __future__ import annotations

import re
import runpy
import shutil
import subprocess
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
BUILT = DOCS.parent / "build" / "docs"
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
nodes = pytest.importorskip("docutils.nodes")
pytest.importorskip("sphinx")
SEARCH = runpy.run_path(str(DOCS / "_ext" / "offline_search.py"))


def test_the_text_of_a_page_has_its_sections_by_their_ids() -> None:
    inner = nodes.section("", nodes.title("", "Orphans"), nodes.paragraph("", "", nodes.Text("a < b")), ids=["orphans"])
    outer = nodes.section("", nodes.title("", "Calls & so on"), inner, ids=["calls"])
    inside = '<section id="orphans">Orphans a &lt; b </section>'
    assert SEARCH["text_of"](outer) == f'<section id="calls">Calls &amp; so on {inside}</section>'


def test_the_words_of_our_terms_are_found() -> None:
    english = SEARCH["English"]({})
    assert [word for word in ["at", "most", "once", "on", "all", "nodes"] if english.word_filter(word)] == [
        "most", "once", "all", "nodes",
    ]  # fmt: skip


@pytest.mark.soak
@pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium")
@pytest.mark.skipif(not (BUILT / "_static" / "page_texts.js").is_file(), reason="python3 dev.py docs builds the pages")
def test_the_search_finds_a_page_and_shows_an_excerpt_without_a_server(tmp_path: Path) -> None:
    command = [str(CHROMIUM), "--headless", "--no-sandbox", f"--user-data-dir={tmp_path}", "--dump-dom"]
    command += ["--virtual-time-budget=20000", f"file://{BUILT}/search.html?q=orphan"]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    results = re.findall(r'<li class="kind-\w+"><a href="([\w.-]+#?[\w.-]*)".*?</li>', shown, re.DOTALL)
    assert "structured.html#orphans" in results
    excerpt = re.search(r'"structured.html#orphans".*?<p class="context">(.*?)</p>', shown, re.DOTALL)
    assert excerpt is not None
    assert "confirm in time" in excerpt[1]


@pytest.mark.soak
@pytest.mark.skipif(not BUILT.is_dir(), reason="python3 dev.py docs builds the pages")
def test_no_built_page_loads_anything_from_elsewhere() -> None:
    for page in BUILT.glob("*.html"):
        loaded = re.findall(r'<(?:script|img|link|iframe)\b[^>]*(?:src|href)="(https?:[^"]*)"', page.read_text("utf-8"))
        assert loaded == [], page.name
