"""The one-time work of the first node of a process."""

from __future__ import annotations

from .group import warm_up as warm_up_groups
from .services import cluster_agent
from .services.base import warm_up_methods
from .services.comm import Comm
from .services.diagnosis import Diagnosis
from .services.gossip import Gossip
from .services.groups import Groups
from .services.inspection import Inspection
from .services.kept import Kept
from .services.keys import Keys
from .services.membership import Membership
from .services.routes import Routes
from .services.status import Status

__all__ = ["warm_up"]


def warm_up() -> None:
    """Do now, once for this process, the one-time work of the first node: the inspection of its methods."""
    warm_up_methods(Status, Groups, Routes, Comm, Gossip, Membership, Kept, Keys, Inspection, Diagnosis)
    warm_up_groups()
    cluster_agent.warm_up()
