"""The data of one run, as plain values for JSON: its nodes, its faults and its events.

Nodes, kinds and names are places in lists, and an event is a list, because there are many. Invariant: the size is
bounded for every trace; what is left out is counted.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from trionet.simulation.pictures.kinds import FAMILIES, family_of
from trionet.simulation.pictures.spans import end_of, fault_spans, natural, runs_of

from .cutting import kept_around
from .texts import micro, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from trionet.simulation.pictures.spans import FaultSpan
    from trionet.simulation.trace import Trace, TraceEvent

    Row = list[Any]

__all__ = ["run_of"]

_MOST_NODES: Final = 1000
_MOST_NAME: Final = 60
_MOST_FAULTS: Final = 300
_MOST_LABEL: Final = 200
_MOST_RUNS: Final = 10_000


class _Places:
    """Gives each different text a place in a list."""

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._places: dict[str, int] = {text: place for place, text in enumerate(texts)}

    def of(self, text: str) -> int:
        """Return the place of a text, a new one if it has none."""
        return self._places.setdefault(text, len(self._places))

    def find(self, text: str) -> int:
        """Return the place of a text; -1 if it has none."""
        return self._places.get(text, -1)

    @property
    def texts(self) -> list[str]:
        """The texts in their order."""
        return list(self._places)


class _Fates(NamedTuple):
    """When messages arrived and were dropped first, by their numbers."""

    arrived: dict[int, list[float]]
    dropped: dict[int, float]


class _Rows:
    """The events of a run as lists; a message has a number in its second place, and any other event its kind."""

    def __init__(self, trace: Trace, nodes: _Places) -> None:
        self.rows: list[Row] = []
        self.times: list[float] = []
        self._nodes = nodes
        fates = _fates_of(trace)
        for event in trace:
            if not event.node or nodes.find(event.node) >= 0:
                for row in self._rows_of(event, fates):
                    self.rows.append(row)
                    self.times.append(event.at)

    def _rows_of(self, event: TraceEvent, fates: _Fates) -> Iterator[Row]:
        at, node, peer = micro(event.at), self._nodes.find(event.node), self._nodes.find(event.peer)
        if event.kind == "send":
            lost = fates.dropped.get(event.number)
            dropped = -1 if lost is None else micro(lost) - at
            arrivals: Sequence[float | None] = fates.arrived.get(event.number) or [None]
            for got in arrivals:
                arrived = -1 if got is None else micro(got) - at
                yield [at, node, peer, event.what, arrived, dropped, event.size, event.number]
        elif event.kind not in ("deliver", "drop"):
            yield [at, event.kind, node, peer, event.what, shown(event.detail)]

    def sizes(self) -> list[int]:
        """Return the size of each row in the page, in bytes, with its text where this comes first."""
        seen, found = set[str](), []
        for row in self.rows:
            place = _text_place(row)
            text = row[place]
            encoded = msgspec.json.encode([*row[:place], 0 if text in seen else shown(text), *row[place + 1 :]])
            seen.add(text)
            found.append(len(encoded) + 1 + _ESCAPED * encoded.count(b"<"))
        return found


_ESCAPED: Final = 5
"""By how many bytes the page's data have more for each ``<``."""


def _text_place(row: Row) -> int:
    """Return where a row has the text that is replaced by a place: a message its kind, an event its name."""
    return 4 if isinstance(row[1], str) else 3


def run_of(trace: Trace, focuses: Sequence[float], most_bytes: int) -> dict[str, Any]:
    """Return a run; of too many events those that are nearest to the times in `focuses`."""
    everyone = sorted({name for event in trace for name in (event.node, event.peer) if name}, key=natural)
    chosen = everyone[:_MOST_NODES]
    nodes, kinds, names = _Places(chosen), _Places(), _Places([""])
    found = _Rows(trace, nodes)
    kept = kept_around(found.sizes(), [bisect_left(found.times, at) for at in focuses] or [0], most_bytes)
    events: list[Row] = []
    messages: list[Row] = []
    for row in (found.rows[index] for index in kept.indexes):
        place = _text_place(row)
        rows, texts = (events, names) if isinstance(row[1], str) else (messages, kinds)
        rows.append([*row[:place], texts.of(row[place]), *row[place + 1 :]])
    spans, times = fault_spans(trace), found.times
    return {
        "end": micro(max([end_of(trace), *focuses])),
        "nodes": [shown(node, _MOST_NAME) for node in chosen],
        "nodes_left_out": len(everyone) - len(chosen),
        "runs": _running(trace, chosen),
        "faults": [_fault(span, nodes) for span in spans[:_MOST_FAULTS]],
        "faults_left_out": max(0, len(spans) - _MOST_FAULTS),
        "families": list(FAMILIES),
        "kinds": [[shown(kind), family_of(kind)] for kind in kinds.texts],
        "names": list(map(shown, names.texts)),
        "messages": messages,
        "events": events,
        "left_out": [[micro(times[gap.first]), micro(times[gap.last]), gap.last - gap.first + 1] for gap in kept.gaps],
        "events_in_trace": len(trace),
    }


def _fates_of(trace: Trace) -> _Fates:
    fates = _Fates({}, {})
    for event in trace:
        if event.kind == "deliver":
            fates.arrived.setdefault(event.number, []).append(event.at)
        elif event.kind == "drop":
            fates.dropped.setdefault(event.number, event.at)
    return fates


def _running(trace: Trace, nodes: Sequence[str]) -> list[list[list[int]]]:
    """Return when each node ran."""
    runs, most = runs_of(trace), _MOST_RUNS // max(1, len(nodes))
    return [[[micro(begin), micro(end)] for begin, end in runs.get(node, [])[:most]] for node in nodes]


def _fault(span: FaultSpan, nodes: _Places) -> dict[str, Any]:
    places = (nodes.find(node) for node in span.nodes)
    return {
        "begin": micro(span.begin),
        "end": micro(span.end),
        "title": shown(span.kind, _MOST_NAME),
        "label": shown(span.label, _MOST_LABEL),
        "nodes": [place for place in places if place >= 0],
    }
