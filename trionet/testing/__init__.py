"""For tests of programs that use trionet: what the fixtures of the pytest plugin give, and what tests wait for.

The plugin itself is `pytest_trionet`, outside this package.
"""

from __future__ import annotations

from .clusters import ClusterFactory, open_cluster_factory, run_virtually
from .convergence import wait_converged
from .nodes import NodeFactory, open_node_factory
from .orphans import assert_no_orphans

__all__ = [
    "ClusterFactory",
    "NodeFactory",
    "assert_no_orphans",
    "open_cluster_factory",
    "open_node_factory",
    "run_virtually",
    "wait_converged",
]
