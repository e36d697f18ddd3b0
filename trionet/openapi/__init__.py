"""The OpenAPI document of a node: its methods, as their signatures, annotations and docstrings describe them."""

from .document import document

__all__ = ["document"]
