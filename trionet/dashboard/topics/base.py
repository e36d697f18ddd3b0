"""A topic of the dashboard's stream: one document about the cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from trionet.dashboard.glances import Glances
    from trionet.dashboard.looked_at import LookedAt
    from trionet.dashboard.subject import Subject

__all__ = ["Topic"]


class Topic:
    """The base of topics. One is made for the first viewer that subscribes to it, and ends with the last.

    Documents are new plain data each time: objects by id, in JSON's types, without cycles. A null means that there is
    none. What peers say in them is cut.

    Attributes:
        name: its name in the stream.
        needs_glances: whether it shows `Glances`.
    """

    name: ClassVar[str]
    needs_glances: ClassVar[bool] = False

    @classmethod
    def begin(cls, subject: Subject, glances: Glances) -> Topic:
        """Return the topic of a node, for its first viewer; with `needs_glances`, the members are glanced at."""
        del glances
        return cls(subject)

    def __init__(self, subject: Subject) -> None:
        """Make the topic of a node."""
        self.subject = subject

    async def gather(self, looked_at: LookedAt) -> dict[str, Any]:
        """Return the document now, for all viewers; it is called once a second at most, and cancelled after 1 s.

        Args:
            looked_at: what all viewers of this topic look at, together.
        """
        raise NotImplementedError

    def view(self, document: dict[str, Any], looked_at: LookedAt) -> dict[str, Any] | None:
        """Return what a viewer sees of a document, by what it looks at; None if that isn't gathered yet."""
        del looked_at
        return document

    def close(self) -> None:
        """Handle that nobody looks any more."""
