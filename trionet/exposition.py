"""A node's metrics in the text formats of Prometheus and OpenMetrics; needs the extra ``metrics``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from .histograms import LIMITS_S
from .metric_families import FAMILIES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.metrics_core import Metric

    from .figures import NodeFigures
    from .histograms import Durations
    from .metric_families import Family

__all__ = ["exposition"]

_OPEN_METRICS = "application/openmetrics-text"


def exposition(figures: NodeFigures, accept: str) -> tuple[bytes, str]:
    """Return the metrics of a node, in the format of the header ``Accept``, and its content type."""
    registry = CollectorRegistry()
    registry.register(_NodeCollector(figures))
    if _OPEN_METRICS in accept.lower():
        encoded: bytes = openmetrics.generate_latest(registry)  # type: ignore[no-untyped-call]  # theirs
        return encoded, openmetrics.CONTENT_TYPE_LATEST
    return generate_latest(registry), CONTENT_TYPE_PLAIN_0_0_4


class _NodeCollector(Collector):
    def __init__(self, figures: NodeFigures) -> None:
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        for family in FAMILIES:
            yield _metric(family, self._figures)


def _metric(family: Family, figures: NodeFigures) -> Metric:
    name, text, labels = family.name, family.text, family.labels
    samples: list[tuple[tuple[str, ...], Any]] = list(family.samples(figures))
    if family.kind == "histogram":
        histogram = HistogramMetricFamily(name, text, labels=labels)
        for values, durations in samples:
            histogram.add_metric(values, _buckets(durations), durations.sum_s)
        return histogram
    kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    metric: CounterMetricFamily | GaugeMetricFamily = kind(name.removesuffix("_total"), text, labels=labels)
    for values, value in samples:
        metric.add_metric(values, value)
    return metric


def _buckets(durations: Durations) -> list[tuple[str, float]]:
    """Return the cumulative counts by upper limit."""
    found: list[tuple[str, float]] = []
    count = 0
    for limit, size in zip((*map(str, LIMITS_S), "+Inf"), durations.buckets, strict=True):
        count += size
        found.append((limit, count))
    return found
