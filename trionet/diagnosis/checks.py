"""All checks, in the order in which their findings are reported among those of one severity."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .findings import SEVERITIES, Finding
from .members import check_answers, check_gone, check_groups, check_joined, check_profiles, check_versions, check_views
from .network import check_connections, check_datagrams, check_loopback
from .processes import check_clocks, check_files, check_lag
from .secrets import check_certificates, check_keys, check_protection

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .facts import Survey

__all__ = ["CHECKS", "diagnose"]

CHECKS: Final[Mapping[str, Callable[[Survey], list[Finding]]]] = {
    "every member answers": check_answers,
    "no member is suspected or has failed": check_gone,
    "all have joined their cluster": check_joined,
    "all members know each other": check_views,
    "every address can be reached": check_connections,
    "no loopback address among others": check_loopback,
    "datagrams arrive in both directions": check_datagrams,
    "clocks agree": check_clocks,
    "event loops are not late": check_lag,
    "there are file descriptors left": check_files,
    "all run one version": check_versions,
    "all have one profile": check_profiles,
    "all hold the keys": check_keys,
    "plain peers are refused where there is a key": check_protection,
    "certificates last": check_certificates,
    "groups are the same everywhere": check_groups,
}
"""The checks, by what holds in a healthy cluster."""


def diagnose(survey: Survey) -> list[Finding]:
    """Return all findings, the worst first."""
    found = [finding for check in CHECKS.values() for finding in check(survey)]
    return sorted(found, key=lambda finding: SEVERITIES.index(finding.severity))
