"""A Sphinx extension: the pages' sources are beside them, as `llms.txt` names them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx


def copy_sources(app: Sphinx, exception: Exception | None) -> None:
    """Copy the source of each page beside it."""
    if exception is None and app.builder.format == "html":
        for page in app.builder.env.found_docs:
            source = Path(app.builder.env.doc2path(page))
            shutil.copyfile(source, Path(app.outdir) / source.name)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("build-finished", copy_sources)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
