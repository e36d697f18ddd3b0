"""The commands: ``trionet-node`` and ``trionet``.

attrs keeps the text of each method that it makes, for debuggers. What it has kept for Trio is dropped before the other
modules are imported, so that these fill its place: 0.16 MiB of each node.
"""

import linecache

linecache.clearcache()
