"""The version of trionet, for its own modules; ``trionet.__version__`` for all others."""

__all__ = ["__version__"]

__version__ = "0.1.0"
