"""A method marked with `rpc` names itself by its class, and is in all else the method that it was."""

from __future__ import annotations

import abc
import copy
import dataclasses
import functools
import gc
import inspect
import pickle
import subprocess
import sys
import types
import typing
import weakref
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable
from unittest import mock

import pytest

import trionet
from trionet import MalformedRequest, rpc
from trionet.pickling import pickled
from trionet.services.base import exposed_methods
from trionet.services.marks import mark_of
from trionet.services.names import service_name_of
from trionet.services.typed import reference_of

if TYPE_CHECKING:
    from collections.abc import Callable


class Counter:
    """A service."""

    def __init__(self, total: int = 0) -> None:
        self.total = total

    @rpc
    async def add(self, amount: int = 1, *, twice: bool = False) -> int:
        """Add an amount."""
        self.total += amount * (1 + twice)
        return self.total

    @rpc(name="read", read=True)
    def get(self) -> int:
        return self.total

    @rpc
    async def watch(self) -> AsyncIterator[int]:
        yield self.total

    def hidden(self) -> int:
        return self.total

    @classmethod
    def make(cls, total: int) -> Counter:
        return cls(total)

    @staticmethod
    def double(amount: int) -> int:
        return 2 * amount


class Till(Counter):
    @rpc
    async def add(self, amount: int = 1, *, twice: bool = False) -> int:
        return 100 + await super().add(amount, twice=twice)

    def get(self) -> int:
        return -super().get()


_READER = """
import sys
from trionet.pickling import unpickled
from trionet.services.base import exposed_methods
from trionet.services.typed import reference_of

kind, method = unpickled(sys.stdin.buffer.read(), "a class")
reference = reference_of(kind.sell)
print(reference.own_remote.service, reference.mark.name, reference.mark.idempotent)
print(kind().sell_all())
print(sorted(exposed_methods(kind())))
print(reference_of(method).own_remote.service)
"""


@rpc
def compress(data: bytes) -> bytes:
    """A function of a module."""
    return data[:1]


@pytest.fixture
def counter() -> Counter:
    return Counter(5)


def test_a_method_of_a_class_knows_the_class_and_is_the_same_each_time() -> None:
    assert Counter.add is Counter.add
    assert Till.get is not Counter.get
    assert Till.watch is not Counter.watch
    names = [reference_of(method).name for method in (Counter.add, Till.add, Till.watch)]
    assert names == ["Counter.add", "Till.add", "Till.watch"]
    assert [reference_of(method).own_remote.service for method in (Counter.watch, Till.watch)] == ["counter", "till"]
    assert reference_of(Counter.get).mark.name == "read"
    assert "Till.watch" in repr(Till.watch)


def test_a_method_of_an_object_is_the_bound_method(counter: Counter) -> None:
    assert type(counter.add) is types.MethodType
    assert counter.add == counter.add
    assert counter.add.__self__ is counter
    assert counter.get() == 5
    assert Counter.get(counter) == 5


async def test_super_reaches_the_method_of_the_base() -> None:
    till = Till(1)
    assert await till.add(2, twice=True) == 105
    assert await Counter.add(till, 1) == 6
    assert till.get() == -6


def test_inspect_sees_a_function(counter: Counter) -> None:
    assert str(inspect.signature(Counter.get)) == "(self) -> 'int'"
    assert list(inspect.signature(counter.add).parameters) == ["amount", "twice"]
    for add in (Counter.add, vars(Counter)["add"]):
        assert inspect.isfunction(add)
        assert inspect.iscoroutinefunction(add)
        assert not inspect.isasyncgenfunction(add)
        assert inspect.getdoc(add) == "Add an amount."
        assert "self.total += amount" in inspect.getsource(add)
        assert typing.get_type_hints(add)["return"] is int
        assert (add.__name__, add.__module__) == ("add", __name__)
        assert add.__kwdefaults__ == {"twice": False}
        assert add.__defaults__ == (1,)
    assert inspect.isasyncgenfunction(Counter.watch)
    assert inspect.iscoroutinefunction(counter.add)
    kinds = {attribute.name: attribute.kind for attribute in inspect.classify_class_attrs(Counter)}
    assert kinds["add"] == "method"


def test_mocks_have_the_signature_of_the_method() -> None:
    for fake in (mock.create_autospec(Counter, instance=True), mock.create_autospec(Counter(1))):
        fake.get()
        fake.get.assert_called_once_with()
        with pytest.raises(TypeError, match="too many positional"):
            fake.get(1)
        assert inspect.iscoroutinefunction(fake.add)
    with mock.patch.object(Counter, "get", return_value=7):
        assert Counter(1).get() == 7
    with mock.patch.object(Counter, "get", autospec=True, return_value=8) as get:
        instance = Counter(1)
        assert instance.get() == 8
        get.assert_called_once_with(instance)
    assert Counter(1).get() == 1
    assert reference_of(Counter.get).name == "Counter.get"


def test_a_function_of_a_module_is_called_copied_and_pickled_as_before() -> None:
    assert compress(b"abc") == b"a"
    assert compress.__doc__ == "A function of a module."
    assert pickle.loads(pickle.dumps(compress)) is compress
    assert copy.deepcopy(compress) is compress
    assert isinstance(compress, types.FunctionType)
    assert exposed_methods({"c": compress})["c"].call(b"xy") == b"x"
    assert "compress" in repr(compress)


def test_methods_are_pickled_by_name(counter: Counter) -> None:
    for method in (Counter.add, Till.add, Till.watch):
        assert pickle.loads(pickle.dumps(method)) is method
        assert copy.deepcopy(method) is method
    assert pickle.loads(pickle.dumps(counter.get))() == 5


def test_a_class_by_value_keeps_its_references() -> None:
    class Shop:
        @rpc(idempotent=True)
        def sell(self, item: str) -> str:
            return f"sold {item}"

        @rpc
        def sell_all(self) -> str:
            return Shop().sell("all")

    # In this process it would arrive as the same class.
    result = subprocess.run(
        [sys.executable, "-c", _READER], input=pickled((Shop, Shop.sell)), capture_output=True, check=True, timeout=60
    )
    assert result.stdout.decode().splitlines() == ["shop sell True", "sold all", "['sell', 'sell_all']", "shop"]


def test_decorators_below_work() -> None:
    def traced(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*args: Any) -> Any:
            return function(*args) + 1

        return call

    class Traced:
        @rpc
        @traced
        def get(self, first: int) -> int:
            return first

    assert Traced().get(1) == 2
    assert Traced.get(Traced(), 1) == 2
    assert list(inspect.signature(Traced.get).parameters) == ["self", "first"]
    with pytest.raises(MalformedRequest, match=r"don't fit get\(first: int\) -> int"):
        reference_of(Traced.get).method.check((1, 2), {})


def test_decorators_above_work_and_calls_by_the_class_are_told_where_to_put_the_mark() -> None:
    def traced(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*args: Any) -> Any:
            return function(*args) + 1

        return call

    def asyncs(function: Any) -> Any:
        assert inspect.iscoroutinefunction(function)
        return function

    class Traced:
        @traced
        @rpc
        def get(self, first: int) -> int:
            return first

        @asyncs
        @rpc
        async def wait(self) -> None: ...

        @functools.cache  # noqa: B019  it is kept for a moment
        @rpc
        def once(self) -> int:
            return 1

    assert Traced().get(1) == 2
    assert set(exposed_methods(Traced())) == {"get", "wait", "once"}
    assert reference_of(Traced.wait).name.endswith("Traced.wait")
    with pytest.raises(MalformedRequest, match=r"get has a decorator above @trionet\.rpc: put @trionet\.rpc on top"):
        reference_of(Traced.get)


def test_a_mark_may_be_given_twice_and_the_upper_one_counts() -> None:
    class Twice:
        @rpc(read=True)
        @rpc(name="other")
        def get(self) -> int:
            return 1

    assert mark_of(Twice.get) == reference_of(Twice.get).mark
    assert (reference_of(Twice.get).mark.name, reference_of(Twice.get).mark.read) == ("get", True)
    copied = rpc(name="alias")(Twice.get)
    with pytest.raises(MalformedRequest):
        reference_of(copied)
    assert Twice().get() == 1


def test_dataclasses_with_slots_protocols_and_abstract_classes_have_references() -> None:
    @dataclasses.dataclass(slots=True)
    class Slotted:
        total: int = 3

        @rpc
        def get(self) -> int:
            return self.total

    @runtime_checkable
    class Getter(Protocol):
        @rpc
        def get(self) -> int: ...

    class Base(abc.ABC):
        @rpc
        @abc.abstractmethod
        def get(self) -> int: ...

        @abc.abstractmethod
        @rpc
        def put(self) -> int: ...

    class Whole(Base):
        def get(self) -> int:
            return 1

        @rpc
        def put(self) -> int:
            return 2

    assert reference_of(Slotted.get).own_remote.service == "slotted"
    assert Slotted().get() == 3
    assert isinstance(Slotted(), Getter)
    assert reference_of(Getter.get).own_remote.service == "getter"
    with pytest.raises(TypeError, match="abstract"):
        Base()  # type: ignore[abstract]
    assert set(exposed_methods(Whole())) == {"get", "put"}
    assert reference_of(Base.get).own_remote.service == "base"
    with pytest.raises(MalformedRequest, match=r"Whole\.get is not exposed: mark it with @trionet\.rpc"):
        reference_of(Whole.get)


def test_a_method_with_two_names_has_its_own() -> None:
    class Alias:
        @rpc
        def get(self) -> int:
            return 1

        read = get

    class Renamed:
        fetch = rpc(name="get")(lambda self: 1)

    assert Alias.read is Alias.get
    assert reference_of(Alias.read).name.endswith("Alias.get")
    assert reference_of(Renamed.fetch).name.endswith("Renamed.fetch")
    assert set(exposed_methods(Alias())) == {"get"}


def test_a_reference_outlives_its_class() -> None:
    def make() -> Any:
        class BriefLife(Counter):
            pass

        return BriefLife.add

    method = make()
    gc.collect()
    assert reference_of(method).own_remote.service == "brief_life"


def test_nothing_keeps_a_subclass_alive() -> None:
    def make() -> weakref.ref[type]:
        class Brief(Counter):
            pass

        assert reference_of(Brief.add).method is not None
        assert reference_of(Brief.add).own_remote.service == "brief"
        return weakref.ref(Brief)

    gone = make()
    gc.collect()
    assert gone() is None


def test_a_method_assigned_later_is_found_under_its_name() -> None:
    class Late:
        pass

    Late.get = rpc(name="get")(lambda self: 1)  # type: ignore[attr-defined]
    assert set(exposed_methods(Late())) == {"get"}
    assert reference_of(Late.get).mark.name == "get"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("given", "answer"),
    [
        (Counter(1).add, r"^Counter\.add is bound to an object of this process, .*: pass Counter\.add$"),
        (Counter.make, r"^Counter\.make is a class method, and calls go to methods of objects"),
        (Counter.double, r"^Counter\.double has no self"),
        (Counter.hidden, r"^Counter\.hidden is not exposed: mark it with @trionet\.rpc"),
        (Counter.__init__, r"^Counter\.__init__ is not exposed: mark it with @trionet\.rpc"),
        (Counter, r"^Counter is a class: name the method by its class, as in node\.call\(address, Counter\.add, 5\)$"),
        (compress, r"^compress is no method of a class: .*comm\.send"),
        (pickled, r"^pickled is a function, and no method of a class"),
        (lambda: 1, r"<lambda> is a function, and no method"),
        (functools.partial(Counter.get), r"is no method of a class: name the method by its class"),
        (str.upper, r"^str\.upper is no method of a class"),
        ("add", r"^'add' is no method of a class"),
        (None, r"^None is no method of a class"),
        (trionet.Remote(service="counter", method="add"), r"no method of a class: .*comm\.send"),
    ],
    ids=lambda given: f"{given!r:.30}",
)
def test_what_is_no_marked_method_of_a_class_is_refused_with_what_to_write(given: Any, answer: str) -> None:
    with pytest.raises(MalformedRequest, match=answer):
        reference_of(given)


@pytest.mark.filterwarnings("error")
def test_a_method_that_has_been_called_instead_of_named_is_refused_without_a_warning(counter: Counter) -> None:
    for called in (counter.add(1), counter.watch()):
        with pytest.raises(
            MalformedRequest, match=r"has been called here: pass the method and, after it, its arguments"
        ):
            reference_of(called)
    gc.collect()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Counter", "counter"),
        ("WordCount", "word_count"),
        ("HTTPServer", "http_server"),
        ("GrepV2", "grep_v2"),
        ("Md5Sum", "md5_sum"),
        ("counter", "counter"),
        ("Word_Count", "word_count"),
        ("_Private", "_private"),
        ("ABC", "abc"),
        ("MyABC", "my_abc"),
    ],
)
def test_a_class_gives_its_service_its_name_in_lower_snake(name: str, expected: str) -> None:
    assert service_name_of(type(name, (), {})) == expected


def test_a_class_may_name_its_service_and_its_subclasses_have_their_own_names() -> None:
    @trionet.service("till-2")
    class Named(Counter):
        pass

    class Sub(Named):
        pass

    assert reference_of(Named.add).own_remote.service == "till-2"
    assert reference_of(Sub.add).own_remote.service == "sub"
    assert reference_of(Counter.add).own_remote.service == "counter"

    @trionet.service("outer")
    @dataclasses.dataclass(slots=True)
    class Outer(Counter):
        pass

    @dataclasses.dataclass(slots=True)
    @trionet.service("inner")
    class Inner(Counter):
        pass

    assert [reference_of(kind.add).own_remote.service for kind in (Outer, Inner)] == ["outer", "inner"]


@pytest.mark.parametrize("name", ["status", "a b", "", Counter, None, 5], ids=lambda name: f"{name!r:.20}")
def test_a_service_is_named_with_a_name(name: Any) -> None:
    with pytest.raises(MalformedRequest, match=r"name|built-in"):
        trionet.service(name)


def test_only_classes_are_named() -> None:
    naming: Any = trionet.service("counter")
    for thing in (compress, Counter(1), int):
        with pytest.raises(MalformedRequest, match=r"names classes|can't be named"):
            naming(thing)
