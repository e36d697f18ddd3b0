"""The files of a test: history, messages, logs, results and plots, in ``store/<workload>/<time>/``.

``store/<workload>/latest`` and ``store/latest`` are links to the newest test.

Invariant: each failure to write a file, such as a full disk, raises a `StoreFailed` that names the file.
"""

from __future__ import annotations

import contextlib
import datetime
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from .errors import StoreFailed

if TYPE_CHECKING:
    from collections.abc import Generator
    from types import TracebackType
    from typing import IO, Self

    from .history import History

__all__ = ["Store"]


@contextlib.contextmanager
def _writing(path: Path) -> Generator[None]:
    """Turn a failure to write a file or folder into a `StoreFailed`."""
    try:
        yield
    except (OSError, ValueError) as exc:  # a path with a zero byte is a ValueError
        raise StoreFailed(f"--store: {path} can't be written: {getattr(exc, 'strerror', None) or exc}") from exc


class _File(io.RawIOBase):
    """A file whose errors name it, even those of a late write: the buffer writes late, and when it is closed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with _writing(path):
            self._file = path.open("wb", buffering=0)

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int | None:
        with _writing(self._path):
            return self._file.write(data)

    def close(self) -> None:
        self._file.close()
        super().close()


def _open(path: Path, buffer_bytes: int = 1 << 16) -> io.BufferedWriter:
    return io.BufferedWriter(_File(path), buffer_bytes)


class Store:
    """A folder for one test; a context manager that closes its files.

    Args:
        root: the folder of all tests.
        workload: the name of the workload.

    Attributes:
        path: the folder.
        messages: the file of all messages, ``messages.jsonl``.

    Raises:
        StoreFailed: a file can't be written; so do the methods.
    """

    def __init__(self, root: Path, workload: str) -> None:
        stamp = datetime.datetime.now().astimezone().strftime("%Y%m%dT%H%M%S.%f%z")
        self.path: Path = root / workload / stamp
        with _writing(self.path):
            self.path.mkdir(parents=True)
        self.messages: IO[bytes] = _open(self.path / "messages.jsonl", 1 << 20)
        self._logs: dict[str, IO[bytes]] = {}
        _link(root / workload / "latest", Path(stamp))
        _link(root / "latest", Path(workload) / stamp)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            for file in (self.messages, *self._logs.values()):
                file.close()
        except StoreFailed:
            if exc is None:  # else that exception has priority
                raise

    def node_log(self, name: str) -> IO[bytes]:
        """Return the file for a node's standard error: ``node-logs/<name>.log``."""
        if name not in self._logs:
            folder = self.path / "node-logs"
            with _writing(folder):
                folder.mkdir(exist_ok=True)
            self._logs[name] = _open(folder / f"{name}.log")
        return self._logs[name]

    def save_history(self, history: History) -> None:
        """Write ``history.jsonl``: an operation in each line."""
        encode = msgspec.json.Encoder().encode
        with _open(self.path / "history.jsonl") as file:
            file.writelines(encode(op.as_json()) + b"\n" for op in history)

    def save_results(self, results: dict[str, Any]) -> None:
        """Write ``results.json``."""
        self.save_text("results.json", msgspec.json.format(msgspec.json.encode(results), indent=2).decode())

    def save_text(self, name: str, text: str) -> None:
        """Write a file."""
        with _open(self.path / name) as file:
            file.write(text.encode())


def _link(link: Path, target: Path) -> None:
    with contextlib.suppress(OSError):  # not all file systems have links
        link.unlink(missing_ok=True)
        link.symlink_to(target, target_is_directory=True)
