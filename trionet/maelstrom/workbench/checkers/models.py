"""Consistency models of transactions: which anomalies each forbids.

Source: Adya 1999, and Elle's ``consistency_model.clj``, of which this is the part that Maelstrom's workloads can show:
a model forbids what the weaker models forbid, and more.
"""

from __future__ import annotations

from typing import Final

from trionet.errors import ConfigError

__all__ = ["MODELS", "canonical_model", "forbidden_anomalies", "violated_models"]

_ALIASES: Final = {
    "PL-1": "read-uncommitted",
    "PL-2": "read-committed",
    "PL-CS": "cursor-stability",
    "PL-2+": "consistent-view",
    "PL-2.99": "repeatable-read",
    "PL-SI": "snapshot-isolation",
    "PL-3": "serializable",
    "conflict-serializable": "serializable",
    "PL-SS": "strict-serializable",
    "strong-serializable": "strict-serializable",
}

_RU: Final = frozenset(("G0", "duplicate-elements", "cyclic-versions"))
_RC: Final = _RU | {"G1a", "G1b", "G1c", "incompatible-order", "dirty-update", "future-read"}
_CYCLES: Final = frozenset(("G-single", "G-nonadjacent", "G2"))
_SERIALIZABLE: Final = _RC | _CYCLES | {"internal", "lost-update"}


def _with(anomalies: frozenset[str], suffix: str) -> frozenset[str]:
    graph = ("G0", "G1c", "G-single", "G-nonadjacent", "G2")
    return anomalies | {f"{each}{suffix}" for each in graph if each in anomalies}


_SESSION: Final = _with(_SERIALIZABLE, "-process")

_FORBIDDEN: Final[dict[str, frozenset[str]]] = {
    "read-uncommitted": _RU,
    "read-committed": _RC,
    "read-atomic": _RC | {"internal"},
    "cursor-stability": _RC | {"lost-update"},
    "consistent-view": _RC | {"G-single", "lost-update"},
    "repeatable-read": _RC | _CYCLES | {"lost-update"},
    "snapshot-isolation": _RC | {"internal", "lost-update", "G-single", "G-nonadjacent"},
    "serializable": _SERIALIZABLE,
    "strong-read-uncommitted": _with(_with(_RU, "-process"), "-realtime"),
    "strong-read-committed": _with(_with(_RC, "-process"), "-realtime"),
    "strong-session-serializable": _SESSION,
    "strict-serializable": _with(_SESSION, "-realtime"),
}

MODELS: Final = tuple(_FORBIDDEN)
"""The models that a test can be held to, weaker ones first."""


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


def violated_models(anomalies: frozenset[str]) -> list[str]:
    """Return the models of which a history with these anomalies is not one."""
    return [model for model in MODELS if anomalies & _FORBIDDEN[model]]
