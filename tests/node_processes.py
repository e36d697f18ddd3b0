"""Nodes in processes of their own, as ``trionet-node`` starts them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from trionet import NodeAddress, NodeConfig

if TYPE_CHECKING:
    from contextlib import ExitStack

__all__ = ["PROBE", "ROOT", "NodeProcess", "clean_environment", "launch", "wait_ready"]

ROOT = Path(__file__).parents[1]

PROBE = {"probe": "tests.samples:Probe"}
"""The services that nodes start with unless a test says otherwise."""


class NodeProcess(NamedTuple):
    """A node in a process of its own."""

    process: subprocess.Popen[bytes]
    address: NodeAddress

    @property
    def pid(self) -> int:
        return self.process.pid


def clean_environment() -> dict[str, str]:
    """Return the environment without any settings of trionet."""
    return {name: value for name, value in os.environ.items() if not name.startswith("TRIONET_")}


def launch(stack: ExitStack, config: NodeConfig, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """Start a node; it is killed with the stack."""
    settings = msgspec.json.encode(config).decode()
    process = stack.enter_context(
        subprocess.Popen(
            [sys.executable, "-m", "trionet.cli.node", "--json", "--config", settings],
            cwd=ROOT,
            env=clean_environment() | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )
    )
    stack.callback(process.kill)  # before Popen's own end, which waits
    return process


def wait_ready(process: subprocess.Popen[bytes]) -> NodeProcess:
    """Return the node once it accepts calls."""
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, f"the node ended with status {process.wait()} before it was ready"
    ready: dict[str, Any] = msgspec.json.decode(line)
    assert ready["pid"] == process.pid
    return NodeProcess(process, NodeAddress(ready["ip"], ready["port"]))
