"""Whether a value is of the type that an annotation names, and what of it has to be converted.

A value that travels between nodes keeps its type, and so it must have the type that is asked for: a text is no
``bytes``, and a list no ``set``. Three things are converted nevertheless. An ``int`` does for a ``float``. A dict with
its fields does for a dataclass, a Struct, a ``TypedDict``. And what can't travel as itself is made from what stands for
it: an enum from its value, a ``date`` or a ``Decimal`` from its text.

JSON that a person wrote has fewer types. There, in addition, a text does for ``bytes`` (base64), ``datetime`` and
``UUID``, and a list for a ``tuple`` or a ``set``.

Invariants: a value that needs no conversion is returned as the very object that it is, so that an instance of a
subclass stays one; what is converted never changes the original.
"""

from .annotations import converter_for
from .base import Converter, Misfit

__all__ = ["Converter", "Misfit", "converter_for"]
