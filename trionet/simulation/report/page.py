"""Writes a page about a run: one file, which a browser shows without asking any host for anything.

Invariants: the page has one script and one style, and its policy allows these alone, by their hashes; all that comes
from a run is data of the script; the same run gives the same page; a page is smaller than 5 MB.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from trionet.simulation.arguments import require
from trionet.simulation.invariants import Violation
from trionet.simulation.trace import Trace
from trionet.simulation.trials import Trial

from .document import MOST_BYTES, document_of
from .joining import join_modules
from .passing import Passing

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["page_of", "write_report"]

_OWN: Final = Path(__file__).parent / "static"
_SHARED: Final = Path(__file__).parents[2] / "dashboard" / "static"
_ENDING: Final = re.compile(r"</(?:script|style)|<!--", re.IGNORECASE)
_MOST_BYTES: Final = 5_000_000
_SHARES: Final = (1, 0.5, 0.25, 0)
"""Which shares of the usual room the events get, if all else takes much."""

_PAGE: Final = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<meta name="color-scheme" content="light dark">
<title>trionet simulate</title>
<style>{style}</style>
</head>
<body>
<noscript>This page draws a run of trionet simulate; it needs JavaScript.</noscript>
<script>{script}</script>
</body>
</html>
"""


def write_report(
    trace: Trace,
    path: Path | str,
    *,
    trial: Trial | None = None,
    violations: Sequence[Violation] = (),
    passing: Passing | None = None,
    passing_trace: Trace | None = None,
) -> None:
    """Write a run as one page of HTML, which needs no other file and no network.

    It shows the nodes, the faults and the messages over time, the violations, the command that repeats the run, and
    the first differences from a passing run.

    Args:
        trace: the trace of the run.
        path: the file.
        trial: the trial.
        violations: the violations, in order.
        passing: a passing trial that is like this one, as from `nearest_passing`.
        passing_trace: its trace; without it nothing is compared.

    Raises:
        ConfigError: an argument has a wrong type.
        OSError: the file can't be written.
    """
    require(trace, Trace, "a report is about a Trace")
    require(path, str | Path, "a path is a text or a Path")
    require(trial, Trial | None, "a trial is a Trial")
    require(violations, Collection, "violations are a list")
    for violation in violations:
        require(violation, Violation, "a violation is a Violation")
    require(passing, Passing | None, "what passes is a Passing, as from nearest_passing")
    require(passing_trace, Trace | None, "a trace is a Trace")
    saved = trace.as_saved()  # a loaded trace makes the same page
    other = None if passing_trace is None else passing_trace.as_saved()
    data = b""
    for share in _SHARES:
        most_bytes = int(MOST_BYTES * share)
        document = document_of(saved, trial, list(violations), passing, other, most_bytes=most_bytes)
        data = page_of(document).encode()
        if len(data) <= _MOST_BYTES:
            break
    try:
        Path(path).write_bytes(data)
    except OSError as exc:  # a full disk names no file
        raise OSError(exc.errno, exc.strerror, str(path)) from exc


def page_of(document: dict[str, Any]) -> str:
    """Return the page of a document."""
    data = msgspec.json.encode(document).decode().replace("<", "\\u003c")
    script = f"{join_modules('report.js', _read)}\nmain.show(document, {data});\n"
    style = "\n".join(_read(name) for name in ("app.css", "report.css"))
    for text in (script, style):
        assert not _ENDING.search(text), "a script or a style would end early"
    policy = (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; base-uri 'none';"
        " form-action 'none'"
    )
    return _PAGE.format(policy=policy, style=style, script=script)


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _read(name: str) -> str:
    """Return a file of the page, or one that it shares with the dashboard."""
    own = _OWN / name
    return (own if own.exists() else _SHARED / name).read_text(encoding="utf-8")
