"""Support for tests of programs that use trionet: the fixtures' factories, and waits and assertions.

The plugin itself is the module `pytest_trionet`, outside this package.
"""

from __future__ import annotations

from .clusters import ClusterFactory
from .convergence import wait_converged
from .nodes import NodeFactory
from .orphans import assert_no_orphans

__all__ = ["ClusterFactory", "NodeFactory", "assert_no_orphans", "wait_converged"]
