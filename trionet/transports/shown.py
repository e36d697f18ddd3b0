"""The protocols of what a node shows over HTTP, besides its services."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping

    from trionet.figures import NodeFigures

__all__ = ["Dashboard", "PageFile", "Pages"]


class Pages(Protocol):
    """What a node shows of itself over HTTP, besides its services."""

    @property
    def is_ready(self) -> bool:
        """Whether it has booted and joined its cluster, and is not stopping."""

    def figures(self) -> NodeFigures:
        """Return its figures."""

    async def openapi(self) -> bytes:
        """Return its OpenAPI document, in JSON."""

    @property
    def dashboard(self) -> Dashboard:
        """Its dashboard, which is made on first use."""

    def close(self) -> None:
        """End what is shown continuously: the node is stopping."""


class PageFile(Protocol):
    """A file of a page."""

    @property
    def content(self) -> bytes:
        """Its bytes."""

    @property
    def content_type(self) -> str:
        """Its media type."""

    @property
    def etag(self) -> str:
        """The entity tag of its content, without quotes."""


class Dashboard(Protocol):
    """The dashboard of a node: the files of its page, and the stream of what it shows."""

    async def file(self, name: str) -> PageFile | None:
        """Return a file of the page; None if there is none with that name.

        Raises:
            OSError: it can't be read.
        """

    def stream(self, query: Mapping[str, str], abort: Callable[[], None]) -> AsyncGenerator[bytes]:
        """Return the events of a viewer's stream, by what it looks at; ``abort()`` ends it if it doesn't read its end.

        Raises:
            MalformedRequest: the query can't be used.
            TemporarilyUnavailable: there are too many viewers, or the node is stopping.
        """
