"""Where a test's history, messages, logs, results and plots are kept: ``store/<workload>/<time>/``.

``store/<workload>/latest`` and ``store/latest`` lead to the newest one.
"""

from __future__ import annotations

import contextlib
import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from types import TracebackType
    from typing import IO, Self

    from .history import History

__all__ = ["Store"]


class Store:
    """A folder for one test; a context manager that closes its files.

    Args:
        root: the folder of all tests.
        workload: whose test it is.

    Attributes:
        path: the folder.
        messages: where all messages go: ``messages.jsonl``.
    """

    def __init__(self, root: Path, workload: str) -> None:
        stamp = datetime.datetime.now().astimezone().strftime("%Y%m%dT%H%M%S.%f%z")
        self.path: Path = root / workload / stamp
        self.path.mkdir(parents=True)
        self.messages: IO[bytes] = (self.path / "messages.jsonl").open("wb", buffering=1 << 20)
        self._logs: dict[str, IO[bytes]] = {}
        _link(root / workload / "latest", Path(stamp))
        _link(root / "latest", Path(workload) / stamp)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.messages.close()
        for log in self._logs.values():
            log.close()

    def node_log(self, name: str) -> IO[bytes]:
        """Return where a node's standard error goes: ``node-logs/<name>.log``."""
        if name not in self._logs:
            folder = self.path / "node-logs"
            folder.mkdir(exist_ok=True)
            self._logs[name] = (folder / f"{name}.log").open("wb")
        return self._logs[name]

    def save_history(self, history: History) -> None:
        """Write ``history.jsonl``: an operation in each line."""
        encode = msgspec.json.Encoder().encode
        with (self.path / "history.jsonl").open("wb") as file:
            file.writelines(encode(op.as_json()) + b"\n" for op in history)

    def save_results(self, results: dict[str, Any]) -> None:
        """Write ``results.json``."""
        (self.path / "results.json").write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=2))

    def save_text(self, name: str, text: str) -> None:
        """Write a file."""
        (self.path / name).write_text(text, encoding="utf-8")


def _link(link: Path, target: Path) -> None:
    with contextlib.suppress(OSError):  # a file system without links: no convenience then
        link.unlink(missing_ok=True)
        link.symlink_to(target, target_is_directory=True)
