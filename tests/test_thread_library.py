"""Trio's import starts no program to find the library of threads."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.waiting import DEADLINE_S

PROGRAM = """
import ctypes.util, sys
search, started = ctypes.util.find_library, []
programs = "subprocess.Popen", "os.posix_spawn"
sys.addaudithook(lambda event, args: started.append(args[0]) if event in programs else None)
import trionet
assert "trio" in sys.modules
print(started, ctypes.util.find_library is search)
import trio, threading
names = []
def name_of():
    names.append(open(f"/proc/self/task/{threading.get_native_id()}/comm").read().strip())
trio.lowlevel.start_thread_soon(name_of, lambda _: names.append(None), name="a worker")
while len(names) < 2:
    pass
print(names[0])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have other libraries")
@pytest.mark.skipif(not (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc"), reason="another C library")
def test_no_program_is_started_and_threads_still_have_names() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, check=True, timeout=DEADLINE_S)
    assert done.stdout.decode().splitlines() == ["[] True", "a worker"]
