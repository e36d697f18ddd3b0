import functools
import gc
import weakref
from typing import Any
from unittest.mock import AsyncMock

import pytest
import trio

from tests.samples import Counter, Mute, Needy, make_nothing
from trionet import MalformedRequest, Remote, open_node, rpc
from trionet.services.base import exposed_methods, service_from
from trionet.services.marks import mark_of


class Shop:
    @rpc
    def open(self) -> str:
        return "open"

    @rpc
    def del_(self) -> str:
        return "deleted"

    @rpc(name="stock-list")
    def stock(self) -> list[str]:
        return []

    def secret(self) -> str:
        return "secret"


def test_a_service_exposes_the_marked_methods_alone() -> None:
    assert sorted(exposed_methods(Shop())) == ["del", "open", "stock-list"]


def test_a_trailing_underscore_is_left_off_on_the_wire() -> None:
    assert exposed_methods(Shop())["del"].call() == "deleted"


def test_a_marked_method_is_still_an_ordinary_one() -> None:
    assert Shop().open() == "open"


def test_a_subclass_exposes_what_its_base_did_and_its_own_override() -> None:
    class Corner(Shop):
        def open(self) -> str:
            return "at the corner"

    methods = exposed_methods(Corner())
    assert sorted(methods) == ["del", "open", "stock-list"]
    assert methods["open"].call() == "at the corner"


def test_a_property_of_a_service_is_not_run_when_its_methods_are_looked_for() -> None:
    class Lazy(Shop):
        @property
        def expensive(self) -> None:
            raise AssertionError("was run")

    assert sorted(exposed_methods(Lazy())) == ["del", "open", "stock-list"]


def test_a_mapping_of_name_to_callable_is_a_service() -> None:
    methods = exposed_methods({"add": lambda a, b: a + b})
    assert methods["add"].call(1, 2) == 3


@pytest.mark.parametrize("service", [{"a b": print}, {5: print}, {"": print}, {"add": 5}], ids=repr)
def test_a_mapping_of_anything_else_is_refused(service: Any) -> None:
    with pytest.raises(MalformedRequest):
        exposed_methods(service)


def test_a_method_needs_a_well_formed_name() -> None:
    with pytest.raises(MalformedRequest, match="method name"):
        rpc(name="a/b")(Shop.secret)


def test_a_class_that_was_named_is_instantiated_and_an_object_is_taken_as_it_is() -> None:
    assert isinstance(service_from("shop:Counter", Counter), Counter)
    mapping = {"add": max}
    assert service_from("shop:mapping", mapping) is mapping


@pytest.mark.parametrize("found", [Mute, Needy])
def test_a_class_that_exposes_nothing_or_needs_arguments_is_refused(found: Any) -> None:
    with pytest.raises(MalformedRequest, match="shop:Thing"):
        service_from("shop:Thing", found)


def test_a_function_exposes_nothing() -> None:
    assert not exposed_methods(make_nothing)


def wrapping(function: Any) -> Any:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


def hiding(function: Any) -> Any:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


PARTIAL: Any = functools.partialmethod(lambda self, first, second: second, 5)


class Decorated:
    """Marked methods under and above each decorator."""

    @staticmethod
    @rpc
    def static_above(value: int) -> int:
        return value

    @rpc
    @staticmethod
    def static_below(value: int) -> int:
        return value

    @classmethod
    @rpc
    def class_above(cls, value: int) -> int:
        return value

    @rpc
    @classmethod
    def class_below(cls, value: int) -> int:
        return value

    @wrapping
    @rpc
    def wraps_above(self, value: int) -> int:
        return value

    @rpc
    @wrapping
    def wraps_below(self, value: int) -> int:
        return value

    @functools.lru_cache  # noqa: B019  it is what this is about
    @rpc
    def cache_above(self, value: int) -> int:
        return value

    @rpc
    @functools.cache  # noqa: B019  likewise
    def cache_below(self, value: int) -> int:
        return value

    @functools.singledispatchmethod
    @rpc
    def dispatch_above(self, value: int) -> int:
        return value

    @rpc
    @hiding
    def wrapper(self, value: int) -> int:
        return value

    partial = rpc(name="partial")(PARTIAL)


def test_a_marked_method_is_exposed_whatever_decorators_are_round_it() -> None:
    methods = exposed_methods(Decorated())
    assert sorted(methods) == sorted(name for name in vars(Decorated) if not name.startswith("__"))
    for name, method in methods.items():
        assert method.call(7) == 7, name
        args, kwargs = method.bind([7], {})
        assert method.call(*args, **kwargs) == 7
    with pytest.raises(MalformedRequest, match="Expected `int`, got `str`"):
        methods["static_above"].bind(["7"], {})


class WithProperty:
    @property
    @rpc
    def value(self) -> int:
        raise AssertionError("was run")


class WithCachedProperty:
    @functools.cached_property
    @rpc
    def value(self) -> int:
        raise AssertionError("was run")


class Hidden:
    @hiding
    @rpc
    def value(self) -> int:
        return 1


class Keeping:
    """A decorator that is a class."""

    def __init__(self, function: Any) -> None:
        self.function = function

    def __get__(self, owner: Any, kind: Any = None) -> Any:
        return functools.partial(self.function, owner)


class KeepingInSlot:
    __slots__ = ("function",)

    def __init__(self, function: Any) -> None:
        self.function = function

    def __get__(self, owner: Any, kind: Any = None) -> Any:
        return functools.partial(self.function, owner)


def by_default(function: Any) -> Any:
    def wrapper(self: Any, *args: Any, wrapped: Any = function) -> Any:
        return wrapped(self, *args)

    return wrapper


def by_attribute(function: Any) -> Any:
    def wrapper(self: Any, *args: Any) -> Any:
        return wrapper.wrapped(self, *args)  # type: ignore[attr-defined]

    wrapper.wrapped = function  # type: ignore[attr-defined]
    return wrapper


def by_argument(function: Any) -> Any:
    return functools.partialmethod(lambda self, wrapped, *args: wrapped(self, *args), function)


@pytest.mark.parametrize(
    "decorator",
    [
        hiding,
        lambda function: hiding(hiding(function)),
        lambda function: staticmethod(hiding(function)),
        lambda function: classmethod(hiding(function)),
        lambda function: property(hiding(function)),
        Keeping,
        KeepingInSlot,
        by_default,
        by_attribute,
        by_argument,
    ],
)
def test_wherever_a_decorator_keeps_a_marked_method_it_is_found_and_refused(decorator: Any) -> None:
    @rpc
    def value(self: Any) -> int:
        return 1

    service = type("Service", (), {"value": decorator(value), "other": rpc(name="other")(hiding(value))})()
    with pytest.raises(MalformedRequest, match=r"Service\.value .*decorator above hides it"):
        exposed_methods(service)


def test_what_is_marked_and_put_into_an_object_is_exposed_and_no_other_objects_method() -> None:
    class Made:
        def __init__(self, shop: Shop) -> None:
            self.square = rpc(name="square")(lambda value: value * value)
            self.open = shop.open
            self.shop = shop

    methods = exposed_methods(Made(Shop()))
    assert sorted(methods) == ["square"]
    assert methods["square"].call(3) == 9


class Twice:
    @rpc
    def value(self) -> int:
        return 1

    @rpc(name="value")
    def other(self) -> int:
        return 2


@pytest.mark.parametrize(
    ("service", "reason"),
    [
        (WithProperty, "WithProperty.value .*property"),
        (WithCachedProperty, "WithCachedProperty.value .*property"),
        (Hidden, "Hidden.value .*decorator above hides it"),
        (Twice, "both called 'value'"),
    ],
)
def test_a_marked_method_that_cannot_be_exposed_is_refused_with_the_reason(service: Any, reason: str) -> None:
    with pytest.raises(MalformedRequest, match=reason):
        exposed_methods(service())


@pytest.mark.parametrize(
    ("thing", "reason"),
    [
        (property(lambda self: 1), "not a property"),
        (functools.partial(print), "no name of its own"),
        (functools.partialmethod(print), "no name of its own"),
        (5, "not a int"),
        (len, "can't be marked"),
    ],
    ids=["property", "partial", "partialmethod", "number", "builtin"],
)
def test_what_cannot_be_marked_is_refused_with_the_reason(thing: Any, reason: str) -> None:
    with pytest.raises(MalformedRequest, match=reason):
        rpc(thing)


class Unannotated:
    __annotations__ = None  # type: ignore[assignment]  # as some libraries have it

    def __call__(self, value: Any) -> Any:
        return value


class Asks:
    """Raises whatever it is asked."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)

    def __eq__(self, other: object) -> bool:
        raise RuntimeError

    def __hash__(self) -> int:
        raise RuntimeError

    def __call__(self, value: Any) -> Any:
        return value


class Streams:
    async def __call__(self, value: int) -> Any:
        yield value


def circular(value: Any) -> Any:
    return value


circular.__wrapped__ = circular  # type: ignore[attr-defined]


async def later(value: int) -> int:
    return value


CALLABLES: dict[str, Any] = {
    "mock": AsyncMock(return_value=7),
    "unannotated": Unannotated(),
    "asks": Asks(),
    "lambda": lambda value: value,
    "builtin": int,
    "builtin_without_signature": max,
    "c_method": [7].__getitem__,
    "partial": functools.partial(later),
    "class": Shop,
    "bound": Counter().add,
    "streams": Streams(),
}


def test_any_callable_can_be_a_method_and_what_kind_it_is_is_known() -> None:
    methods = exposed_methods(CALLABLES)
    assert sorted(methods) == sorted(CALLABLES)
    assert [name for name, method in methods.items() if method.is_stream] == ["streams"]
    assert [name for name, method in methods.items() if not method.is_sync] == ["mock", "partial", "streams"]
    for name in ("partial", "streams", "bound"):
        with pytest.raises(MalformedRequest, match="Expected `int`, got `str`"):
            methods[name].bind(["7"], {})


async def test_any_callable_can_be_called_by_another_node() -> None:
    with trio.fail_after(60):
        async with open_node() as node:
            await node.local.routes.put({name: CALLABLES[name] for name in CALLABLES if name != "class"}, "s")
            for name, value in {
                "mock": 7,
                "unannotated": 7,
                "asks": 7,
                "lambda": 7,
                "builtin": 7,
                "partial": 7,
            }.items():
                remote = Remote(node=node.address, service="s", method=name)
                assert await node.local.comm.send([value], remote) == 7, name
            async with node.local.comm.stream([7], Remote(node=node.address, service="s", method="streams")) as items:
                assert [item async for item in items] == [7]


def test_a_function_that_is_wrapped_by_itself_is_refused() -> None:
    with pytest.raises(MalformedRequest, match="by itself"):
        exposed_methods({"circular": circular})


def test_a_class_of_the_user_is_looked_through_each_time_and_is_not_kept() -> None:
    class Changing:
        @rpc
        def first(self) -> int:
            return 1

    assert set(exposed_methods(Changing())) == {"first"}

    @rpc
    def second(self: object) -> int:
        return 2

    Changing.second = second  # type: ignore[attr-defined]
    assert set(exposed_methods(Changing())) == {"first", "second"}
    kept = weakref.ref(Changing)
    del Changing, second
    gc.collect()
    assert kept() is None


async def test_each_method_of_trionets_own_services_is_found_and_bound_with_its_first_use() -> None:
    async with open_node() as node:
        services = {name: service for name, service in node.local._asdict().items() if exposed_methods(service)}
        assert len(services) >= 10
        for name, service in services.items():
            methods = exposed_methods(service)
            assert not dict.copy(methods), name
            assert set(methods) == {mark.name for mark in map(mark_of, _members(service)) if mark is not None}
            for method in list(methods):
                assert method in methods
                assert methods[method] is methods[method]
            assert dict(methods.items()) == dict.copy(methods)
            assert len(methods) == len(list(methods.values()))
            assert "no_such" not in methods
            with pytest.raises(KeyError):
                methods["no_such"]


def _members(service: object) -> list[object]:
    return [member for kind in type(service).__mro__ for member in vars(kind).values()]
