import copy
import inspect
import pickle
import re
from collections.abc import AsyncIterator

import msgspec
import pytest
import trio
import trio.testing

import trionet
from tests.test_values_in_calls import open_nodes
from trionet import (
    CallCancelled,
    CallTimeout,
    ConnectionLost,
    DecodeError,
    DefiniteError,
    EncodeError,
    GroupNotFound,
    IndefiniteError,
    KeyDoesNotExist,
    MalformedRequest,
    NotFound,
    OrphanedCalls,
    Remote,
    RemoteError,
    Replies,
    ServiceNotFound,
    TrionetError,
    UnexpectedAnswer,
    errors,
)
from trionet.codec import JSON, MESSAGEPACK, Codec
from trionet.error_wire import error_from_wire
from trionet.errors import error_to_wire
from trionet.user_errors import as_answer

ALL = [getattr(errors, name) for name in errors.__all__ if inspect.isclass(getattr(errors, name))]

FAMILIES = (TrionetError, DefiniteError, IndefiniteError)

NUMBERS = {
    "NodeUnreachable": 1,
    "KeyMismatch": 1,
    "NotFound": 10,
    "GroupNotFound": 10,
    "ServiceNotFound": 10,
    "MethodNotFound": 10,
    "TemporarilyUnavailable": 11,
    "MalformedRequest": 12,
    "EncodeError": 12,
    "DecodeError": 12,
    "UnknownKey": 12,
    "ConfigError": 12,
    "Abort": 14,
    "KeyDoesNotExist": 20,
    "KeyAlreadyExists": 21,
    "PreconditionFailed": 22,
    "TxnConflict": 30,
    "EmptyGroup": 1000,
    "SIDCollision": 1001,
    "MessageTooLarge": 1002,
    "CodeRefused": 1003,
    "AddressInUse": 1004,
    "SpawnError": 1005,
    "NotPermitted": 1006,
    "CallTimeout": 0,
    "RemoteError": 13,
    "ConnectionLost": 1100,
    "OrphanedCalls": 1101,
    "CallCancelled": 1102,
    "UnexpectedAnswer": 1103,
}

MAELSTROM = {
    0: False,
    1: True,
    10: True,
    11: True,
    12: True,
    13: False,
    14: True,
    20: True,
    21: True,
    22: True,
    30: True,
}
"""Whether its documentation calls the error of that number definite (doc/protocol.md, "Errors")."""


def test_every_error_is_of_exactly_one_family() -> None:
    for kind in set(ALL) - set(FAMILIES):
        assert issubclass(kind, TrionetError)
        assert issubclass(kind, DefiniteError) != issubclass(kind, IndefiniteError), kind


def test_an_error_that_may_have_happened_is_a_timeout_something_lost_or_the_handlers_own() -> None:
    assert {kind for kind in ALL if issubclass(kind, IndefiniteError)} == {
        IndefiniteError,
        CallCancelled,
        CallTimeout,
        ConnectionLost,
        OrphanedCalls,
        RemoteError,
        UnexpectedAnswer,
    }


def test_every_error_has_its_number() -> None:
    assert {kind.__name__: kind.code for kind in ALL if kind not in FAMILIES} == NUMBERS


def test_the_tree_in_the_docstring_is_the_tree_in_the_code() -> None:
    assert errors.__doc__ is not None
    tree = errors.__doc__.partition("::\n")[2].partition("\n\nThe numbers")[0]
    path: list[str] = []
    shown: dict[str, tuple[str, int | None]] = {}
    for line in filter(str.strip, tree.splitlines()):
        found = re.match(r"(?P<indent>[ │├└─]*)(?P<name>\w+)(?:\s+(?P<code>\d+)\b)?", line)
        assert found is not None, line
        depth = (len(found["indent"]) - 4) // 4
        path[depth:] = [found["name"]]
        shown[found["name"]] = (
            path[depth - 1] if depth else "Exception",
            int(found["code"]) if found["code"] else None,
        )
    for kind in ALL:
        parent, code = shown.pop(kind.__name__)
        assert kind.__base__ is not None
        assert kind.__base__.__name__ == parent
        assert code is None or code == kind.code
    assert not shown


def test_every_error_can_be_imported_from_the_package() -> None:
    for kind in ALL:
        assert getattr(trionet, kind.__name__) is kind
        assert kind.__name__ in trionet.__all__


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("codec", [JSON, MESSAGEPACK], ids=["json", "messagepack"])
def test_every_error_travels_with_its_type_text_node_and_fields(kind: type[TrionetError], codec: Codec) -> None:
    error = kind("what happened", **{field: f"the {field}" for field in kind.fields})
    error.node = "127.0.0.1:8080"
    back = codec.decode(codec.encode(error))
    assert type(back) is kind
    assert (back.text, back.node, back.code) == ("what happened", "127.0.0.1:8080", kind.code)
    assert all(getattr(back, field) == f"the {field}" for field in kind.fields)
    assert back == error


def test_the_wire_form_has_the_number_the_name_and_the_text() -> None:
    assert error_to_wire(GroupNotFound("no such group")) == {
        "code": 10,
        "name": "GroupNotFound",
        "text": "no such group",
    }
    assert error_to_wire(EncodeError("no", path="$[0]"))["path"] == "$[0]"


def test_a_users_subclass_travels_as_the_nearest_type_that_everyone_knows() -> None:
    class NoSuchShelf(ServiceNotFound):
        pass

    assert error_to_wire(NoSuchShelf("no shelf"))["name"] == "ServiceNotFound"
    assert type(error_from_wire(error_to_wire(NoSuchShelf("no shelf")))) is ServiceNotFound


@pytest.mark.parametrize(("code", "is_definite"), MAELSTROM.items())
def test_an_error_without_a_name_is_found_by_maelstroms_number(code: int, is_definite: bool) -> None:
    error = error_from_wire({"code": code, "text": "from another language"})
    assert error.code == code
    assert isinstance(error, DefiniteError) is is_definite
    assert isinstance(error, IndefiniteError) is not is_definite


@pytest.mark.parametrize("code", [1000, 1001, 9999, 99, -1])
def test_an_unknown_number_is_indefinite(code: int) -> None:
    assert type(error_from_wire({"code": code, "text": "?"})) is IndefiniteError


def test_an_unknown_name_falls_back_to_the_number() -> None:
    assert type(error_from_wire({"code": 20, "name": "OutOfStock", "text": "?"})) is KeyDoesNotExist


@pytest.mark.parametrize(
    "wire",
    [
        {},
        {"text": "no number"},
        {"code": "10", "text": "no number"},
        {"code": 10, "text": 5},
        {"code": 10, "text": "?", "node": 5},
        {"code": None},
    ],
)
def test_what_describes_no_error_is_refused(wire: dict[str, object]) -> None:
    with pytest.raises(DecodeError):
        error_from_wire(wire)


def test_an_error_shows_its_text_and_the_node_where_it_arose() -> None:
    error = GroupNotFound("there is no group 'x'")
    assert str(error) == "there is no group 'x'"
    error.node = "127.0.0.1:8080"
    assert str(error) == "there is no group 'x' (at 127.0.0.1:8080)"


def test_not_found_is_a_key_error_and_malformed_a_value_error() -> None:
    assert issubclass(NotFound, KeyError)
    assert issubclass(MalformedRequest, ValueError)


def test_errors_that_would_look_the_same_on_the_wire_are_equal() -> None:
    assert CallTimeout("late") == CallTimeout("late")
    assert hash(CallTimeout("late")) == hash(CallTimeout("late"))
    assert CallTimeout("late") != CallTimeout("later")
    assert CallTimeout("late") != ConnectionLost("late")
    assert CallTimeout("late") != "late"
    at_node = CallTimeout("late")
    at_node.node = "127.0.0.1:8080"
    assert at_node != CallTimeout("late")


def test_an_error_takes_no_details_that_its_type_does_not_have() -> None:
    with pytest.raises(TypeError, match="'path'"):
        CallTimeout("late", path="$")


class OutOfStockError(Exception):
    pass


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


def _raised(exc: BaseException) -> BaseException:
    try:
        raise exc
    except BaseException as caught:
        return caught


def test_a_remote_error_tells_the_type_the_message_and_the_traceback() -> None:
    error = RemoteError.from_exception(_raised(ValueError("not a number")))
    assert error.type_name == "ValueError"
    assert error.message == "not a number"
    assert error.text == "ValueError: not a number"
    assert "in _raised" in error.traceback
    assert error.traceback.endswith("ValueError: not a number\n")


def test_a_type_that_is_not_pythons_own_is_named_with_its_module() -> None:
    error = RemoteError.from_exception(OutOfStockError())
    assert error.type_name == f"{__name__}.OutOfStockError"
    assert error.text == error.type_name
    assert error.message == ""


def test_an_exception_group_is_told_with_all_its_leaves() -> None:
    error = RemoteError.from_exception(ExceptionGroup("two", [ValueError("one"), KeyError("other")]))
    assert error.type_name == "ExceptionGroup"
    assert "ValueError: one" in error.traceback
    assert "KeyError: 'other'" in error.traceback


def test_an_exception_that_cannot_be_shown_is_told_all_the_same() -> None:
    error = RemoteError.from_exception(_raised(UnprintableError()))
    assert error.type_name == f"{__name__}.UnprintableError"
    assert "could not be made" in error.message


def test_a_text_that_is_no_unicode_travels_escaped() -> None:
    error = RemoteError.from_exception(ValueError("\ud800"))
    assert error.message == r"\ud800"
    assert JSON.decode(JSON.encode(error)) == error
    assert error_to_wire(CallTimeout("\ud800"))["text"] == r"\ud800"


def test_a_long_text_is_cut_and_its_end_kept() -> None:
    error = RemoteError.from_exception(ValueError(100_000 * "x" + "end"))
    assert len(error.message) == 16_384
    assert error.message.endswith("xend")
    assert len(error.traceback) == 16_384
    assert len(error_to_wire(error)["text"]) == 16_384


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_every_error_can_be_made_with_its_node_and_copied_and_pickled(kind: type[TrionetError]) -> None:
    error = kind("what happened", node="127.0.0.1:8080", **{field: f"the {field}" for field in kind.fields})
    assert error.node == "127.0.0.1:8080"
    assert str(error) == "what happened (at 127.0.0.1:8080)"
    for again in (copy.copy(error), copy.deepcopy(error), pickle.loads(pickle.dumps(error))):
        assert (type(again), again, str(again), again.args) == (kind, error, str(error), error.args)


def test_equal_errors_have_one_hash_whatever_is_in_them() -> None:
    one, other = CallTimeout("caf\udce9"), CallTimeout("caf\\udce9")
    assert one == other
    assert hash(one) == hash(other)
    assert hash(EncodeError("x", path=[])) == hash(EncodeError("x", path=[]))


class Hostile:
    def __str__(self) -> str:
        raise RuntimeError("no words")

    __repr__ = __str__


class NoWords(TrionetError):
    """A user's, whose constructor does not call ours."""

    code = "none"  # type: ignore[assignment]  # wrong on purpose
    fields = ("code", "shelf", "broken", 5)  # type: ignore[assignment]  # likewise

    def __init__(self) -> None:
        self.shelf = {1, 2}

    def __str__(self) -> str:
        raise RuntimeError("no words")

    @property
    def broken(self) -> str:
        raise RuntimeError("no words")


class OutOfStock(DefiniteError):
    """A user's, with a field that can travel."""

    code = 2000
    fields = ("shelf",)

    def __str__(self) -> str:
        raise RuntimeError("no words")


DEEP: list[object] = []
for _ in range(1000):
    DEEP = [DEEP]

UNTRAVELLABLE: list[TrionetError] = [
    EncodeError("a name", path="caf\udce9"),
    EncodeError("a set", path={1, 2}),
    EncodeError("an object", path=Hostile()),
    EncodeError("a large number", path=2**70),
    EncodeError("no number", path=float("nan")),
    EncodeError("code", path=len),
    EncodeError("deep", path=DEEP),
    EncodeError("huge", path="x" * 20_000_000),
    OrphanedCalls("a type", calls={"a": set}),
    OrphanedCalls("keys", calls={1: "a", (2,): "b", "caf\udce9": "c"}),
    OrphanedCalls("many", calls={f"{number}": "x" * 100 for number in range(100_000)}),
    RemoteError("fields", type_name=5, message=b"x", traceback=Hostile()),
    NoWords(),
    CallTimeout(Hostile()),  # type: ignore[arg-type]  # wrong on purpose
    CallTimeout(b"bytes"),  # type: ignore[arg-type]  # likewise
]


@pytest.mark.parametrize("error", UNTRAVELLABLE, ids=lambda error: type(error).__name__)
def test_what_an_error_looks_like_on_the_wire_can_be_encoded_whatever_is_in_it(error: TrionetError) -> None:
    wire = error_to_wire(error)
    for encode, decode in (
        (msgspec.json.encode, msgspec.json.decode),
        (msgspec.msgpack.encode, msgspec.msgpack.decode),
    ):
        assert decode(encode(wire)) == wire
        assert len(encode(wire)) < 4_000_000
    assert isinstance(error_from_wire(wire), TrionetError)
    assert error_to_wire(as_answer(as_answer(error))) == error_to_wire(as_answer(error))


@pytest.mark.parametrize("error", [*UNTRAVELLABLE, OutOfStock("none", shelf="top")], ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("transport", ["http", "link", "memory", "self"])
async def test_an_error_that_cannot_travel_is_its_callers_alone(transport: str, error: TrionetError) -> None:
    def fail() -> None:
        raise error

    async def stream() -> AsyncIterator[int]:
        yield 1
        raise error

    with trio.fail_after(60):
        async with open_nodes("link" if transport == "self" else transport) as (one, two):
            other = one if transport == "self" else two
            release = trio.Event()

            async def wait() -> str:
                await release.wait()
                return "done"

            await other.local.routes.put({"fail": fail, "wait": wait, "stream": stream}, "s")

            def to(method: str) -> Remote:
                return Remote(node=other.address, service="s", method=method)

            async def ask_waiting() -> None:
                assert await one.local.comm.send([], to("wait")) == "done"

            expected = type(as_answer(error))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask_waiting)
                await trio.testing.wait_all_tasks_blocked(0.01)
                with pytest.raises(expected):
                    await one.local.comm.send([], to("fail"))
                async with one.local.comm.stream([], to("stream")) as items:
                    assert await anext(items) == 1
                    with pytest.raises(expected):
                        await anext(items)
                release.set()


def test_an_error_with_plain_fields_is_its_own_answer_and_one_with_others_a_remote_error() -> None:
    plain = EncodeError("odd", path="$[0]")
    assert as_answer(plain) is plain
    stock = as_answer(OutOfStock("none", shelf="top"))
    assert (type(stock), stock.text) == (DefiniteError, "none")
    remote = as_answer(EncodeError("a name", path="caf\udce9"))
    assert type(remote) is RemoteError
    assert (remote.type_name, remote.message) == ("trionet.errors.EncodeError", "a name")


@pytest.mark.parametrize("codec", [JSON, MESSAGEPACK], ids=["json", "messagepack"])
def test_an_error_inside_a_value_travels_or_is_an_encode_error(codec: Codec) -> None:
    for error in UNTRAVELLABLE:
        value: object
        for value in ([error], Replies[object]({}, {"a": error})):
            try:
                encoded = codec.encode(value)
            except EncodeError:
                continue
            assert codec.decode(encoded) == codec.decode(codec.encode(codec.decode(encoded)))
