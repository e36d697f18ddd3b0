"""Key files: who may have access, what survives a full disk or a crash, and the key in the environment."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import resource
import socket
import stat
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.security.keys import key_of, report_of, shown_in, with_one_more
from tests.security.test_key_entries import KEYS, SECRETS
from trionet import ConfigError
from trionet.security import key_file
from trionet.security.key_entries import KeyEntry, KeyFile
from trionet.security.key_file import (
    MAX_FILE_BYTES,
    new_key_file,
    read_key_file,
    read_keys,
    take_environment_key,
    update_key_file,
)
from trionet.security.key_statements import KeyState

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = KEYS[0]
TEXT = KEY.reveal()
CONTENT = KeyFile.of(KEY)
NOBODY = 65_534
IS_ROOT = os.geteuid() == 0


@pytest.fixture
def path(tmp_path: Path) -> str:
    """The path of a file with one key."""
    path = tmp_path / "cluster.key"
    path.write_text(f"{TEXT}\n")
    path.chmod(0o600)
    return str(path)


def refusal_of(read: Callable[[], object]) -> str:
    """Return the text of the error, which shows no key in any part of a report."""
    with pytest.raises(ConfigError) as caught:
        read()
    assert not shown_in(report_of(caught.value), SECRETS)
    return caught.value.text


def test_a_new_file_has_the_key_and_is_only_for_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "cluster.key"
    before = os.umask(0)
    try:
        new_key_file(str(path), KEY)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text() == f"{TEXT}\n"
    assert read_key_file(str(path)) == CONTENT
    assert os.listdir(tmp_path) == ["cluster.key"]


def test_a_new_file_is_made_under_any_umask(tmp_path: Path) -> None:
    before = os.umask(0o777)
    try:
        new_key_file(str(tmp_path / "cluster.key"), KEY)
    finally:
        os.umask(before)
    assert read_key_file(str(tmp_path / "cluster.key")) == CONTENT


@pytest.mark.parametrize("kind", ["file", "folder", "link", "dangling link", "pipe"])
def test_nothing_that_exists_is_replaced_by_a_new_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "cluster.key"
    match kind:
        case "file":
            path.write_text("old")
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case _:
            path.symlink_to(tmp_path / "other")
            if kind == "link":
                (tmp_path / "other").write_text("old")
    before = sorted(os.listdir(tmp_path))
    assert "exists already" in refusal_of(lambda: new_key_file(str(path), KEY))
    assert sorted(os.listdir(tmp_path)) == before
    assert kind != "file" or path.read_text() == "old"


def test_a_file_for_others_is_refused_and_says_what_to_do(path: str) -> None:
    for mode in (*range(0o1000), 0o4600, 0o2600, 0o1600):
        if mode & ~0o600 and (IS_ROOT or mode & 0o400):
            os.chmod(path, mode)
            text = refusal_of(lambda: read_key_file(path))
            assert f"has mode {mode:04o}" in text
            assert "chmod 600" in text
            assert "make a new key" in text


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_file_for_its_owner_alone_is_read(path: str, mode: int) -> None:
    os.chmod(path, mode)
    assert read_key_file(path) == CONTENT


@pytest.mark.skipif(not IS_ROOT, reason="only root can give files away")
def test_a_file_of_somebody_else_is_refused(path: str) -> None:
    os.chown(path, NOBODY, -1)
    assert f"belongs to user {NOBODY}" in refusal_of(lambda: read_key_file(path))


def test_a_file_of_root_is_read_and_that_of_others_is_not(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    if IS_ROOT:
        assert read_key_file(path) == CONTENT
    monkeypatch.setattr(key_file, "_ROOT", os.getuid() + 2)
    assert "make it yours with chown" in refusal_of(lambda: read_key_file(path))


def test_links_of_ones_own_are_followed_also_in_chains_as_in_volumes_of_containers(path: str, tmp_path: Path) -> None:
    (tmp_path / "..2026").mkdir()
    os.rename(path, tmp_path / "..2026" / "cluster.key")
    (tmp_path / "..data").symlink_to("..2026")
    Path(path).symlink_to("..data/cluster.key")
    assert read_key_file(path) == CONTENT
    new = update_key_file(path, with_one_more)
    assert Path(path).is_symlink()
    assert read_key_file(path) == new != CONTENT


@pytest.mark.skipif(not IS_ROOT, reason="only root can give links away")
@pytest.mark.parametrize("number", [0, 1])
def test_a_link_of_somebody_else_is_refused(path: str, tmp_path: Path, number: int) -> None:
    links = [tmp_path / "a", tmp_path / "b"]
    links[0].symlink_to("b")
    links[1].symlink_to(path)
    assert read_key_file(str(links[0])) == CONTENT
    os.lchown(links[number], NOBODY, -1)
    for use in (read_key_file, lambda it: update_key_file(it, with_one_more)):
        assert "the symbolic link" in refusal_of(partial(use, str(links[0])))


def test_a_file_in_a_folder_where_everyone_writes_is_refused(path: str, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    for use in (read_key_file, lambda it: update_key_file(it, with_one_more), lambda it: new_key_file(it + "2", KEY)):
        assert "everyone may replace files" in refusal_of(partial(use, path))
    tmp_path.chmod(0o1777)
    assert read_key_file(path) == CONTENT


@pytest.mark.parametrize("kind", ["missing", "folder", "pipe", "socket", "device", "loop", "below a file", "too long"])
def test_what_is_no_file_is_refused_at_once(tmp_path: Path, path: str, kind: str) -> None:
    place = str(tmp_path / "it")
    match kind:
        case "folder":
            os.mkdir(place)
        case "pipe":
            os.mkfifo(place, 0o600)
        case "socket":
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(place)
        case "device":
            place = "/dev/zero"
        case "loop":
            os.symlink("it", place)
        case "below a file":
            place = f"{path}/it"
        case "too long":
            place = "x" * 5000
    for use in (read_key_file, lambda it: update_key_file(it, with_one_more)):
        text = refusal_of(partial(use, place))
        assert place[:50] in text
    assert (kind in ("folder", "pipe", "device")) == ("is no regular file" in text)
    assert (kind == "missing") == ("trionet keys new FILE" in text)


@pytest.mark.parametrize(
    "wrong", [None, 5, b"k", Path("k"), ["k"], "", "a\0b", TEXT, TEXT.encode(), f"./{TEXT}", "\ud800"]
)
def test_what_is_no_path_is_refused_and_a_key_is_not_quoted(wrong: Any) -> None:
    for use in (read_key_file, lambda it: new_key_file(it, KEY), lambda it: update_key_file(it, with_one_more)):
        text = refusal_of(partial(use, wrong))
        assert "path" in text
        assert TEXT not in text


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "there is no key"),
        (b"\n" * MAX_FILE_BYTES, "there is no key"),
        (b"\n" * (MAX_FILE_BYTES + 1), "bytes: it is no key file"),
        (b"\xef\xbb\xbf" + TEXT.encode(), "no ASCII text"),
        (TEXT.encode("utf-16"), "no ASCII text"),
        (TEXT.encode() + b"\0", "line 1: a key is one line without spaces"),
        (TEXT.encode() + b"\r\n", "line 1: a key is one line without spaces"),
        (b"-----BEGIN PRIVATE KEY-----\n", "line 1: a key begins with trionet-key-v1:"),
    ],
)
def test_a_file_without_a_key_is_refused_by_its_name(path: str, content: bytes, reason: str) -> None:
    Path(path).write_bytes(content)
    text = refusal_of(lambda: read_key_file(path))
    assert text.startswith(path)
    assert reason in text


def test_an_update_replaces_the_keys_in_one_step(path: str, tmp_path: Path) -> None:
    before = os.stat(path).st_ino
    os.chmod(path, 0o400)
    new = update_key_file(path, with_one_more)
    assert new == KeyFile((*CONTENT.entries, KeyEntry.of(key_of(101), KeyState.INSTALLED)))
    assert read_key_file(path) == new
    assert os.stat(path).st_ino != before
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert sorted(os.listdir(tmp_path)) == [".cluster.key.lock", "cluster.key"]


def test_an_update_without_a_change_writes_nothing(path: str) -> None:
    before = os.stat(path)
    assert update_key_file(path, lambda content: content) == CONTENT
    after = os.stat(path)
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_keys_with_which_a_node_could_not_start_are_not_written(path: str) -> None:
    changes: list[Callable[[KeyFile], Any]] = [
        lambda _: None,
        lambda content: content.entries,
        lambda content: content.text(),
        lambda content: KeyFile(content.entries * 2),
        lambda _: KeyFile((KeyEntry.of(KEY, KeyState.INSTALLED),)),
    ]
    for change in changes:
        refusal_of(partial(update_key_file, path, change))
        assert read_key_file(path) == CONTENT


def test_an_update_that_raises_changes_nothing_and_leaves_no_lock(path: str) -> None:
    def fail(_: KeyFile) -> KeyFile:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        update_key_file(path, fail)
    assert read_key_file(path) == CONTENT
    update_key_file(path, with_one_more)


@pytest.mark.parametrize("call", ["write", "fsync", "replace", "fchmod"])
@pytest.mark.parametrize("reason", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS])
def test_a_full_or_broken_disk_leaves_the_old_file_and_no_rest(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, reason: int
) -> None:
    def fail(*args: object) -> None:
        raise OSError(reason, os.strerror(reason))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        assert os.strerror(reason) in refusal_of(lambda: update_key_file(path, with_one_more))
        if call != "replace":
            assert os.strerror(reason) in refusal_of(lambda: new_key_file(f"{path}2", KEY))
    assert read_key_file(path) == CONTENT
    assert sorted(os.listdir(tmp_path)) == [".cluster.key.lock", "cluster.key"]
    assert update_key_file(path, with_one_more) == read_key_file(path) != CONTENT


def test_short_writes_are_continued(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda descriptor, data: write(descriptor, bytes(data)[:7]))
        new = update_key_file(path, with_one_more)
    assert read_key_file(path) == new


_UPDATES = """
import sys
from tests.security.keys import with_one_more
from trionet.security.key_file import update_key_file, new_key_file
print("ready", flush=True)
for _ in range(int(sys.argv[2])):
    update_key_file(sys.argv[1], with_one_more)
"""


def updating(path: str, count: int, **settings: Any) -> subprocess.Popen[str]:
    """Return a process that adds keys to a file."""
    command = [sys.executable, "-c", _UPDATES, path, str(count)]
    root = Path(__file__).parents[2]
    return subprocess.Popen(
        command,
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        **settings,
    )


@pytest.mark.slow
def test_a_real_limit_of_the_system_leaves_the_old_file(path: str, tmp_path: Path) -> None:
    limit = os.stat(path).st_size + 10
    with updating(path, 1, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))) as process:
        _, errors = process.communicate()
    assert errors.splitlines()[-1] == f"trionet.errors.ConfigError: {path}: {os.strerror(errno.EFBIG)}"
    assert read_key_file(path) == CONTENT
    assert sorted(os.listdir(tmp_path)) == [".cluster.key.lock", "cluster.key"]


@pytest.mark.slow
@pytest.mark.skipif(not IS_ROOT or sys.platform != "linux", reason="only root can mount")
def test_a_file_system_that_is_full_leaves_the_old_file(tmp_path: Path) -> None:
    mount = ["mount", "-t", "tmpfs", "-o", "size=16k,mode=700", "tmpfs", str(tmp_path)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting is not permitted here")
    try:
        path = str(tmp_path / "cluster.key")
        new_key_file(path, KEY)
        update_key_file(path, with_one_more)
        entries = read_key_file(path)
        with contextlib.suppress(OSError), (tmp_path / "ballast").open("wb", buffering=0) as ballast:
            while ballast.write(b"x" * 512):
                pass
        assert "No space left" in refusal_of(lambda: update_key_file(path, with_one_more))
        assert read_key_file(path) == entries
        assert "No space left" in refusal_of(lambda: new_key_file(f"{path}2", KEY))
        assert not os.path.exists(f"{path}2")
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


@pytest.mark.slow
def test_a_process_that_is_killed_leaves_a_whole_file(path: str) -> None:
    count = 1
    for delay in range(3):
        with updating(path, 10_000) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            target = count + 3 + delay
            while count < target:  # each time the file is whole
                count = len(read_key_file(path).entries)
            process.kill()
        count = len(read_key_file(path).entries)
    assert update_key_file(path, with_one_more) == read_key_file(path)
    assert not os.path.exists(Path(path).parent / ".cluster.key.tmp")


@pytest.mark.slow
def test_processes_and_threads_never_lose_each_others_changes(path: str) -> None:
    processes = [updating(path, 15) for _ in range(2)]
    threads = [
        threading.Thread(target=lambda: [update_key_file(path, with_one_more) for _ in range(15)]) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for process in processes:
        assert process.communicate()[1] == ""
    assert len(read_key_file(path).entries) == 61


def test_a_lock_that_a_stopped_process_keeps_is_an_error(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_file, "_LOCK_S", 0.05)
    update_key_file(path, with_one_more)
    other = os.open(os.path.join(os.path.dirname(path), ".cluster.key.lock"), os.O_RDWR)
    try:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert "another process has held the lock" in refusal_of(partial(update_key_file, path, with_one_more))
    finally:
        os.close(other)


def test_a_child_that_was_forked_during_an_update_holds_no_lock(path: str) -> None:
    children = []

    def fork(content: KeyFile) -> KeyFile:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(writing)
            os.read(reading, 1)  # until the parent closes its end
            os._exit(0)
        os.close(reading)
        children.append((child, writing))
        return content

    update_key_file(path, fork)
    update_key_file(path, with_one_more)
    for child, writing in children:
        os.close(writing)
        os.waitpid(child, 0)
    assert len(read_key_file(path).entries) == 2


def test_what_a_crash_left_is_removed_by_the_next_update(path: str, tmp_path: Path) -> None:
    (tmp_path / ".cluster.key.tmp").write_text("half a ke")
    update_key_file(path, with_one_more)
    assert sorted(os.listdir(tmp_path)) == [".cluster.key.lock", "cluster.key"]


def test_nothing_is_written_through_a_link_that_somebody_put_beside_the_file(path: str, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("dear")
    (tmp_path / ".cluster.key.tmp").symlink_to(victim)
    update_key_file(path, with_one_more)
    (tmp_path / ".cluster.key.lock").unlink()
    (tmp_path / ".cluster.key.lock").symlink_to(victim)
    refusal_of(lambda: update_key_file(path, with_one_more))
    assert victim.read_text() == "dear"


def test_the_key_in_the_environment_is_deleted_once_read() -> None:
    environment = {"TRIONET_KEY": TEXT, "OTHER": "1"}
    assert take_environment_key(environment) == KEY
    assert environment == {"OTHER": "1"}
    assert take_environment_key(environment) is None


@pytest.mark.parametrize("text", ["", "hunter2", f"{TEXT}\n", f" {TEXT}", TEXT[:-1], f'"{TEXT}"', "caf\udce9"])
def test_a_wrong_key_in_the_environment_is_refused_and_deleted(text: str) -> None:
    environment = {"TRIONET_KEY": text}
    assert refusal_of(lambda: take_environment_key(environment)).startswith("TRIONET_KEY: a key ")
    assert environment == {}


def test_no_child_process_inherits_the_key() -> None:
    program = (
        "import os, subprocess, sys\n"
        "from trionet.security.key_file import read_keys\n"
        "print(len(read_keys().entries), flush=True)\n"
        "subprocess.run([sys.executable, '-c', 'import os; print(os.environ.get(\"TRIONET_KEY\"))'])\n"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TRIONET_")}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment | {"TRIONET_KEY": TEXT},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "1\nNone\n"


def test_keys_come_from_a_file_or_from_the_environment_and_never_from_both(path: str) -> None:
    assert read_keys(None, {}) is None
    assert read_keys(path, {}) == CONTENT
    assert read_keys(None, {"TRIONET_KEY_FILE": path}) == CONTENT
    assert read_keys(path, {"TRIONET_KEY_FILE": "/nowhere"}) == CONTENT
    assert read_keys(None, {"TRIONET_KEY": TEXT}) == CONTENT
    for given, variables in ((path, {}), (None, {"TRIONET_KEY_FILE": path})):
        environment = {"TRIONET_KEY": TEXT, **variables}
        assert "unset TRIONET_KEY" in refusal_of(partial(read_keys, given, environment))
        assert "TRIONET_KEY" not in environment
    assert "TRIONET_KEY_FILE" not in refusal_of(lambda: read_keys("/nowhere", {}))


def test_the_environment_of_the_process_is_the_default(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIONET_KEY", TEXT)
    keys = read_keys()
    assert keys is not None
    assert keys.sealing_key == KEY
    assert "TRIONET_KEY" not in os.environ
