"""The check of values against annotations, with the necessary conversions.

A value that travels between nodes keeps its type, and so it must have the annotated type: a text is no ``bytes``, and a
list no ``set``. There are three conversions. An ``int`` becomes a ``float``. A dict becomes a dataclass, a Struct or a
``TypedDict`` with those fields. A type that can't travel itself is made from its substitute: an enum from its value, a
``date`` or a ``Decimal`` from its text.

JSON of a person has fewer types. There a text also becomes ``bytes`` (base64), a ``datetime`` or a ``UUID``, and a list
a ``tuple`` or a ``set``.

Invariants: a value that needs no conversion is returned as the same object, so that an instance of a subclass stays
one; a conversion never changes the original.
"""

from .annotations import converter_for
from .base import Converter, Misfit

__all__ = ["Converter", "Misfit", "converter_for"]
