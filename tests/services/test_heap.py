import subprocess
import sys
from pathlib import Path

import pytest

from trionet.services import heap
from trionet.services.heap import heap_bytes


def test_the_heap_in_use_is_positive_and_within_the_total() -> None:
    found = heap_bytes()
    assert type(found.total) is int
    assert type(found.used) is int
    assert 0 < found.used <= found.total


_TAKE_MEMORY = """
from trionet.services.heap import heap_bytes

size = 64 * 1024 * 1024
before = heap_bytes()
block = bytearray(b"x") * size
after = heap_bytes()
assert after.total - before.total > size // 2, (before, after)
assert after.used - before.used > size // 2, (before, after)
"""


def test_memory_that_is_taken_and_written_shows_in_both_figures() -> None:
    # A process of its own: the memory that this one has freed could be used again.
    subprocess.run([sys.executable, "-c", _TAKE_MEMORY], check=True, timeout=60)


@pytest.mark.parametrize("content", [None, "Name:\tpython\n", "VmData:\t nonsense kB\nRssAnon:\t 1 kB\n"])
def test_without_the_systems_figures_the_peak_resident_size_stands_for_both(
    content: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resource = pytest.importorskip("resource")
    path = tmp_path / "status"
    if content is not None:
        path.write_text(content, encoding="ascii")
    monkeypatch.setattr(heap, "_STATUS", path)
    found = heap_bytes()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    assert 0 < found.used == found.total <= peak


def test_the_used_heap_never_shows_more_than_the_total(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "status"
    path.write_text("VmData:\t 10 kB\nRssAnon:\t 20 kB\n", encoding="ascii")
    monkeypatch.setattr(heap, "_STATUS", path)
    assert heap_bytes() == (20 * 1024, 20 * 1024)
    path.write_text("VmData:\t 10 kB\nRssAnon:\t 0 kB\n", encoding="ascii")
    assert heap_bytes() == (10 * 1024, 1)
