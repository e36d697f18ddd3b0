"""Make hosts with processes and a delay, print the processes, and wait to be killed."""

from __future__ import annotations

import time
from pathlib import Path

from tests.hosts.hosts import open_hosts

if __name__ == "__main__":
    with open_hosts(2) as hosts:
        hosts.delay(0.01)
        for each in hosts:
            each.run(["sleep", "1000"])
        children = Path("/proc/self/task").glob("*/children")
        print(*(pid for file in children for pid in file.read_text().split()), flush=True)
        time.sleep(1000)
