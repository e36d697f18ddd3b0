"""Consistency models of transactions: which anomalies each forbids.

Source: Adya 1999, and the part of Elle's ``consistency_model.clj`` that Maelstrom's workloads can violate: a model
forbids the anomalies of the weaker models, and more. Models without such anomalies are unknown here.
"""

from __future__ import annotations

from typing import Final

from trionet.errors import ConfigError

__all__ = ["MODELS", "canonical_model", "forbidden_anomalies", "order_kind", "violated_models"]

_ALIASES: Final = {
    "PL-1": "read-uncommitted",
    "PL-2": "read-committed",
    "PL-2L": "monotonic-view",
    "PL-MSR": "monotonic-snapshot-read",
    "PL-CS": "cursor-stability",
    "PL-2+": "consistent-view",
    "PL-FCV": "forward-consistent-view",
    "PL-3U": "update-serializable",
    "PL-2.99": "repeatable-read",
    "PL-SI": "snapshot-isolation",
    "PL-3": "serializable",
    "conflict-serializable": "serializable",
    "strong-session-PL-1": "strong-session-read-uncommitted",
    "strong-session-PL-2": "strong-session-read-committed",
    "strong-PL-1": "strong-read-uncommitted",
    "strong-PL-2": "strong-read-committed",
    "PL-SS": "strict-serializable",
    "strong-serializable": "strict-serializable",
}

_RU: Final = frozenset(("G0", "duplicate-elements", "cyclic-versions"))
_RC: Final = _RU | {"G1a", "G1b", "G1c", "incompatible-order", "dirty-update", "future-read"}
_RA: Final = _RC | {"internal"}
_VIEW: Final = _RC | {"G-single", "lost-update"}
_CYCLES: Final = frozenset(("G-single", "G-nonadjacent", "G2"))
_SNAPSHOT: Final = _RA | {"lost-update", "G-single", "G-nonadjacent"}
_SERIALIZABLE: Final = _RC | _CYCLES | {"internal", "lost-update"}


def _with(anomalies: frozenset[str], *suffixes: str) -> frozenset[str]:
    """Return the anomalies, and their cycles with each of the suffixes."""
    graph = ("G0", "G1c", "G-single", "G-nonadjacent", "G2")
    return anomalies | {f"{each}{suffix}" for each in graph if each in anomalies for suffix in suffixes}


_FORBIDDEN: Final[dict[str, frozenset[str]]] = {
    "read-uncommitted": _RU,
    "read-committed": _RC,
    "monotonic-view": _RC,
    "monotonic-snapshot-read": _RC,
    "monotonic-atomic-view": _RC,
    "read-atomic": _RA,
    "causal-cerone": _RA,
    "prefix": _RA,
    "update-atomic": _RA | {"lost-update"},
    "parallel-snapshot-isolation": _RA | {"lost-update"},
    "cursor-stability": _RC | {"lost-update"},
    "consistent-view": _VIEW,
    "forward-consistent-view": _VIEW,
    "update-serializable": _VIEW,
    "repeatable-read": _RC | _CYCLES | {"lost-update"},
    "snapshot-isolation": _SNAPSHOT,
    "serializable": _SERIALIZABLE,
    "strong-session-read-uncommitted": _with(_RU, "-process"),
    "strong-session-read-committed": _with(_RC, "-process"),
    "strong-session-snapshot-isolation": _with(_SNAPSHOT, "-process"),
    "strong-session-serializable": _with(_SERIALIZABLE, "-process"),
    "strong-read-uncommitted": _with(_RU, "-process", "-realtime"),
    "strong-read-committed": _with(_RC, "-process", "-realtime"),
    "strong-snapshot-isolation": _with(_SNAPSHOT, "-process", "-realtime"),
    "strict-serializable": _with(_SERIALIZABLE, "-process", "-realtime"),
}

MODELS: Final = tuple(_FORBIDDEN)
"""The models that a test can require, weaker ones first."""


def canonical_model(name: str) -> str:
    """Return the usual name of a model.

    Raises:
        ConfigError: there is no such model.
    """
    usual = _ALIASES.get(name, name)
    if usual not in _FORBIDDEN:
        raise ConfigError(f"--consistency-models knows {', '.join(MODELS)}, not {name!r:.60}")
    return usual


def forbidden_anomalies(models: tuple[str, ...]) -> frozenset[str]:
    """Return the anomalies that these models forbid."""
    return frozenset().union(*(_FORBIDDEN[canonical_model(model)] for model in models))


def order_kind(models: tuple[str, ...]) -> str | None:
    """Return the order beside the dependencies that these models require: ``realtime``, ``process`` or None."""
    forbidden = forbidden_anomalies(models)
    return next((kind for kind in ("realtime", "process") if any(each.endswith(kind) for each in forbidden)), None)


def violated_models(anomalies: frozenset[str]) -> list[str]:
    """Return the models that a history with these anomalies violates."""
    return [model for model in MODELS if anomalies & _FORBIDDEN[model]]
