from __future__ import annotations

import os
import select
import subprocess
from typing import TYPE_CHECKING

import pytest

from trionet.launchers import lineage
from trionet.launchers.lineage import descend_from, open_watches

if TYPE_CHECKING:
    from collections.abc import Generator


@pytest.fixture(autouse=True)
def first_of_its_line() -> Generator[None]:
    yield
    descend_from([])


def is_readable(descriptor: int, patience_ms: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(patience_ms))


def test_a_process_that_nobody_has_launched_is_the_first() -> None:
    assert lineage.lineage() == [os.getpid()]


def test_those_above_come_before_the_process_itself() -> None:
    descend_from([1, 2])
    assert lineage.lineage() == [1, 2, os.getpid()]


def test_a_watch_is_readable_once_its_process_has_ended_and_not_before() -> None:
    with subprocess.Popen(["sleep", "600"]) as process:
        (watch,) = open_watches([process.pid])
        try:
            assert not is_readable(watch, 0)
            process.kill()
            assert is_readable(watch, 60_000)
        finally:
            os.close(watch)


def test_a_watch_on_a_process_that_has_ended_already_is_readable_at_once() -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    (watch,) = open_watches([process.pid])
    assert is_readable(watch, 0)
    os.close(watch)


def test_without_such_a_call_there_are_no_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(pid: int) -> int:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(os, "pidfd_open", unknown)
    assert open_watches([os.getpid()]) == []
