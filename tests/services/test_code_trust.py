"""What a node reads of code that it is sent: only from those it knows, and only if it says so."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from tests.security.keys import key_of
from trionet import CodeRefused, NodeAddress, NodeConfig
from trionet.launchers import run_secret as run_secrets
from trionet.launchers.run_secret import RunSecret
from trionet.security.key_entries import KeyFile
from trionet.security.live_keys import LiveKeys
from trionet.security.node_keys import NodeKeys
from trionet.services.code_trust import CodeTrust

if TYPE_CHECKING:
    from pathlib import Path

    from trionet.security.code_stamps import SentCode

OWN = NodeAddress("127.0.0.1", 8080)
PUT = "routes/put"


class _Clock:
    """Fulfils as much of `Clock` as code needs."""

    def __init__(self) -> None:
        self.now_ms = 10**12

    def wall_ms(self) -> int:
        return self.now_ms


@pytest.fixture
def clock() -> _Clock:
    return _Clock()


def _keys(number: int, cluster: str = "trionet") -> NodeKeys:
    return NodeKeys(KeyFile.of(key_of(number)), cluster)


def _trust(
    clock: _Clock, keys: NodeKeys | None = None, *, trust_code: bool = True, cluster: str = "trionet"
) -> CodeTrust:
    config = NodeConfig(trust_code=trust_code, cluster=cluster)
    return CodeTrust(OWN, config, LiveKeys(keys), clock)  # type: ignore[arg-type]  # no more of it is used


class _Mark:
    """Leaves a mark where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self._path),)


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    return tmp_path / "mark"


def test_code_of_the_same_run_is_read(clock: _Clock) -> None:
    assert _trust(clock).received(_trust(clock).sent(lambda: 5, PUT), PUT)() == 5


@pytest.mark.parametrize("value", [None, 5, "a.b:C", [1], len], ids=str)
def test_what_is_not_code_is_returned_as_it_is(clock: _Clock, value: Any) -> None:
    assert _trust(clock, trust_code=False).received(value, PUT) is value


def test_code_of_a_holder_of_the_key_is_read(clock: _Clock) -> None:
    assert _trust(clock, _keys(1)).received(_trust(clock, _keys(1)).sent(len, PUT), PUT) is len


def test_without_trust_nothing_is_read_whoever_sends_it(clock: _Clock, mark: Path) -> None:
    receiver = _trust(clock, _keys(1), trust_code=False)
    with pytest.raises(CodeRefused, match=r"trust_code is False\."):
        receiver.received(_trust(clock, _keys(1)).sent(_Mark(mark), PUT), PUT)
    assert not mark.exists()
    assert receiver.refused == 1


@pytest.mark.parametrize(
    ("sender", "receiver"),
    [((1, "trionet"), (2, "trionet")), ((1, "trionet"), (1, "town")), (None, (1, "trionet")), ((1, "trionet"), None)],
    ids=["another key", "another cluster", "a plain node", "to a plain node"],
)
def test_nothing_is_read_of_one_who_is_not_known(
    clock: _Clock, mark: Path, sender: tuple[int, str] | None, receiver: tuple[int, str] | None
) -> None:
    code = _trust(clock, sender and _keys(*sender)).sent(_Mark(mark), PUT)
    with pytest.raises(CodeRefused, match=r"Here the sender has not proven that\."):
        _trust(clock, receiver and _keys(*receiver)).received(code, PUT)
    assert not mark.exists()


def test_nothing_is_read_of_another_run(clock: _Clock, mark: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = _trust(clock).sent(_Mark(mark), PUT)
    monkeypatch.setattr(run_secrets, "_of_process", [RunSecret(bytes(32))])
    with pytest.raises(CodeRefused, match="trust_code=True and the sender holds the key"):
        _trust(clock).received(code, PUT)
    assert not mark.exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"pickle": b""},
        {"pickle": 5},
        {"pickle": "text"},
        {"what": 5},
        {"what": "len"},
        {"key_id": b"abcd"},
        {"key_id": None},
        {"nonce": b""},
        {"nonce": b"0" * 24},
        {"stamp": b""},
        {"stamp": None},
    ],
    ids=str,
)
def test_nothing_is_read_that_is_malformed(clock: _Clock, mark: Path, changes: dict[str, Any]) -> None:
    code = msgspec.structs.replace(_trust(clock).sent(_Mark(mark), PUT), **changes)
    with pytest.raises(CodeRefused):
        _trust(clock).received(code, PUT)
    assert not mark.exists()


def _again(receiver: CodeTrust, code: SentCode) -> None:
    receiver.received(code, PUT)
    receiver.received(code, PUT)


def test_code_is_read_once(clock: _Clock) -> None:
    with pytest.raises(CodeRefused, match="the code was replayed"):
        _again(_trust(clock), _trust(clock).sent(len, PUT))


@pytest.mark.parametrize(("later_ms", "reason"), [(61_000, "61.0 s old"), (-31_000, "31.0 s in the future")])
def test_code_is_read_for_a_minute(clock: _Clock, later_ms: int, reason: str) -> None:
    receiver = _trust(clock)
    code = _trust(clock).sent(len, PUT)
    clock.now_ms += later_ms
    with pytest.raises(CodeRefused, match=reason):
        receiver.received(code, PUT)


def test_code_from_before_the_start_of_its_receiver_is_refused(clock: _Clock) -> None:
    code = _trust(clock).sent(len, PUT)
    clock.now_ms += 1
    with pytest.raises(CodeRefused, match="before this node's start"):
        _trust(clock).received(code, PUT)


def test_code_for_one_purpose_is_of_no_use_for_another(clock: _Clock) -> None:
    with pytest.raises(CodeRefused):
        _trust(clock).received(_trust(clock).sent(len, PUT), "groups/put")


def test_after_a_rotation_code_under_the_old_key_is_refused(clock: _Clock) -> None:
    live = LiveKeys(_keys(1))
    receiver = CodeTrust(OWN, NodeConfig(trust_code=True), live, clock)  # type: ignore[arg-type]  # no more is used
    assert receiver.received(_trust(clock, _keys(1)).sent(len, PUT), PUT) is len
    live.replace(_keys(2))
    with pytest.raises(CodeRefused):
        receiver.received(_trust(clock, _keys(1)).sent(len, PUT), PUT)
    assert receiver.received(_trust(clock, _keys(2)).sent(len, PUT), PUT) is len


@pytest.mark.parametrize("exc", [ValueError("no"), SystemExit(3), GeneratorExit()], ids=repr)
def test_what_reading_code_raises_is_a_refusal_and_no_end(clock: _Clock, exc: BaseException) -> None:
    class Broken:
        def __reduce__(self) -> Any:
            return _raise, (exc,)

    with pytest.raises(CodeRefused, match=type(exc).__name__):
        _trust(clock).received(_trust(clock).sent(Broken(), PUT), PUT)


def _raise(exc: BaseException) -> None:
    raise exc


def test_what_pickling_raises_names_the_object(clock: _Clock) -> None:
    class Stubborn:
        def __reduce__(self) -> Any:
            raise SystemExit("never")

        def __repr__(self) -> str:
            return "<Stubborn>"

    with pytest.raises(CodeRefused, match="<Stubborn> can't travel as code: SystemExit: never"):
        _trust(clock).sent(Stubborn(), PUT)


def test_without_the_package_the_error_says_what_to_install(clock: _Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    code = _trust(clock).sent(len, PUT)
    monkeypatch.setitem(sys.modules, "cloudpickle", None)
    with pytest.raises(CodeRefused, match=r"pip install 'trionet\[code\]'"):
        _trust(clock).sent(len, PUT)
    with pytest.raises(CodeRefused, match=r"pip install 'trionet\[code\]'"):
        _trust(clock).received(code, PUT)
