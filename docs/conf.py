"""Sphinx's configuration."""

from importlib.metadata import version as version_of

project = "trionet"
author = "The trionet authors"
copyright = "2026, the trionet authors"
version = release = version_of("trionet")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.doctest",
    "sphinx.ext.napoleon",
    "sphinxcontrib_trio",
]
html_theme = "furo"
html_title = f"trionet {release}"
exclude_patterns = ["_build"]

default_role = "py:obj"  # docstrings write `name`
myst_heading_anchors = 3
autodoc_member_order = "bysource"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # else an attribute that autodoc finds, too, is described twice
