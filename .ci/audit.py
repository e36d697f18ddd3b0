#!/usr/bin/env python3
"""Look for known vulnerabilities of the versions in requirements.lock, with pip-audit.

Exit status: 0 without any; 1 with some; 75 if not all could be looked up, for lack of a network for example. pip-audit
itself passes where the package index does not answer for a package: here that is said, and is no success.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
NOT_CHECKED = 75  # EX_TEMPFAIL of sysexits.h
TIMEOUT_S = 300
COMMAND = [
    *(sys.executable, "-m", "pip_audit", "--requirement", "requirements.lock", "--require-hashes", "--disable-pip"),
    *("--format", "json", "--progress-spinner", "off", "--timeout", "10", "--cache-dir", ".dev/pip-audit"),
]


def verdict(output: str, error: str) -> tuple[int, list[str]]:
    """Return the exit status, and lines for the reader, for what pip-audit has written."""
    try:
        packages: list[dict[str, Any]] = json.loads(output)["dependencies"]
    except (ValueError, KeyError, TypeError):
        said = error.strip().splitlines()
        return NOT_CHECKED, ["not checked: pip-audit has failed", *said[-1:]]
    found = [
        f"{package['name']} {package['version']}: {known['id']}, fixed in {', '.join(known['fix_versions']) or 'none'}"
        for package in packages
        for known in package.get("vulns", [])
    ]
    skipped = [package["name"] for package in packages if "skip_reason" in package]
    lines = [
        f"{len(packages) - len(skipped)} of {len(packages)} packages checked, {len(found)} vulnerabilities",
        *found,
    ]
    if skipped:
        names = ", ".join(skipped[:3]) + (", ..." if len(skipped) > 3 else "")  # noqa: PLR2004
        lines.append(f"not checked: {len(skipped)} packages, which the package index does not answer for ({names})")
    if found:
        return 1, lines
    return NOT_CHECKED if skipped or not packages else 0, lines


def main() -> int:
    """Run pip-audit, and print what it has found."""
    try:
        done = subprocess.run(COMMAND, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        status, lines = NOT_CHECKED, [f"not checked: pip-audit took longer than {TIMEOUT_S} s"]
    else:
        status, lines = verdict(done.stdout, done.stderr)
    print("\n".join(lines))
    return status


if __name__ == "__main__":
    sys.exit(main())
