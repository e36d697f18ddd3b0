"""The order of docs/: each page says for whom it is, and is in one section; links lead to pages and to their headings.

The conventions are in docs/contributing.md, "Documentation".
"""

from __future__ import annotations

import re
import runpy
from collections import Counter
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
README = DOCS.parent / "README.md"
LLMS = runpy.run_path(str(DOCS / "llms_txt.py"))
SECTIONS = LLMS["SECTIONS"]
PAGES = sorted(DOCS.glob("*.md"))
LONGEST_LINE = 260
"""Characters of the line that says for whom a page is."""


def parameters(pages: list[Path]) -> list[object]:
    return [pytest.param(page, id=page.name) for page in pages]


def text_of(page: Path) -> str:
    """Return the text of a page without its code blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def links_in(text: str) -> list[tuple[str, str]]:
    """Return page and anchor of each link to a page; the page is empty within the same page."""
    links = re.findall(r"\]\((?!\w+:)([^)#\s]*)(?:#([^)\s]+))?\)", text)
    return [(page, anchor) for page, anchor in links if not page or page.endswith(".md")]


def anchors_of(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them, and those that it names itself."""
    text = text_of(page)
    slugs: Counter[str] = Counter()
    anchors = set(re.findall(r"^\(([\w-]+)\)=$", text, re.MULTILINE))
    for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", re.sub(r"\[(.*?)\]\(.*?\)", r"\1", heading).lower()).replace(" ", "-")
        anchors.add(f"{slug}-{slugs[slug]}" if slugs[slug] else slug)
        slugs[slug] += 1
    return anchors


def items_of(section: str) -> list[str]:
    return re.findall(r"^- \[[^]]+\]\(([\w-]+)\.md\): \S", (DOCS / f"{section}.md").read_text("utf-8"), re.MULTILINE)


@pytest.mark.parametrize("page", parameters([page for page in PAGES if page.name != "index.md"]))
def test_each_page_begins_with_whom_it_is_for_and_what_to_read_instead(page: Path) -> None:
    title, line, *_ = (" ".join(part.split()) for part in page.read_text(encoding="utf-8").split("\n\n"))
    assert re.match(r"# \S", title)
    assert re.fullmatch(r"\*For [^*]+ instead\.\*", line), f"the second paragraph of {page.name} is {line!r}"
    assert len(line) <= LONGEST_LINE
    others = [target for target, _ in links_in(line)]
    assert others
    assert page.name not in others


def test_each_page_is_in_one_section_with_one_line() -> None:
    listed = Counter(item for section in SECTIONS for item in items_of(section))
    others = {page.stem for page in PAGES} - {"index", *SECTIONS}
    assert listed == Counter(others)


@pytest.mark.parametrize("section", SECTIONS)
def test_the_contents_of_a_section_are_its_lines_in_the_same_order(section: str) -> None:
    contents = re.search(
        r"^```{toctree}\n:hidden:\n\n(.*?)^```$", (DOCS / f"{section}.md").read_text("utf-8"), re.M | re.S
    )
    assert contents is not None
    assert contents[1].split() == items_of(section)


def test_the_index_leads_to_the_sections_in_their_order() -> None:
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    assert re.findall(r"\]\(([\w-]+)\.md\) \|$", index, re.MULTILINE) == list(SECTIONS)


@pytest.mark.parametrize("page", parameters([README, *PAGES]))
def test_links_to_headings_lead_to_a_heading(page: Path) -> None:
    missing = []
    for target, anchor in links_in(text_of(page)):
        other = page.parent / target if target else page
        if not other.is_file() or (anchor and anchor not in anchors_of(other)):
            missing.append(f"{target}#{anchor}")
    assert missing == []


def test_a_link_to_a_heading_that_is_not_there_is_noticed() -> None:
    assert links_in("[a](b.md#c) and [d](#e), but not [f](https://g.org/h.md#i)") == [("b.md", "c"), ("", "e")]
    assert {"words", "the-way-of-one-call"} <= anchors_of(DOCS / "concepts.md")
    assert "no-such-heading" not in anchors_of(DOCS / "concepts.md")


@pytest.mark.parametrize("page", parameters([README, *PAGES]))
def test_no_page_says_a_thing_twice(page: Path) -> None:
    text = text_of(page)
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        assert [row for row, times in Counter(table.splitlines()).items() if times > 1] == []
    sections = Counter(re.findall(r"^## .*$", text, re.MULTILINE))
    assert [title for title, times in sections.items() if times > 1] == []


def test_the_list_for_language_models_is_that_of_the_sections() -> None:
    text = (DOCS / "llms.txt").read_text(encoding="utf-8")
    assert text == LLMS["llms_txt"](), "write it anew: python docs/llms_txt.py"
    assert re.match(r"# \S.*\n\n> ", text)
    assert text.count("\n- [") == len(PAGES) - 1 - len(SECTIONS)


def test_each_picture_is_shown_with_a_text_for_those_who_do_not_see_it() -> None:
    shown = set()
    for page in [README, *PAGES]:
        for text, target in re.findall(r"!\[(.*?)\]\(([^)]+)\)", text_of(page), re.DOTALL):
            assert len(text) > 20, f"{page.name} shows {target} without a description"
            shown.add((page.parent / target).resolve())
    assert shown == {path for path in (DOCS / "pictures").rglob("*.*") if path.is_file()}


def test_the_readme_is_short() -> None:
    lines = README.read_text(encoding="utf-8").splitlines()
    assert len(lines) < 120
    assert max(len(line) for line in lines if not line.startswith(("|", "!["))) <= 120
