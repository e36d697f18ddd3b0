"""Ctrl-C while a command imports: it ends at once, without a traceback."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from tests.node_processes import ROOT, clean_environment
from tests.waiting import DEADLINE_S

# An interrupt comes while a module is looked for.
STRUCK = """
import signal, sys

class Striking:
    def find_spec(self, name, *_):
        if name == {module!r}:
            signal.raise_signal(signal.SIGINT)

signal.signal(signal.SIGINT, {handler})
sys.meta_path.insert(0, Striking())
sys.argv = ["trionet", "completion", "--help"]
import trionet_commands
trionet_commands.main()
"""


def strike(module: str, handler: str = "signal.default_int_handler") -> subprocess.CompletedProcess[str]:
    """Run a command that is interrupted while it imports a module."""
    return subprocess.run(
        [sys.executable, "-c", STRUCK.format(module=module, handler=handler)],
        cwd=ROOT,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE_S,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "status"),
    [
        ("trionet", -signal.SIGINT),
        ("trio", -signal.SIGINT),
        ("trionet.cli.main", -signal.SIGINT),
        ("trionet.cli.completion", 130),
    ],
)
def test_an_interrupt_during_the_imports_says_nothing(module: str, status: int) -> None:
    done = strike(module)
    assert (done.returncode, done.stdout, done.stderr) == (status, "", "")


@pytest.mark.slow
def test_an_interrupt_that_is_ignored_stays_so() -> None:
    done = strike("trionet", "signal.SIG_IGN")
    assert done.returncode == 0
    assert done.stdout.startswith("usage: trionet completion")
