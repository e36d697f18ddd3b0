"""Forgets, on one node, a member that is gone for good."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trionet.errors import PreconditionFailed
from trionet.events import MemberForgotten
from trionet.identity import NodeAddress
from trionet.protocols.statements import State

if TYPE_CHECKING:
    from collections.abc import Callable

    from trionet.events import Event

    from .cluster_agent import ClusterAgent

__all__ = ["forget_member"]


def forget_member(agent: ClusterAgent, member: object, publish: Callable[[Event], None]) -> bool:
    """Forget a member that has failed or left; return whether it was known.

    Args:
        agent: has the protocols of the node.
        member: its address, in any form.
        publish: publishes the event.

    Raises:
        MalformedRequest: `member` is no address.
        PreconditionFailed: it is present.
    """
    node = NodeAddress.of(member)
    info = agent.swim.member(str(node))
    if info is not None and info.state <= State.SUSPECT:
        raise PreconditionFailed(
            f"{node} is present, and only members that are gone can be forgotten: stop it, or wait until it has failed"
        )
    if info is not None:
        driver = agent.driver
        driver.act(agent.swim.forgetting.forget(str(node), driver.now()))
    publish(MemberForgotten(node=node))
    return info is not None
