"""Writes llms.txt, the list of these pages for language models, from the pages of the sections.

``python docs/llms_txt.py`` writes it; tests/test_docs_order.py fails while it differs. Source of the form: llmstxt.org:
a title, a summary as a quotation, and a list of links under each heading.
"""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).parent
SECTIONS = ("tutorials", "how-to", "explanation", "reference")


def llms_txt() -> str:
    """Return the text of llms.txt."""
    title, summary, *_ = (DOCS / "index.md").read_text(encoding="utf-8").split("\n\n")
    parts = [title, "\n".join(f"> {line}" for line in summary.splitlines())]
    parts.append("Each page begins with a line that says for whom it is, and what to read instead.")
    for section in SECTIONS:
        text = (DOCS / f"{section}.md").read_text(encoding="utf-8")
        heading = re.match(r"# (.*)\n", text)
        assert heading is not None, f"{section}.md has no title"
        pages = [" ".join(item.split()) for item in re.findall(r"^- .*(?:\n  .*)*", text, re.MULTILINE)]
        parts += [f"## {heading[1]}", "\n".join(pages)]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    (DOCS / "llms.txt").write_text(llms_txt(), encoding="utf-8")
