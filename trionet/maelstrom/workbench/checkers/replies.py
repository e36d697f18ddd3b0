"""Replies must have the form that the workload prescribes, and answer what was asked.

Maelstrom drops a malformed reply, so that nobody knows what came of the operation; nothing else follows from it there.
It does not compare what a reply is about with what was asked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .base import SHOWN, Finding, Maelstrom, Results, judged

if TYPE_CHECKING:
    from trionet.maelstrom.workbench.history import History

__all__ = ["check_replies"]


def check_replies(history: History) -> Results:
    """Find the replies that were wrong in themselves, whatever the workload's checker thinks of the history."""
    wrong = [(op, op.flaw) for op in history.completions if op.flaw is not None]
    findings = []
    if wrong:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        findings.append(Finding("malformed-reply", f"{wrong[0][1]}{more}", Maelstrom.OVERLOOKS))
    cases = [{"index": op.index, "node": op.node, "f": op.f, "flaw": flaw} for op, flaw in wrong]
    return judged(findings, {"malformed-count": len(cases), "malformed": cases[:SHOWN]})
