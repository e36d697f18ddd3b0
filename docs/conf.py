"""Sphinx's configuration."""

import sys
from importlib.metadata import version as version_of
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "trionet"
author = "The trionet authors"
copyright = "2026, the trionet authors"
version = release = version_of("trionet")

extensions = [
    "myst_parser",
    "offline_search",
    "page_sources",
    "sphinx.ext.autodoc",
    "sphinx.ext.doctest",
    "sphinx.ext.napoleon",
    "sphinxcontrib_trio",
]
html_theme = "furo"
pygments_dark_style = "github-dark"  # furo's own underlines names, as if they were links
html_title = f"trionet {release}"
html_static_path = ["_static"]
html_extra_path = ["llms.txt"]
exclude_patterns = ["_build"]

default_role = "py:obj"  # docstrings write `name`
myst_heading_anchors = 3
autodoc_member_order = "bysource"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # else an attribute that autodoc finds, too, is described twice
