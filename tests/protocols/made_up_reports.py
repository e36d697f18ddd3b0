"""Made-up reports of running calls, as strangers may send them."""

from __future__ import annotations

import math

from hypothesis import strategies as st

from trionet import NodeAddress
from trionet.protocols.call_reports import CallReport, NodeReport, Pause, RequestReport

__all__ = ["NODES", "clusters", "node_reports"]

NODES = [NodeAddress("127.0.0.1", port) for port in (1, 2, 3)]
_texts = st.text(max_size=8)
_ids = st.sampled_from(["a", "b", "c", "d", ""])  # few, so that forged ones meet
_addresses = st.sampled_from([*map(str, NODES), "127.0.0.1:9", "", "no address"])
_seconds = st.floats() | st.sampled_from([0.0, 1.0, math.inf])
_pauses = st.lists(st.builds(Pause, st.sampled_from(["thread", "credit", "code", "magic"]), _texts), max_size=2)
_calls = st.builds(
    CallReport,
    _ids,
    _ids,
    _addresses,
    _texts,
    _texts,
    _texts,
    _texts,
    _seconds,
    st.none() | _seconds,
    st.booleans(),
    st.none() | st.booleans(),
    st.builds(tuple, _pauses),
)
_requests = st.builds(
    RequestReport,
    _ids,
    _ids,
    _addresses,
    _texts,
    _texts,
    _texts,
    st.sampled_from(["sent", "queued", "connecting", "cancelled", "lost"]),
    st.none() | st.booleans(),
)
node_reports = st.builds(
    NodeReport,
    st.builds(tuple, st.lists(_calls, max_size=6)),
    st.builds(tuple, st.lists(_requests, max_size=4)),
    st.builds(tuple, st.lists(st.tuples(_addresses, _ids), max_size=2)),
    st.integers(min_value=-5, max_value=5),
)
clusters = st.dictionaries(st.sampled_from(NODES), node_reports, max_size=3)
