"""What the dashboard needs of its node."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from random import Random

    from trionet.config import NodeConfig
    from trionet.events import Events
    from trionet.figures import NodeFigures
    from trionet.group import Group
    from trionet.identity import SID, NodeAddress
    from trionet.node_statistics import NodeStatistics
    from trionet.running_calls import RunningCalls
    from trionet.services import LocalServices
    from trionet.services.member import Member

__all__ = ["Subject"]


class Subject(Protocol):
    """The node that shows its cluster; `trionet.node.Node` is one.

    Other nodes are asked by ``subject.local.comm`` (`trionet.services.comm.Comm`), and all at once by
    `trionet.templates.fan_out.collect`.
    """

    @property
    def address(self) -> NodeAddress:
        """Its address."""

    @property
    def sid(self) -> SID:
        """Its short identifier."""

    @property
    def config(self) -> NodeConfig:
        """Its configuration."""

    @property
    def local(self) -> LocalServices:
        """Its services."""

    @property
    def calls(self) -> RunningCalls:
        """Its running calls, and those of its cluster."""

    @property
    def random(self) -> Random:
        """Its random numbers."""

    @property
    def is_stopping(self) -> bool:
        """Whether it is stopping."""

    def current_time(self) -> float:
        """Return the time on its clock, in seconds."""

    def members(self) -> list[Member]:
        """Return the present members of its cluster, itself included, in SID order."""

    def group(self, gid: str) -> Group:
        """Return a group."""

    def figures(self) -> NodeFigures:
        """Return all its figures."""

    def statistics(self) -> NodeStatistics:
        """Return its counters."""

    def events(self) -> Events:
        """Return an iterator over its events from now on."""
