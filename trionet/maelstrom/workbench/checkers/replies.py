"""Replies must have the form that the workload prescribes, and match their requests.

Maelstrom drops a malformed reply, so that the outcome of the operation is unknown, without further consequences. It
does not compare replies with requests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .base import SHOWN, Finding, Maelstrom, Results, judged

if TYPE_CHECKING:
    from trionet.maelstrom.workbench.history import History

__all__ = ["check_replies"]


def check_replies(history: History) -> Results:
    """Find malformed replies, whatever the verdict of the workload's checker is."""
    wrong = [(op, op.flaw) for op in history.completions if op.flaw is not None]
    findings = []
    if wrong:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        findings.append(Finding("malformed-reply", f"{wrong[0][1]}{more}", Maelstrom.OVERLOOKS))
    cases = [{"index": op.index, "node": op.node, "f": op.f, "flaw": flaw} for op, flaw in wrong]
    return judged(findings, {"malformed-count": len(cases), "malformed": cases[:SHOWN]})
