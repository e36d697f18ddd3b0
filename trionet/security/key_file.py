"""Key files, and the key in the environment.

A key file must be yours or root's, a regular file, of mode 0600 or stricter: else others can read the key, or put
theirs in its place. Symbolic links are followed if they, too, are yours or root's, as those in the volumes of
containers are; what they lead to is checked, and replaced, instead of the link. The folder must not be writable for
everyone, unless it has the sticky bit, as ``/tmp`` has.

Invariants: the file always has its old content or its new one, whole, also after a full disk or a crash: a temporary
file is written and synced, then renamed. Two processes never lose each other's changes: they read, change and write
under a lock, on the empty file ``.NAME.lock`` beside it. No error, and no variable of a frame in its traceback, shows
key material.

All functions block: call them in a thread, or before Trio runs.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import time
from typing import TYPE_CHECKING, Final

from trionet.errors import ConfigError
from trionet.key_texts import KEY_VARIABLE, holds_key_text

from .key_entries import KeyFile
from .keys import ClusterKey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, MutableMapping

__all__ = [
    "KEY_FILE_VARIABLE",
    "MAX_FILE_BYTES",
    "is_there",
    "new_key_file",
    "read_key_file",
    "read_keys",
    "take_environment_key",
    "update_key_file",
]

KEY_FILE_VARIABLE: Final = "TRIONET_KEY_FILE"
MAX_FILE_BYTES: Final = 4 * 1024 * 1024

_MODE: Final = 0o600
_ROOT: Final = 0
_MAX_LINKS: Final = 40
"""As many as Linux follows; a longer chain can't be opened."""

_LOCK_S: Final = 10.0
_AGAIN_S: Final = 0.01

_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


def read_key_file(path: str) -> KeyFile:
    """Return what a key file holds.

    Raises:
        ConfigError: it holds no key, or others may have access to the file; the text says what to do.
    """
    fault = _fault_of(path)
    if fault is not None:
        del path
        raise ConfigError(fault)
    with _errors_of(path):
        _check_links(path)
        _check_folder(path)
        text = _checked_text(path)
    found = _content_of(text, path)
    del text
    if isinstance(found, str):
        raise ConfigError(found)
    return found


def is_there(path: str) -> bool:
    """Return whether there is something at the path of a key file."""
    return os.path.lexists(path)


def new_key_file(path: str, key: ClusterKey) -> None:
    """Make the file of a new key.

    Raises:
        ConfigError: the path exists, or the file can't be written.
    """
    fault = _fault_of(path)
    if fault is not None:
        del path
        raise ConfigError(fault)
    content = KeyFile.of(key)
    with _errors_of(path, missing="there is no such folder"):
        _check_folder(path)
        try:
            _write_new(path, content)
        except FileExistsError:
            raise ConfigError(
                f"{path} exists already, and may hold the only copy of a key: give another name"
            ) from None
        _sync_folder(path)


def update_key_file(path: str, change: Callable[[KeyFile], KeyFile]) -> KeyFile:
    """Replace what a file holds by ``change(content)``; return that. It has reached the disk.

    Args:
        path: the file, which exists. Its comments are dropped.
        change: called once, while no other process can change the file.

    Raises:
        ConfigError: the file can't be read or written. It is as it was, then.
    """
    fault = _fault_of(path)
    if fault is not None:
        del path
        raise ConfigError(fault)
    missing = "there is no such file: put a copy of it back; or, for a new key, make one with: trionet keys new FILE"
    with _errors_of(path, missing=missing):
        _check_links(path)
        target = os.path.realpath(path)
        with _lock(target):
            old = read_key_file(target)
            new = change(old)
            if not isinstance(new, KeyFile):
                kind = type(new).__name__
                del new
                raise ConfigError(f"a key file holds a KeyFile, not a {kind}")
            if new != old:
                _replace(target, new)
    return new


def take_environment_key(environment: MutableMapping[str, str] | None = None) -> ClusterKey | None:
    """Return the key in ``TRIONET_KEY``, and delete the variable, so that no child process inherits it; None without.

    Raises:
        ConfigError: the variable holds no key. It is deleted nevertheless.
    """
    found = _taken(os.environ if environment is None else environment)
    if isinstance(found, str):
        raise ConfigError(found)
    return found


def read_keys(key_file: str | None = None, environment: MutableMapping[str, str] | None = None) -> KeyFile | None:
    """Return the keys of a file, else those that the environment gives, and delete ``TRIONET_KEY``; None without any.

    Args:
        key_file: the path of a file; None: that in ``TRIONET_KEY_FILE``.
        environment: the variables; default: those of the process.

    Raises:
        ConfigError: both a file and a key are given, or one of them is wrong.
    """
    environment = os.environ if environment is None else environment
    key = take_environment_key(environment)
    path = environment.get(KEY_FILE_VARIABLE) if key_file is None else key_file
    if path is None:
        return None if key is None else KeyFile.of(key)
    if key is not None:
        raise ConfigError(f"both {KEY_VARIABLE} and a key file are given: unset {KEY_VARIABLE}, or leave out the file")
    return read_key_file(path)


def _taken(environment: MutableMapping[str, str]) -> ClusterKey | str | None:
    """Delete the variable; return its key, or what is wrong with it, or None without it."""
    text = environment.pop(KEY_VARIABLE, None)
    if text is None:
        return None
    try:
        return ClusterKey.parse(text)
    except ConfigError as exc:
        return f"{KEY_VARIABLE}: {exc.text}"


def _content_of(text: bytes | str, path: str) -> KeyFile | str:
    """Return what the text of a file holds, or what is wrong with it."""
    if isinstance(text, bytes):
        return f"{path} is no key file: it is no ASCII text"
    try:
        return KeyFile.parse(text)
    except ConfigError as exc:
        return f"{path}: {exc.text}"


def _fault_of(path: object) -> str | None:
    """Return why this is no path of a key file; None if it may be one."""
    if holds_key_text(path):
        return (
            "this is a key, and not the path of a file. A key in a command line is seen by others and kept in the "
            "shell's history: make a new one with: trionet keys new FILE"
        )
    if not isinstance(path, str):
        return f"a key file is given by its path, a text, not by a {type(path).__name__}"
    if not path or "\0" in path:
        return "a key file is given by its path, which is not empty and has no null character"
    return None


@contextlib.contextmanager
def _errors_of(
    path: str, *, missing: str = "there is no such file; make a key with: trionet keys new FILE"
) -> Iterator[None]:
    """Turn an `OSError` into a `ConfigError`."""
    try:
        yield
    except FileNotFoundError as exc:
        raise ConfigError(f"{path}: {missing}") from exc
    except OSError as exc:
        raise ConfigError(f"{path}: {exc.strerror or exc}") from exc
    except UnicodeError as exc:
        raise ConfigError(f"{path!r:.100} is no path: the file system's encoding has no such characters") from exc


def _check_links(path: str) -> None:
    """Raise `ConfigError` if the path is a symbolic link of somebody else's."""
    for _ in range(_MAX_LINKS):
        info = os.lstat(path)
        if not stat.S_ISLNK(info.st_mode):
            return
        _check_owner(path, info, "the symbolic link")
        path = os.path.join(os.path.dirname(path), os.readlink(path))


def _check_owner(path: str, info: os.stat_result, what: str) -> None:
    if info.st_uid not in (os.geteuid(), _ROOT):
        raise ConfigError(
            f"{what} {path} belongs to user {info.st_uid}, who could put another key there: make it yours with chown, "
            f"or use a file of yours"
        )


def _check_folder(path: str) -> None:
    folder = os.path.dirname(os.path.realpath(path))
    mode = os.stat(folder).st_mode
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        raise ConfigError(f"everyone may replace files in {folder}: use another folder, or chmod o-w {folder}")


def _checked_text(path: str) -> str | bytes:
    """Return the content of a file that only its owner can read; bytes if it is not ASCII."""
    # Not blocking: a pipe without a writer would wait.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        info = os.fstat(descriptor)
        if not stat.S_ISREG(info.st_mode):
            raise ConfigError(f"{path} is no regular file, and a key file is one")
        _check_owner(path, info, "the key file")
        mode = stat.S_IMODE(info.st_mode)
        if mode & ~_MODE:
            raise ConfigError(
                f"{path} has mode {mode:04o}, so that others than its owner may use it: chmod 600 it, and if they may "
                f"have read it, make a new key"
            )
        if info.st_size > MAX_FILE_BYTES:
            raise ConfigError(f"{path} has more than {MAX_FILE_BYTES} bytes: it is no key file")
        with open(descriptor, "rb", closefd=False) as file:
            data = file.read(MAX_FILE_BYTES)
    finally:
        os.close(descriptor)
    return data.decode("ascii") if data.isascii() else data


@contextlib.contextmanager
def _lock(target: str) -> Iterator[None]:
    """Exclude other processes, and threads, that change this file.

    Raises:
        ConfigError: one of them keeps it for too long, as a stopped one does.
    """
    name = _beside(target, "lock")
    descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, _MODE)
    try:
        if not _has_locked(descriptor):
            raise ConfigError(f"{target} can't be changed: another process has held the lock {name} for {_LOCK_S:g} s")
        yield
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_UN)  # a child process forked meanwhile has the descriptor, too
        os.close(descriptor)


def _has_locked(descriptor: int) -> bool:
    """Whether this process gets the lock within `_LOCK_S`: a thread that waits for it can't be cancelled."""
    for _ in range(int(_LOCK_S / _AGAIN_S)):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_AGAIN_S)
        else:
            return True
    return False


def _replace(target: str, content: KeyFile) -> None:
    temporary = _beside(target, "tmp")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary)  # of a process that crashed: nobody else holds the lock
    _write_new(temporary, content)
    try:
        os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise
    _sync_folder(target)


def _beside(target: str, kind: str) -> str:
    folder, name = os.path.split(target)
    return os.path.join(folder, f".{name}.{kind}")


def _write_new(path: str, content: KeyFile) -> None:
    """Write a file that does not exist, to the disk; leave none if that fails."""
    rest = memoryview(content.text().encode())  # shows nothing in a traceback
    if len(rest) > MAX_FILE_BYTES:
        raise ConfigError(f"{path} would have more than {MAX_FILE_BYTES} bytes, and could not be read again")
    descriptor = os.open(path, _NEW, _MODE)
    try:
        try:
            os.fchmod(descriptor, _MODE)  # whatever the umask is
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(path)
        raise


def _sync_folder(path: str) -> None:
    """Have the entry of a file reach the disk, where the file system can."""
    folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):
            os.fsync(folder)
    finally:
        os.close(folder)
