"""A page about a run takes whatever a program has said, and says which file it can't write."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING

import pytest

from trionet.simulation.invariants import Violation
from trionet.simulation.report import write_report
from trionet.simulation.trace import Trace

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("at_s", [math.nan, math.inf, -1.0, 1e300])
def test_odd_texts_and_times_are_data_of_the_page(at_s: float, tmp_path: Path) -> None:
    text = "</script><script>alert(1)</script><!-- \u2028\ud800\x00{policy}"
    write_report(
        Trace(), tmp_path / "a.html", violations=[Violation(invariant=text, at_s=at_s, text=text, nodes=[text])]
    )
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert page.count("</script>") == 1
    assert "<script>alert" not in page


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
def test_a_full_disk_is_told_with_the_file() -> None:
    with pytest.raises(OSError, match="/dev/full"):
        write_report(Trace(), "/dev/full")
