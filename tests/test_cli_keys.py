"""``trionet keys`` as a person sees it: always a process of its own."""

from __future__ import annotations

import contextlib
import io
import os
import re
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.node_processes import ROOT, clean_environment
from trionet.cli.keys import main
from trionet.security.key_file import read_key_file
from trionet.security.keys import derive
from trionet.security.token_scope import Scope
from trionet.security.tokens import Token, TokenVerifier

KEY_MATERIAL = re.compile(r"[A-Za-z0-9_-]{40}")


@pytest.fixture
def path(tmp_path: Path) -> str:
    """The path of a key file that the command has made."""
    path = str(tmp_path / "cluster.key")
    assert run("new", path)[0] == 0
    return path


def run(*arguments: str, **environment: str) -> tuple[object, str, str]:
    """Run the command in this process, which is faster; return the exit status and the output."""
    output, errors = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(errors),
    ):
        for name in [name for name in os.environ if name.startswith("TRIONET_")]:
            patch.delenv(name)
        for name, value in environment.items():
            patch.setenv(name, value)
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
    return ended.value.code, output.getvalue(), errors.getvalue()


def said(text: str, path: str, cluster: str = "trionet", needed: Scope = Scope.READ) -> Token:
    """Return what a printed token says."""
    keys = derive(read_key_file(path).sealing_key, cluster)
    return TokenVerifier(cluster, {keys.key_id: keys}).verify(text.rstrip("\n"), time.time(), needed)


def refused(*arguments: str, **environment: str) -> str:
    """Return the one line with which the command refuses; it shows no key."""
    status, output, errors = run(*arguments, **environment)
    assert (status, output, errors.count("\n")) == (2, "", 1), errors
    assert KEY_MATERIAL.search(errors) is None
    return errors


@pytest.mark.slow
def test_the_commands_work_as_processes(tmp_path: Path) -> None:
    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "trionet", "keys", *arguments],
            cwd=tmp_path,
            env=clean_environment() | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )

    made = command("new", "cluster.key")
    path = str(tmp_path / "cluster.key")
    assert (made.returncode, made.stderr) == (0, "")
    assert made.stdout == f"{read_key_file(path).sealing_key.name}\n"
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    token = command("token", "--key-file", "cluster.key", "--scope", "read")
    assert (token.returncode, token.stderr) == (0, "")
    assert said(token.stdout, path).scope is Scope.READ
    again = command("new", "cluster.key")
    assert (again.returncode, again.stdout) == (2, "")
    assert again.stderr == (
        "trionet keys new: cluster.key exists already, and may hold the only copy of a key: give another name\n"
    )


def test_a_new_key_is_never_printed_and_each_is_another(tmp_path: Path) -> None:
    names = set()
    for number in range(5):
        status, output, errors = run("new", str(tmp_path / f"{number}.key"))
        assert (status, errors) == (0, "")
        assert re.fullmatch(r"[0-9a-f]{8}\n", output)
        names.add(output)
    assert len(names) == 5


def test_a_token_has_the_scope_the_life_and_the_cluster_that_were_asked_for(path: str) -> None:
    for scope in Scope:
        _, output, _ = run("token", "--key-file", path, "--scope", scope.name.lower())
        token = said(output, path)
        assert (token.scope, token.expires_s - token.issued_s) == (scope, 24 * 3600)
    _, output, _ = run("token", "--key-file", path, "--scope", "read", "--expires", "90", "--cluster", "shop")
    token = said(output, path, "shop")
    assert (token.cluster, token.expires_s - token.issued_s) == ("shop", 90)


def test_the_key_and_the_cluster_may_come_from_the_environment(path: str) -> None:
    text = Path(path).read_text(encoding="ascii").rstrip("\n")
    for environment in ({"TRIONET_KEY": text}, {"TRIONET_KEY_FILE": path}):
        _, output, _ = run("token", "--scope", "call", **environment, TRIONET_CLUSTER="shop")
        assert said(output, path, "shop").scope is Scope.CALL


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "required: COMMAND"),
        (["old"], "invalid choice: 'old'"),
        (["new"], "required: FILE"),
        (["new", ""], "a key file is given by its path"),
        (["new", "a", "b"], "unrecognized arguments: b"),
        (["new", "/nowhere/cluster.key"], "/nowhere/cluster.key: there is no such folder"),
        (["new", "/"], "exists already"),
        (["token", "--key-file", "PATH"], "required: --scope"),
        (["token", "--scope", "read"], "--key-file FILE"),
        (["token", "--key-file", "/nowhere", "--scope", "read"], "make a key with: trionet keys new FILE"),
        (["token", "--key-file", "PATH", "--scope", "root"], "a scope is read, call or admin"),
        (["token", "--key-file", "PATH", "--scope", "READ"], "a scope is read, call or admin"),
        (["token", "--key-file", "PATH", "--scope", "read", "--expires", "0"], "valid for 1 to 31536000 seconds"),
        (["token", "--key-file", "PATH", "--scope", "read", "--expires", "1e9"], "valid for 1 to 31536000 seconds"),
        (["token", "--key-file", "PATH", "--scope", "read", "--expires", "nan"], "valid for 1 to 31536000 seconds"),
        (["token", "--key-file", "PATH", "--scope", "read", "--expires", "1d"], "--expires is a number of seconds"),
        (["token", "--key-file", "PATH", "--scope", "read", "--cluster", "Shop"], "cluster is a name of 1 to 63"),
        (["token", "--key-file", "KEY", "--scope", "read"], "one of the arguments is a key"),
        (["new", "KEY"], "one of the arguments is a key"),
        (["KEY"], "one of the arguments is a key"),
        (["token", "--key-file", "PATH", "--scope", "read", "--cluster=KEY"], "one of the arguments is a key"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2_and_never_quotes_a_key(
    path: str, arguments: list[str], reason: str
) -> None:
    text = Path(path).read_text(encoding="ascii").rstrip("\n")
    assert reason in refused(*(each.replace("PATH", path).replace("KEY", text) for each in arguments))


def test_a_wrong_file_or_variable_is_status_2(path: str) -> None:
    text = Path(path).read_text(encoding="ascii").rstrip("\n")
    ask = ("token", "--scope", "read")
    assert "unset TRIONET_KEY" in refused(*ask, "--key-file", path, TRIONET_KEY=text)
    assert "TRIONET_KEY: a key" in refused(*ask, TRIONET_KEY=text[:-1])
    os.chmod(path, 0o644)
    assert "has mode 0644" in refused(*ask, "--key-file", path)
    os.chmod(path, 0o600)
    Path(path).write_text(f"{text[:-1]}\n", encoding="ascii")
    assert "line 1: a key has 48 characters" in refused(*ask, "--key-file", path)
