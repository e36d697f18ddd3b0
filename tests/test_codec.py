"""What travels comes back as it was; what doesn't is refused; and no bytes whatever do harm."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import json
import math
import random
import sys
import uuid
import zoneinfo
from collections import Counter as Tally
from collections import OrderedDict, defaultdict, deque, namedtuple
from decimal import Decimal
from fractions import Fraction
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.travelling import ERROR_TYPES, Mixed, Parcel, Point, Shelf, is_same, values
from trionet import (
    Aggregate,
    CallTimeout,
    DecodeError,
    DefiniteError,
    EncodeError,
    MalformedRequest,
    NodeAddress,
    NodeConfig,
    Remote,
    RemoteError,
    Replies,
    TrionetError,
    register_type,
)
from trionet import codec as codec_module
from trionet.codec import JSON, MAX_DEPTH, MESSAGEPACK, Codec
from trionet.errors import error_to_wire
from trionet.raising import TAGS as TAGS_BY_NAME

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = NodeAddress("127.0.0.1", 8080)
NOON = datetime.datetime(2026, 11, 20, 12, tzinfo=datetime.UTC)

TAGS = [*TAGS_BY_NAME, "$", "$unknown"]

both = pytest.mark.parametrize("codec", [JSON, MESSAGEPACK], ids=["json", "messagepack"])
thorough = settings(suppress_health_check=[HealthCheck.data_too_large])


# ---------------------------------------------------------------------------------------------------------- round trips


@pytest.mark.slow
@both
@thorough
@given(value=values)
@example({math.nan: 1, float("nan"): 2})
@example({1: "int", "1": "str", 1.5: "float", None: "none", (): "tuple"})
@example([0.0, -0.0, 1, 1.0, True, "", b"", (), [], {}, set(), frozenset()])
@example({"$int": "0x1"})
@example({"$": {"$map": [[1, 2]]}, "$bytes": "aGk="})
def test_what_travels_comes_back_equal_with_equal_types_all_the_way_down(codec: Codec, value: Any) -> None:
    assert is_same(codec.decode(codec.encode(value)), value)


@both
def test_an_int_of_thousands_of_digits_comes_back(codec: Codec) -> None:
    limit = sys.get_int_max_str_digits()
    for value in (10 ** (2 * limit), -(10 ** (2 * limit)), 2**64, -(2**64)):
        assert codec.decode(codec.encode(value)) == value


@both
def test_nan_infinity_and_negative_zero_come_back(codec: Codec) -> None:
    values = codec.decode(codec.encode([math.nan, math.inf, -math.inf, -0.0]))
    assert math.isnan(values[0])
    assert values[1:] == [math.inf, -math.inf, 0.0]
    assert math.copysign(1, values[3]) == -1


@both
def test_two_keys_that_are_nan_stay_two(codec: Codec) -> None:
    assert len(codec.decode(codec.encode({float("nan"): 1, float("nan"): 2}))) == 2
    assert len(codec.decode(codec.encode({float("nan"), float("nan")}))) == 2


@both
def test_keys_that_differ_by_type_alone_are_told_apart(codec: Codec) -> None:
    value = {
        1: "int",
        "1": "str",
        b"1": "bytes",
        (1,): "tuple",
        frozenset({1}): "frozenset",
        1.5: "float",
        None: "none",
    }
    assert is_same(codec.decode(codec.encode(value)), value)
    assert is_same(codec.decode(codec.encode({True: "bool"})), {True: "bool"})


@both
def test_a_dict_keeps_its_order(codec: Codec) -> None:
    for value in ({"b": 1, "a": 2}, {2: "b", 1: "a"}, {"$b": 1, "a": 2}):
        assert list(codec.decode(codec.encode(value))) == list(value)


@both
@pytest.mark.parametrize("tag", TAGS)
def test_a_dict_that_looks_like_a_tag_comes_back(codec: Codec, tag: str) -> None:
    for content in ("aGk=", [1, 2], {}, None, {tag: [1]}):
        value = {tag: content}
        assert is_same(codec.decode(codec.encode(value)), value)


@both
@pytest.mark.parametrize("kind", ERROR_TYPES)
def test_each_error_type_comes_back(codec: Codec, kind: type[TrionetError]) -> None:
    error = kind("why", **{name: f"the {name}" for name in kind.fields})
    error.node = "10.0.0.1:80"
    back = codec.decode(codec.encode(error))
    assert type(back) is kind
    assert (back.text, back.node, back.code, str(back)) == (error.text, error.node, error.code, str(error))
    assert {name: getattr(back, name) for name in kind.fields} == {name: f"the {name}" for name in kind.fields}


@both
def test_the_text_of_an_error_is_made_to_travel_whatever_is_in_it(codec: Codec) -> None:
    back = codec.decode(codec.encode(CallTimeout("half a pair: \ud83d, and long: " + "\udc00" * 20_000 + "end")))
    assert back.text.endswith("\\udc00end")
    assert len(back.text) <= 16_384
    assert codec.decode(codec.encode(back)) == back


@both
def test_a_remote_error_of_an_exception_with_a_hostile_text_comes_back(codec: Codec) -> None:
    class Hostile(Exception):
        def __str__(self) -> str:
            raise ValueError("no text")

    for exc in (Hostile(), ValueError("\ud800"), ExceptionGroup("several", [ValueError("x" * 100_000)])):
        error = RemoteError.from_exception(exc)
        back = codec.decode(codec.encode(error))
        assert is_same(back, error)
        assert len(back.traceback) <= 16_384


@both
def test_a_datetime_keeps_its_offset_to_the_microsecond(codec: Codec) -> None:
    odd = datetime.timezone(-datetime.timedelta(hours=3, minutes=2, seconds=1, microseconds=7))
    for value in (NOON, NOON.replace(tzinfo=None), NOON.astimezone(odd), datetime.datetime.max, datetime.datetime.min):
        back = codec.decode(codec.encode(value))
        assert back == value
        assert back.utcoffset() == value.utcoffset()


@both
def test_a_datetime_keeps_its_fold(codec: Codec) -> None:
    berlin = zoneinfo.ZoneInfo("Europe/Berlin")
    for value in (
        NOON.replace(fold=1),
        NOON.replace(fold=1, tzinfo=None),
        datetime.datetime(2026, 7, 1, 12, tzinfo=berlin, fold=1),
    ):
        back = codec.decode(codec.encode(value))
        assert (back, back.fold, back.utcoffset()) == (value, 1, value.utcoffset())


@both
@pytest.mark.parametrize("fold", [0, 1])
def test_a_datetime_that_would_not_arrive_equal_is_refused(codec: Codec, fold: int) -> None:
    class Broken(datetime.tzinfo):
        def utcoffset(self, _: datetime.datetime | None) -> datetime.timedelta:
            raise RuntimeError("no clue")

        tzname = dst = utcoffset  # type: ignore[assignment]  # never asked

    berlin = zoneinfo.ZoneInfo("Europe/Berlin")
    for value in (
        datetime.datetime(2026, 10, 25, 2, 30, tzinfo=berlin, fold=fold),  # there are two of it
        datetime.datetime(2026, 3, 29, 2, 30, tzinfo=berlin, fold=fold),  # there is none
        datetime.datetime(2026, 3, 29, 2, 30, tzinfo=Broken(), fold=fold),
    ):
        with pytest.raises(EncodeError, match="time zone"):
            codec.encode([value])


@both
def test_a_value_that_cannot_be_read_is_refused_with_its_path(codec: Codec) -> None:
    shelf = Shelf(1)
    del shelf.items
    with pytest.raises(EncodeError, match=r"can't be read: AttributeError") as caught:
        codec.encode([shelf])
    assert caught.value.path == "$[0].items"
    with pytest.raises(EncodeError, match="no TrionetError"):
        codec.encode(Replies({}, {"a": 5}))  # type: ignore[dict-item]


@both
def test_the_librarys_own_types_come_back(codec: Codec) -> None:
    config = NodeConfig(port=80, on_start="tests.samples:note_node", services={"probe": "tests.samples:Probe"})
    remote = Remote(node=HERE, service="status", method="get", gid="browncs")
    for value in (config, remote, HERE, Replies({"b": 1}, {"a": CallTimeout("late")}), Aggregate(3, {"a": 3}, {})):
        assert is_same(codec.decode(codec.encode([value]))[0], value)


@both
def test_any_buffer_can_be_decoded(codec: Codec) -> None:
    data = codec.encode([1, "a"])
    assert codec.decode(bytearray(data)) == codec.decode(memoryview(data)) == [1, "a"]


@both
def test_a_value_may_nest_as_deep_as_the_limit_and_no_deeper(codec: Codec) -> None:
    wraps: list[Callable[[Any], Any]] = [
        Parcel,
        lambda value: [value],
        lambda value: (value,),
        lambda value: {"key": value},
        lambda value: {0.5: value},
        lambda value: frozenset([value]),
    ]
    for wrap in wraps:
        value: Any = "core"
        for _ in range(MAX_DEPTH):
            value = wrap(value)
        assert is_same(codec.decode(codec.encode(value)), value)
        with pytest.raises(EncodeError, match=f"nested more than {MAX_DEPTH} deep"):
            codec.encode(wrap(value))


# --------------------------------------------------------------------------------------------------- any bytes whatever


_documents = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.integers(min_value=-(2**300), max_value=2**300),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(),
        st.sampled_from(
            ["nan", "0x1f", "aGk=", "-0x", "2026-11-20T12:00:00+25:00", "test:shelf", "RemoteError", "0" * 32]
        ),
        st.sampled_from(["tests.travelling:Point", "trionet:NodeConfig", "trionet.message:Remote"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.text(), inner, max_size=4),
        st.dictionaries(st.sampled_from(TAGS), inner, min_size=1, max_size=1),
        st.dictionaries(
            st.sampled_from(["code", "name", "text", "node", "path", "values", "errors"]), inner, max_size=6
        ),
        st.dictionaries(st.sampled_from(["x", "y", "items", "label", "ip", "port", "service"]), inner, max_size=4),
    ),
    max_leaves=20,
)


def decode_and_judge(codec: Codec, data: bytes) -> None:
    """Decode, and check what came out; anything but a value or a `DecodeError` fails the test."""
    try:
        value = codec.decode(data)
    except DecodeError:
        return
    try:
        again = codec.encode(value)
    except EncodeError as exc:
        if "deep" not in exc.text:  # what others send may nest one deeper than what is sent
            raise
    else:
        assert is_same(codec.decode(again), value)


@both
@given(data=st.binary(max_size=200))
def test_random_bytes_give_a_value_or_a_decode_error(codec: Codec, data: bytes) -> None:
    decode_and_judge(codec, data)


@pytest.mark.slow
@thorough
@given(document=_documents)
def test_any_json_document_gives_a_value_or_a_decode_error(document: Any) -> None:
    decode_and_judge(JSON, json.dumps(document).encode())


@pytest.mark.slow
@thorough
@given(
    document=st.recursive(
        st.one_of(_documents, st.binary(), st.floats(), st.datetimes(timezones=st.just(datetime.UTC))),
        lambda inner: st.one_of(
            st.lists(inner, max_size=4),
            st.dictionaries(st.one_of(st.integers(), st.binary(), st.floats(), st.none()), inner, max_size=4),
            st.dictionaries(st.tuples(st.integers(), st.text()), inner, max_size=4),
            st.builds(msgspec.msgpack.Ext, st.integers(min_value=-128, max_value=127), st.binary()),
        ),
        max_leaves=10,
    )
)
def test_any_messagepack_document_gives_a_value_or_a_decode_error(document: Any) -> None:
    try:
        data = msgspec.msgpack.encode(document)
    except OverflowError:  # integers of more than 64 bits
        return
    decode_and_judge(MESSAGEPACK, data)


@pytest.mark.slow
@both
@thorough
@given(value=values, seed=st.integers(min_value=0, max_value=2**32))
def test_a_mutated_encoding_gives_a_value_or_a_decode_error(codec: Codec, value: Any, seed: int) -> None:
    data = bytearray(codec.encode(value))
    chance = random.Random(seed)
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(data) + 1)
        match chance.randrange(4):
            case 0 if place < len(data):
                data[place] = chance.randrange(256)
            case 1:
                del data[place : place + chance.randint(1, 8)]
            case 2:
                data[place:place] = chance.randbytes(chance.randint(1, 8))
            case _:
                data[place:place] = data[: chance.randint(0, 16)]
    decode_and_judge(codec, bytes(data))


@both
@pytest.mark.parametrize("size", [1_000, 100_000])
def test_deep_nesting_is_a_decode_error(codec: Codec, size: int) -> None:
    openings = {JSON: [b"[", b'{"a":', b'{"$tuple":['], MESSAGEPACK: [b"\x91", b"\x81\xa1a", b"\x81\xa6$tuple\x91"]}
    endings = {JSON: [b"]", b"}", b"]}"], MESSAGEPACK: [b"", b"", b""]}
    core = {JSON: b"1", MESSAGEPACK: b"\x01"}[codec]
    for opening, ending in zip(openings[codec], endings[codec], strict=True):
        with pytest.raises(DecodeError, match="nested"):
            codec.decode(opening * size + core + ending * size)


@pytest.mark.parametrize(
    "document",
    [
        "",
        "nonsense",
        "NaN",
        "[1,]",
        '"\\ud800"',
        "1e999",
        '{"$unknown": 1}',
        '{"$bytes": "a"}',
        '{"$bytes": 1}',
        '{"$float": "1.5"}',
        '{"$float": 1.5}',
        '{"$float": ["nan"]}',
        '{"$int": 5}',
        '{"$int": "five"}',
        '{"$tuple": {"a": 1}}',
        '{"$tuple": "ab"}',
        '{"$set": [[1]]}',
        '{"$frozenset": 5}',
        '{"$map": {"a": 1}}',
        '{"$map": [[1, 2, 3]]}',
        '{"$map": [1]}',
        '{"$map": [[[1], 2]]}',
        '{"$datetime": "yesterday"}',
        '{"$datetime": 5}',
        '{"$uuid": "123"}',
        '{"$uuid": null}',
        '{"$type": "test:shelf"}',
        '{"$type": ["no:such", {}]}',
        '{"$type": [["test:shelf"], {}]}',
        '{"$type": ["test:shelf", {}]}',
        '{"$type": ["test:shelf", {"items": 1, "colour": 2}]}',
        '{"$type": ["test:shelf", [1]]}',
        '{"$address": ["127.0.0.1", 65536]}',
        '{"$address": "127.0.0.1:80"}',
        '{"$error": "text"}',
        '{"$error": {}}',
        '{"$error": {"code": "1", "text": ""}}',
        '{"$error": {"code": 1, "text": 5}}',
        '{"$error": {"code": 1, "text": "", "node": 5}}',
        '{"$error": {"code": 12, "name": "EncodeError", "text": "", "path": {"$int": 1}}}',
        '{"$replies": {}}',
        '{"$replies": {"values": {}, "errors": {"a": 5}}}',
        '{"$replies": {"values": [], "errors": {}}}',
        '{"$replies": {"values": {}, "errors": {}, "more": 1}}',
        '{"$replies": {"values": {}, "errors": {}, "self": 1}}',
        '{"$replies": {"values": {}, "errors": {}, "id": "r", "wait": 1}}',
        '{"$replies": {"values": {}, "errors": {}, "id": "r", "value": 1}}',
        '{"$replies": {"values": {"$map": [["a", 1], [1, 1]]}, "errors": {}}}',
    ],
)
def test_json_that_is_no_value_is_a_decode_error(document: str) -> None:
    with pytest.raises(DecodeError):
        JSON.decode(document.encode())


def test_a_messagepack_extension_is_a_decode_error() -> None:
    for data in (b"\xd4\x05a", b"\x81\xa1a\xd4\x05a", b"\xc7\x00\x7f"):
        with pytest.raises(DecodeError):
            MESSAGEPACK.decode(data)


@both
def test_a_constructor_that_raises_makes_a_decode_error(codec: Codec) -> None:
    @register_type(name="test:moody")
    @dataclasses.dataclass
    class Moody:
        mood: str

        def __post_init__(self) -> None:
            if self.mood == "bad":
                raise RuntimeError("not today")

    moody = Moody("good")
    moody.mood = "bad"
    with pytest.raises(DecodeError, match="not today"):
        codec.decode(codec.encode([moody]))


# ------------------------------------------------------------------------------------------------- what does not travel


class Colour(enum.IntEnum):
    RED = 1


class Name(str):
    __slots__ = ()


class Plain:
    """A class that nobody registered."""


class Touchy:
    """Even its repr raises."""

    def __repr__(self) -> str:
        raise ValueError("don't look at me")


class SubPoint(Point, frozen=True):
    """A subclass of a registered type is another type."""


class SubReplies(Replies[Any]):
    """A subclass of a type that travels."""


Pair = namedtuple("Pair", ["left", "right"])  # noqa: PYI024  an untyped one, as people have


def a_function() -> None: ...


@both
@pytest.mark.parametrize(
    ("value", "path", "reason"),
    [
        (Plain(), "$", "tests.test_codec.Plain does not travel"),
        ([1, Plain()], "$[1]", "does not travel"),
        ({"a": [0, {"b": Plain()}]}, "$['a'][1]['b']", "does not travel"),
        ({7: Plain()}, "$[7]", "does not travel"),
        ({(1, "x"): Plain()}, "$[(1, 'x')]", "does not travel"),
        ({"$a": Plain()}, "$['$a']", "does not travel"),
        ({"k" * 100: Plain()}, f"$['{'k' * 39}]", "does not travel"),
        ((0, (1, Plain())), "$[1][1]", "does not travel"),
        ({Colour.RED}, "$[0]", "Colour does not travel"),
        (frozenset([Colour.RED]), "$[0]", "Colour does not travel"),
        (Shelf([Plain()]), "$.items[0]", "does not travel"),
        ([Mixed(second_field=Plain())], "$[0].second_field", "does not travel"),
        (Replies({"ab": Plain()}, {}), "$.values['ab']", "does not travel"),
        (Aggregate([Plain()], {}, {}), "$.value[0]", "does not travel"),
        (Colour.RED, "$", "Colour does not travel"),
        ([Name("x")], "$[0]", "Name does not travel"),
        ([Pair(1, 2)], "$[0]", "Pair does not travel"),
        ([OrderedDict(a=1)], "$[0]", "OrderedDict does not travel"),
        ([defaultdict(list)], "$[0]", "defaultdict does not travel"),
        ([Tally("ab")], "$[0]", "Counter does not travel"),
        ([deque()], "$[0]", "deque does not travel"),
        ([SubPoint(1)], "$[0]", "SubPoint does not travel"),
        ([SubReplies({}, {})], "$[0]", "SubReplies does not travel"),
        ([bytearray(b"x")], "$[0]", "bytearray does not travel"),
        ([memoryview(b"x")], "$[0]", "memoryview does not travel"),
        ([1j], "$[0]", "complex does not travel"),
        ([range(3)], "$[0]", "range does not travel"),
        ([Decimal(1)], "$[0]", "Decimal does not travel"),
        ([Fraction(1, 3)], "$[0]", "Fraction does not travel"),
        ([NOON.date()], "$[0]", "date does not travel"),
        ([NOON.time()], "$[0]", "time does not travel"),
        ([NOON - NOON], "$[0]", "timedelta does not travel"),
        ([PurePosixPath("/")], "$[0]", "PurePosixPath does not travel"),
        ([ValueError("x")], "$[0]", "ValueError does not travel"),
        ([iter([])], "$[0]", "does not travel"),
        ([...], "$[0]", "does not travel"),
        ({"f": a_function}, "$['f']", "code does not travel: name it by its import path"),
        ([lambda: 1], "$[0]", "code does not travel"),
        ([len], "$[0]", "code does not travel"),
        ([int], "$[0]", "code does not travel"),
        ([HERE.of], "$[0]", "code does not travel"),
        ({Plain: 1}, "$[<class 'tests.test_codec.Plain'>]", "code does not travel"),
        ("\ud800", "$", "lone surrogate"),
        (["a", {"b": "x\udfff"}], "$[1]['b']", "lone surrogate"),
        ({"\ud83d": 1}, "$['\\ud83d']", "lone surrogate"),
        ({1: ("\ud800",)}, "$[1][0]", "lone surrogate"),
        ([Shelf("\ud800")], "$[0].items", "lone surrogate"),
        ([Replies({"ab": "\ud800"}, {})], "$[0].values['ab']", "lone surrogate"),
        ([NodeAddress("\ud800", 1)], "$[0].ip", "lone surrogate"),
        ({10**5000: Plain()}, "$[a key of type int]", "does not travel"),
        ({Touchy(): 1}, "$[a key of type Touchy]", "does not travel"),
    ],
    ids=lambda case: case if isinstance(case, str) and case.startswith("$") else "",
)
def test_what_cannot_travel_is_refused_with_its_path(codec: Codec, value: Any, path: str, reason: str) -> None:
    with pytest.raises(EncodeError) as caught:
        codec.encode(value)
    assert caught.value.path == path
    assert caught.value.text.startswith(f"at {path}: ")
    assert reason in caught.value.text


@both
def test_a_cycle_is_refused_with_its_path(codec: Codec) -> None:
    round_: list[Any] = []
    round_.append(round_)
    with pytest.raises(EncodeError) as caught:
        codec.encode(round_)
    assert caught.value.path == "$" + "[0]" * MAX_DEPTH
    table: dict[str, Any] = {}
    table["self"] = {"table": table}
    with pytest.raises(EncodeError, match=f"nested more than {MAX_DEPTH} deep") as caught:
        codec.encode(table)
    assert caught.value.path is not None
    assert caught.value.path.startswith("$['self']['table']['self']")
    assert caught.value.path.endswith("['self']['table']")
    assert len(caught.value.path) <= 200
    shelf = Shelf(None)
    shelf.items = (shelf,)
    with pytest.raises(EncodeError) as caught:
        codec.encode(shelf)
    assert caught.value.path is not None
    assert caught.value.path.startswith("$.items[0].items[0]")


@both
def test_a_value_far_too_deep_is_refused_without_overflowing_the_stack(codec: Codec) -> None:
    value: Any = None
    for _ in range(100_000):
        value = [value]
    with pytest.raises(EncodeError, match="nested more than"):
        codec.encode(value)
    while value:  # taken apart by hand: this many nested lists are too much even for some destructors
        value = value.pop()


@both
def test_an_error_whose_details_cannot_travel_is_refused(codec: Codec) -> None:
    with pytest.raises(EncodeError, match="does not travel"):
        codec.encode([EncodeError("odd", path=Plain())])


@both
def test_a_refused_value_costs_the_codec_nothing(codec: Codec) -> None:
    with pytest.raises(EncodeError):
        codec.encode([1, [2, Plain()]])
    assert codec.decode(codec.encode([1, [2]])) == [1, [2]]


# -------------------------------------------------------------------------------------------------------- registering


def test_a_type_is_registered_by_its_import_path_or_by_a_name() -> None:
    assert b'"tests.travelling:Point"' in JSON.encode(Point(1))
    assert b'"test:shelf"' in JSON.encode(Shelf(1))


def test_a_registered_type_is_returned_unchanged() -> None:
    class Local(msgspec.Struct):
        x: int

    assert register_type(Local) is Local
    assert register_type(name="test:local")(Local) is Local
    assert register_type(Local, name="test:local") is Local


def test_a_type_that_is_neither_struct_nor_dataclass_is_refused() -> None:
    for kind in (int, Plain, Colour, Pair):
        with pytest.raises(MalformedRequest, match="neither"):
            register_type(kind)


def test_a_dataclass_whose_constructor_does_not_take_its_fields_is_refused() -> None:
    @dataclasses.dataclass
    class Counted:
        count: int = dataclasses.field(default=0, init=False)

    @dataclasses.dataclass
    class Seeded:
        seed: dataclasses.InitVar[int]
        value: int = 0

    @dataclasses.dataclass(init=False)
    class Custom:
        value: int

        def __init__(self) -> None:
            self.value = 1

    for kind in (Counted, Seeded, Custom):
        with pytest.raises(MalformedRequest, match="constructor"):
            register_type(kind)


def test_a_dataclass_that_is_a_container_or_a_text_as_well_is_refused() -> None:
    @dataclasses.dataclass
    class Crate(list[int]):
        owner: str

    @dataclasses.dataclass
    class Record(dict[str, int]):
        owner: str

    class Label(str):
        __slots__ = ()

    for kind in (Crate, Record, dataclasses.dataclass(Label)):
        with pytest.raises(MalformedRequest, match="as well, and what it holds as one would be lost"):
            register_type(kind)


@register_type(name="test:numbered")
@dataclasses.dataclass
class Numbered:
    """Its constructor makes something else of what it has made before."""

    number: int

    def __post_init__(self) -> None:
        self.number += 1


@register_type(name="test:numbered struct")
class NumberedStruct(msgspec.Struct):
    numbers: list[int]

    def __post_init__(self) -> None:
        self.numbers.append(1)


@register_type(name="test:own constructor")
@dataclasses.dataclass(init=False)
class Doubled:
    number: float

    def __init__(self, number: float) -> None:
        self.number = 2 * number


@register_type(name="test:tidy")
@dataclasses.dataclass
class Tidy:
    """Its constructor leaves what it has made as it is."""

    text: str
    numbers: list[float]

    def __post_init__(self) -> None:
        self.text = self.text.strip()
        self.numbers = sorted(self.numbers)


@both
def test_a_value_that_its_constructor_would_change_is_refused_and_stays_as_it_is(codec: Codec) -> None:
    refused: list[Any] = [Numbered(1), NumberedStruct([2]), Doubled(3.0)]
    before = [repr(value) for value in refused]
    for value in refused:
        with pytest.raises(EncodeError, match=r"at \$\[0\]\.numbers?: the constructor of .* makes something else"):
            codec.encode([value])
    assert [repr(value) for value in refused] == before
    for value in (Tidy(" a ", [2.0, 1.0]), Tidy("a", [math.nan]), Doubled(0.0)):
        assert is_same(codec.decode(codec.encode(value)), value)


@register_type(name="test:sold out")
@dataclasses.dataclass(eq=True)
class SoldOut(DefiniteError):
    shelf: str


@both
def test_a_registered_error_arrives_as_a_value_with_its_fields(codec: Codec) -> None:
    arrived = codec.decode(codec.encode([SoldOut("top")]))[0]
    assert (type(arrived), arrived.shelf) == (SoldOut, "top")


def test_the_name_of_another_type_is_refused() -> None:
    class Other(msgspec.Struct):
        x: int

    with pytest.raises(MalformedRequest, match="is the name of another type"):
        register_type(Other, name="test:shelf")
    assert is_same(JSON.decode(JSON.encode(Shelf(1))), Shelf(1))


def test_a_type_that_is_defined_again_takes_the_name_over() -> None:
    def define() -> Any:
        @register_type(name="test:reloaded")
        class Reloaded(msgspec.Struct):
            x: int

        return Reloaded

    first, second = define(), define()
    assert first is not second
    assert type(JSON.decode(JSON.encode(second(1)))) is second


def test_registering_is_advised_where_it_helps_and_only_there() -> None:
    class Unknown(msgspec.Struct):
        x: int

    @dataclasses.dataclass
    class Computed:
        x: int = dataclasses.field(init=False, default=1)

        def __call__(self) -> None: ...

    async def answer() -> None: ...

    coroutine = answer()
    with pytest.raises(EncodeError, match="register_type may help"):
        JSON.encode(Unknown(1))
    with pytest.raises(EncodeError, match="register_type may help"):
        JSON.encode(SubPoint(1))
    for value, advice in (
        (Plain(), "make it a dataclass and register that"),
        (Computed(), "does not take just its fields"),
        (Unknown, "code does not travel"),
        (bytearray(b"x"), "pass bytes"),
        (NOON.date(), "isoformat"),
        (Decimal(1), "pass its text"),
        (ValueError("x"), "pass its text"),
        (iter([]), "pass a list"),
        ({}.keys(), "pass a list"),
        (SubReplies({}, {}), "pass its values"),
        (coroutine, "await it"),
    ):
        with pytest.raises(EncodeError, match=advice) as caught:
            JSON.encode([value])
        assert "register_type" not in caught.value.text
    coroutine.close()


# --------------------------------------------------------------------------------------------- the documented JSON form

TABLE: list[tuple[str, Any, Any]] = [
    ("bytes", b"hi", {"$bytes": "aGk="}),
    ("nan, inf, -inf", math.nan, {"$float": "nan"}),
    ("nan, inf, -inf", math.inf, {"$float": "inf"}),
    ("nan, inf, -inf", -math.inf, {"$float": "-inf"}),
    ("an int that needs more than 64 bits", 2**64, {"$int": "0x10000000000000000"}),
    ("an int that needs more than 64 bits", -(2**64), {"$int": "-0x10000000000000000"}),
    ("tuple", (1, 2), {"$tuple": [1, 2]}),
    ("set, frozenset", {1, 2}, {"$set": [1, 2]}),
    ("set, frozenset", frozenset([1, 2]), {"$frozenset": [1, 2]}),
    ("dict with other than plain string keys", {1: "a", "b": 2}, {"$map": [[1, "a"], ["b", 2]]}),
    ("datetime", NOON, {"$datetime": "2026-11-20T12:00:00+00:00"}),
    (
        "datetime with ``fold=1``",
        datetime.datetime(2026, 11, 20, 12, fold=1),
        {"$datetime": ["2026-11-20T12:00:00", 1]},
    ),
    ("UUID", uuid.UUID(int=255), {"$uuid": "000000000000000000000000000000ff"}),
    ("registered Struct or dataclass", Parcel(1), {"$type": ["tests.travelling:Parcel", {"content": 1}]}),
    ("node address", HERE, {"$address": ["127.0.0.1", 8080]}),
    ("a trionet error", CallTimeout("late"), {"$error": {"code": 0, "name": "CallTimeout", "text": "late"}}),
    (
        "the replies of a group",
        Replies({"a": (1,)}, {"b": CallTimeout("late")}),
        {
            "$replies": {
                "values": {"a": {"$tuple": [1]}},
                "errors": {"b": {"$error": {"code": 0, "name": "CallTimeout", "text": "late"}}},
            }
        },
    ),
]


@pytest.mark.parametrize(("row", "value", "document"), TABLE, ids=[row for row, _, _ in TABLE])
def test_the_documented_json_form_is_literally_what_is_sent_and_read(row: str, value: Any, document: Any) -> None:
    assert json.loads(JSON.encode(value)) == document
    assert is_same(JSON.decode(json.dumps(document).encode()), value)


def documented_rows() -> dict[str, str]:
    """Return the table in the module's docstring."""
    assert codec_module.__doc__ is not None
    lines = codec_module.__doc__.splitlines()
    rulers = [index for index, line in enumerate(lines) if line.startswith("====")]
    start = lines[rulers[0]].index(" =") + 1
    return {line[:start].strip(): line[start:].strip() for line in lines[rulers[1] + 1 : rulers[2]]}


def test_each_row_of_the_documented_table_has_an_example_here() -> None:
    assert list(documented_rows()) == list(dict.fromkeys(row for row, _, _ in TABLE))


def test_the_examples_of_the_documented_table_are_json_of_the_form_that_is_sent() -> None:
    """The table's own examples, ellipses filled in, decode to values that encode to them again."""
    fillings = [
        ('"0x…"', '"0x10000000000000000"'),
        ('{"$uuid": "…"}', '{"$uuid": "000000000000000000000000000000ff"}'),
        ('["name", {"field": 1}]', '["tests.travelling:Parcel", {"content": 1}]'),
        ('"name": "…", "text": "…"', '"name": "CallTimeout", "text": "late"'),
        ('{"values": {…}, "errors": {…}}', '{"values": {}, "errors": {}}'),
    ]
    checked = 0
    for cell in documented_rows().values():
        for text in cell.split("``")[1::2]:
            example_ = text
            for gap, filling in fillings:
                example_ = example_.replace(gap, filling)
            assert json.loads(JSON.encode(JSON.decode(example_.encode()))) == json.loads(example_)
            checked += 1
    assert checked == 14


def test_json_says_the_rest_by_itself() -> None:
    for value in (None, True, False, 0, -1, 2**63 - 1, -(2**63), 1.5, -0.0, "text", [], [1, [2]], {}, {"a": {"b": 1}}):
        assert json.loads(JSON.encode(value)) == value
        assert is_same(JSON.decode(json.dumps(value).encode()), value)


def test_a_json_number_of_any_size_is_read() -> None:
    for number in (2**63, 2**64, 10**40, -(10**40)):
        assert JSON.decode(str(number).encode()) == number


def test_messagepack_says_bytes_nan_and_integer_keys_by_itself() -> None:
    for value in (b"hi", math.inf, {1: "a"}, {1: "a", "b": 2}):
        assert MESSAGEPACK.encode(value) == msgspec.msgpack.encode(value)
    assert MESSAGEPACK.encode(math.nan) == msgspec.msgpack.encode(math.nan)
    assert msgspec.msgpack.decode(MESSAGEPACK.encode((1, 2))) == {"$tuple": [1, 2]}


def test_the_two_codecs_name_their_media_types() -> None:
    assert JSON.content_type == "application/json"
    assert MESSAGEPACK.content_type == "application/vnd.msgpack"


def test_an_error_is_the_same_alone_as_inside_a_value() -> None:
    error = EncodeError("odd", path="$[0]")
    assert json.loads(JSON.encode(error)) == {"$error": error_to_wire(error)}


@pytest.mark.parametrize("codec", [JSON, MESSAGEPACK], ids=["json", "messagepack"])
@pytest.mark.parametrize("limit_bytes", [3_000, 1_000_000])
def test_that_many_bytes_fit_into_a_message(codec: Any, limit_bytes: int) -> None:
    size = len(codec.encode(bytes(codec.most_bytes(limit_bytes))))
    assert limit_bytes - 10 < size < limit_bytes + 100
