"""The version of trionet, for its own modules; ``trionet.__version__`` for all others."""

__version__ = "0.1.0"
