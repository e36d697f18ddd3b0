"""The tables of measured figures in README.md and docs/, written from files, never by hand.

``benchmarks/measured/`` has a file for each benchmark. A page has a table between two comments,
``<!-- figures: NAME -->`` and ``<!-- end -->``; below it stands which run it is from.

    python -m benchmarks calls --json calls.json
    python -m benchmarks.tables --take calls.json    # keep the tables of this run
    python -m benchmarks.tables                      # write all tables into the pages

Invariant: what a page shows is in the files; tests/test_measured.py compares them.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from .measured_files import Broken, take, write_whole
from .page_tables import table_of
from .workers import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["in_pages", "main", "put", "written"]

PAGES: Final = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_BLOCK: Final = re.compile(r"(<!-- figures: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def in_pages(say: Callable[[str], object] | None = None) -> dict[Path, str]:
    """Return the text of each page that has tables, with the tables as they are to be; see `written`."""
    texts = {page: page.read_text(encoding="utf-8") for page in PAGES}
    return {page: written(text, say) for page, text in texts.items() if _BLOCK.search(text)}


def written(text: str, say: Callable[[str], object] | None = None) -> str:
    """Return a page's text with its tables.

    A table whose file is broken, or lacks what the page shows, stays as it is: `say` is told of it; without it that
    raises `Broken` or ValueError.
    """

    def table(block: re.Match[str]) -> str:
        try:
            return f"{block[1]}\n{table_of(block[2])}\n\n{block[3]}"
        except (Broken, ValueError) as exc:
            if say is None:
                raise
            say(f"the table {block[2]} stays as it is: {exc}")
            return block[0]

    return _BLOCK.sub(table, text)


def put(say: Callable[[str], object]) -> bool:
    """Write all tables into the pages; tell what is done, and return whether all could be written."""
    troubles: list[str] = []
    for page, text in in_pages(troubles.append).items():
        if page.read_text(encoding="utf-8") != text:
            try:
                write_whole(page, text.encode())
            except OSError as exc:
                troubles.append(f"{page.relative_to(ROOT)} is not written: {exc.strerror}")
            else:
                say(f"written: {page.relative_to(ROOT)}")
    for trouble in troubles:
        say(trouble)
    return not troubles


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tables", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--take", type=Path, metavar="FILE", nargs="+", help="first keep the runs of files of --json")
    parser.add_argument("--anyway", action="store_true", help="keep a run that lacks rows of the earlier one, too")
    options = parser.parse_args(argv)
    is_well = True
    for path in options.take or []:
        try:
            print("\n".join(take(path, anyway=options.anyway)))
        except (Broken, OSError) as exc:
            print(f"error: {exc}", file=sys.stderr)
            is_well = False
    return 0 if put(print) and is_well else 1


if __name__ == "__main__":
    sys.exit(main())
