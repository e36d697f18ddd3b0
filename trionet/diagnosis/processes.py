"""Checks of the members' processes and machines: clocks, scheduling lag, files."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Final

from trionet.profiles import PROFILES

from .findings import Finding, Severity

if TYPE_CHECKING:
    from .facts import Survey

__all__ = ["check_clocks", "check_files", "check_lag", "clock_offsets"]

_CLOCK_S: Final = 1.0
"""Clocks that NTP keeps differ by milliseconds."""
_CLOCK_FAILS_S: Final = 25.0
"""A signed request may be 30 s in the future."""

_LAG_S: Final = 0.25
_LAG_SHARE: Final = 0.5
"""Of a probe's timeout: the rest is for the way of the ping and its answer."""

_FILES_AT_REST: Final = 64
_FILES_PER_MEMBER: Final = 2
_FILES_FULL: Final = 0.8


def clock_offsets(survey: Survey) -> dict[str, tuple[float, float]]:
    """Return how far each member's clock is ahead of the entry's, and the possible error, in seconds.

    Source: RFC 5905 (NTP), section 8: the offset and delay from four times.
    """
    found = {}
    for name, member in survey.members.items():
        facts = member.facts
        if facts is None or not facts.received_at or not member.asked_at:
            continue
        there, back = facts.received_at - member.asked_at, facts.sent_at - member.answered_at
        found[name] = ((there + back) / 2, max(0.0, there - back) / 2)
    return found


def check_clocks(survey: Survey) -> list[Finding]:
    """Clocks that differ from most."""
    offsets = clock_offsets(survey)
    if not offsets:
        return []
    usual = statistics.median_low(offset for offset, _ in offsets.values())
    found = []
    for name, (offset, error) in sorted(offsets.items()):
        off = offset - usual
        if abs(off) - error <= _CLOCK_S:
            continue
        severity: Severity = "error" if abs(off) - error > _CLOCK_FAILS_S else "warning"
        what = f"the clock of {name} is {abs(off):.1f} s {'ahead of' if off > 0 else 'behind'} that of most members"
        advice = (
            "set it, and keep it with NTP (timedatectl set-ntp true; chronyc tracking): settings keep the value of the "
            "latest clock, and signed requests, tokens and certificates are judged by it"
        )
        found.append(Finding("clocks", severity, (name,), what, advice))
    return found


def check_lag(survey: Survey) -> list[Finding]:
    """Event loops that run late."""
    found = []
    for name, own in sorted(survey.facts.items()):
        profile = PROFILES.get(own.profile) or PROFILES["lan"]
        if own.lag_s < max(_LAG_S, _LAG_SHARE * profile.probe_timeout_s):
            continue
        what = f"the event loop of {name} was late by {own.lag_s:.2f} s, and pings have {profile.probe_timeout_s:g} s"
        advice = (
            "run what blocks in a thread (@trionet.rpc(thread=True)); if nothing does, the machine has too few "
            "processors for its load, or its limit is too low (CPUQuota, a container's limits)"
        )
        found.append(Finding("lag", "warning", (name,), what, advice))
    return found


def check_files(survey: Survey) -> list[Finding]:
    """Processes that are about to have no file descriptors left."""
    found = []
    for name, own in sorted(survey.facts.items()):
        limit = own.files_limit
        if limit <= 0:  # not known, or unlimited
            continue
        needed = _FILES_AT_REST + _FILES_PER_MEMBER * len(survey.members)
        is_full = own.files_open > _FILES_FULL * limit
        if not is_full and limit >= needed:
            continue
        to = max(needed, 4 * own.files_open, 1024)
        how = f"ulimit -n {to}, or LimitNOFILE={to} in its systemd unit"
        if own.files_most < 0 or own.files_most >= to > limit:
            how += "; trionet-node and trionet up raise it by themselves, up to the hard limit"
        what = f"{name} may have {limit} open files, has {own.files_open}, and needs up to {needed} for its members"
        severity: Severity = "error" if is_full else "warning"
        found.append(Finding("files", severity, (name,), what, f"raise the limit: {how}"))
    return found
