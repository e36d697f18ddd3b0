"""A Sphinx extension: the search shows its excerpts from files, too, without a server.

Sphinx's search fetches each page that it has found, to show an excerpt. A browser refuses that for pages from files. So
the texts of all pages are written into one script, which `offline_search.js` loads only there.

Sphinx leaves out words such as "once" and "all". Here they are terms: "at most once", the group `all`.
"""

from __future__ import annotations

import json
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docutils import nodes
from sphinx.search.en import SearchEnglish

if TYPE_CHECKING:
    from sphinx.application import Sphinx

SCRIPT = "offline_search.js"
TEXTS = "page_texts.js"


class English(SearchEnglish):
    """English in which our own terms are found."""

    stopwords = SearchEnglish.stopwords - {"all", "most", "once"}


def text_of(node: nodes.Node) -> str:
    """Return the text of a page or of a part, with its sections as HTML, which the search looks up by their ids."""
    if isinstance(node, nodes.Text):
        return escape(node.astext())
    inside = "".join(map(text_of, node.children))
    if isinstance(node, nodes.section):
        return f'<section id="{escape(node["ids"][0])}">{inside}</section>'
    return inside if isinstance(node, nodes.Inline) else f"{inside} "


def write_texts(app: Sphinx, exception: Exception | None) -> None:
    """Write the script with the texts of all pages."""
    if exception is not None or app.builder.format != "html":
        return
    env = app.builder.env
    pages = {page: f'<main role="main">{text_of(env.get_doctree(page))}</main>' for page in sorted(env.found_docs)}
    texts = json.dumps(pages, ensure_ascii=False)
    (Path(app.outdir) / "_static" / TEXTS).write_text(f"window.pageTexts = {texts};\n", encoding="utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.add_js_file(SCRIPT)
    app.add_search_language(English)
    app.connect("build-finished", write_texts)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
