"""The data of a page about a run, as plain values for JSON: what failed, how to repeat it, and where it went wrong."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any, Final

import msgspec

from trionet.version import __version__

from .differences import differences_of, have_one_seed
from .runs import run_of
from .texts import micro, shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trionet.simulation.invariants import Violation
    from trionet.simulation.trace import Trace, TraceEvent
    from trionet.simulation.trials import Trial

    from .differences import Difference, Differences
    from .passing import Passing

    Document = dict[str, Any]

__all__ = ["MOST_BYTES", "document_of"]

MOST_BYTES: Final = 4_000_000
_MOST_FAULTS: Final = 500
_MOST_VIOLATIONS: Final = 50
_MOST_NODES: Final = 20
_MOST_TEXT: Final = 4000
_LONGEST_COMMAND: Final = 100_000
"""The characters of an argument are limited: on Linux to 128 KiB."""

_LONGEST_FILE: Final = 400_000


def document_of(
    trace: Trace,
    trial: Trial | None = None,
    violations: Sequence[Violation] = (),
    passing: Passing | None = None,
    passing_trace: Trace | None = None,
    *,
    most_bytes: int = MOST_BYTES,
) -> Document:
    """Return the document of a page, whose events take at most so many bytes."""
    differences = None
    if passing_trace is not None:
        are_equal = have_one_seed(trace, passing_trace)
        if passing is not None and trial is not None:
            are_equal = passing.trial.seed == trial.seed
        differences = differences_of(trace, passing_trace, are_seeds_equal=are_equal)
    focuses = [] if differences is None else [one.at for one in (differences.event, differences.action) if one]
    return {
        "version": __version__,
        "violations": [_violation(violation) for violation in violations[:_MOST_VIOLATIONS]],
        "violations_left_out": max(0, len(violations) - _MOST_VIOLATIONS),
        "trial": None if trial is None else _trial(trial),
        "comparison": None if differences is None else _comparison(differences, trial, passing),
        "run": run_of(trace, focuses + [violation.at_s for violation in violations[:1]], most_bytes),
    }


def _violation(violation: Violation) -> Document:
    return {
        "invariant": shown(violation.invariant),
        "at": micro(violation.at_s),
        "text": shown(violation.text, _MOST_TEXT),
        "nodes": [shown(node) for node in violation.nodes[:_MOST_NODES]],
    }


def _trial(trial: Trial) -> Document:
    """Return the fields of a trial as texts, and its faults in words."""
    faults = sorted(trial.schedule(), key=lambda fault: fault.at_s)
    network = trial.network if isinstance(trial.network, str) else msgspec.json.encode(trial.network).decode()
    fields = {
        "seed": str(trial.seed),
        "nodes": str(trial.nodes),
        "network": network,
        "scenario": trial.scenario if trial.faults is None else "the faults below",
        "faults last": f"{trial.duration_s:g} s at most",
        "time to recover": f"{trial.settle_s:g} s at most",
        "program": trial.program or "trionet's own: the nodes call each other in all ways",
        "configuration": trial.config or "the default",
        "invariants": "all built-in ones" if trial.invariants is None else ", ".join(trial.invariants),
    }
    return {
        "seed": trial.seed,
        "fields": [[name, shown(value, _MOST_TEXT)] for name, value in fields.items()],
        "faults": [shown(fault.sentence) for fault in faults[:_MOST_FAULTS]],
        "faults_left_out": max(0, len(faults) - _MOST_FAULTS),
        **_replay(trial),
    }


def _replay(trial: Trial) -> Document:
    """Return the command that repeats a trial, and the file that it needs if the trial is too long for a command."""
    text = trial.to_json()
    is_long = len(text) > _LONGEST_COMMAND
    command = shlex.join(["trionet", "simulate", "--replay", "trial.json" if is_long else text])
    return {"command": shown(command, len(command)), "file": shown(text, _LONGEST_FILE) if is_long else ""}


def _comparison(differences: Differences, trial: Trial | None, passing: Passing | None) -> Document:
    """Return where a run differs from a passing one, and from which."""
    return {
        "with": shown(_described(trial, passing)),
        "command": "" if passing is None else _replay(passing.trial)["command"],
        "event": _difference(differences.event),
        "action": _difference(differences.action),
    }


def _described(trial: Trial | None, passing: Passing | None) -> str:
    if passing is None:
        return "another run"
    if not passing.without:
        return f"the same trial, faults included, with seed {passing.trial.seed}"
    if len(passing.without) > 1:
        return f"the same run without its {len(passing.without)} faults"
    of = "its only fault" if trial is not None and not passing.trial.faults else "one of its faults"
    return f"the same run without {of}: {passing.without[0].sentence}"


def _difference(difference: Difference | None) -> Document | None:
    if difference is None:
        return None
    return {
        "at": micro(difference.at),
        "failing": _event(difference.failing),
        "passing": _event(difference.passing),
        "before": [_event(event) for event in difference.before],
    }


def _event(event: TraceEvent | None) -> Document | None:
    if event is None:
        return None
    texts = {name: shown(getattr(event, name)) for name in ("node", "peer", "what", "detail")}
    return {"at": micro(event.at), "kind": event.kind, "number": event.number, "size": event.size, **texts}
