"""`rpc(thread=True)` is for plain functions, however they are wrapped, inherited and registered."""

from __future__ import annotations

import functools
import threading
from typing import TYPE_CHECKING, Any, assert_type

import pytest

from trionet import MalformedRequest, rpc
from trionet.services.base import exposed_methods
from trionet.services.marks import mark_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator


def plain(amount: int) -> int:
    return amount


async def waits(amount: int) -> int:
    return amount


async def streams() -> AsyncIterator[int]:
    yield 1


def generates() -> Iterator[int]:
    yield 1


class WaitsWhenCalled:
    __name__ = "waits_when_called"

    async def __call__(self) -> None: ...


@functools.wraps(plain)
async def wraps_plain(amount: int) -> int:
    return amount


def traced(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return call


@pytest.mark.parametrize(
    ("function", "kind"),
    [
        (waits, "async"),
        (streams, "an async generator"),
        (generates, "a generator"),
        (WaitsWhenCalled(), "async"),
        (wraps_plain, "async"),
        (traced(waits), "async"),
        (functools.partial(waits, 1), "async"),
        (functools.partialmethod(waits, 1), "async"),
        (staticmethod(waits), "async"),
        (staticmethod(generates), "a generator"),
        (functools.singledispatchmethod(waits), "async"),
    ],
)
def test_what_a_thread_cannot_run_is_refused_where_it_is_marked(function: Any, kind: str) -> None:
    with pytest.raises(MalformedRequest, match=rf"is {kind}, and @trionet\.rpc\(thread=True\) is for plain functions"):
        rpc(name="work", thread=True)(function)


@pytest.mark.parametrize("value", [1, 0, "yes", None, plain])
def test_a_flag_is_true_or_false(value: Any) -> None:
    with pytest.raises(MalformedRequest, match=r"thread of @trionet\.rpc is True or False"):
        rpc(thread=value)
    with pytest.raises(MalformedRequest, match=r"abandon_on_cancel of @trionet\.rpc is True or False"):
        rpc(thread=True, abandon_on_cancel=value)
    with pytest.raises(MalformedRequest, match=r"read of @trionet\.rpc is True or False"):
        rpc(read=value)
    with pytest.raises(MalformedRequest, match=r"idempotent of @trionet\.rpc is True or False"):
        rpc(idempotent=value)


def test_a_lambda_needs_a_name() -> None:
    with pytest.raises(MalformedRequest, match=r"has no name of its own: use @trionet\.rpc\(name="):
        rpc(thread=True)(lambda: 1)


def test_only_a_thread_can_be_abandoned() -> None:
    with pytest.raises(MalformedRequest, match=r"use @trionet\.rpc\(thread=True, abandon_on_cancel=True\)"):
        rpc(abandon_on_cancel=True)


class Mill:
    @rpc(thread=True)
    def grind(self) -> int:
        return threading.get_ident()

    @rpc(thread=True, abandon_on_cancel=True)
    def press(self) -> int:
        return threading.get_ident()

    @rpc(name="crush_", thread=True)
    @staticmethod
    def crush() -> int:
        return threading.get_ident()

    @rpc(thread=True)
    @classmethod
    def sift(cls) -> int:
        return threading.get_ident()

    @traced
    @rpc(thread=True)
    def mix(self) -> int:
        return threading.get_ident()

    bake = rpc(name="bake", thread=True)(functools.partialmethod(plain, 1))  # type: ignore[type-var]  # no callable yet

    @rpc
    def count(self) -> int:
        return 1


def _threads(service: object) -> dict[str, tuple[bool, bool]]:
    return {
        name: (method.in_thread, method.abandon_on_cancel) for name, method in sorted(exposed_methods(service).items())
    }


class Shelf:
    @traced
    @rpc(read=True, thread=True)
    def look(self) -> int:
        return 1

    @rpc(read=True)
    def list(self) -> int:
        return 1

    @rpc(read=True)
    def count(self) -> int:
        return 1

    @rpc
    def add(self) -> int:
        return 1


class LabelledShelf(Shelf):
    def list(self) -> int:
        return 2

    @rpc
    def count(self) -> int:
        return 2


def test_a_method_only_reads_if_its_mark_says_so() -> None:
    reads = {name: method.is_read for name, method in exposed_methods(LabelledShelf()).items()}
    assert reads == {"look": True, "list": True, "count": False, "add": False}
    mapping = {"plain": plain, "marked": rpc(read=True)(waits)}
    assert {name: method.is_read for name, method in exposed_methods(mapping).items()} == {
        "plain": False,
        "marked": True,
    }


def test_a_method_is_idempotent_if_its_mark_says_so() -> None:
    def replace(key: str, value: str) -> None: ...

    for mark, is_idempotent in ((rpc, False), (rpc(read=True), False), (rpc(idempotent=True), True)):
        found = mark_of(mark(replace))
        assert found is not None
        assert found.idempotent is is_idempotent
    deep = mark_of(traced(rpc(idempotent=True, thread=True)(plain)))
    assert deep is not None
    assert (deep.idempotent, deep.thread, deep.read) == (True, True, False)


def test_a_mark_reaches_the_method_under_all_decorators() -> None:
    assert _threads(Mill()) == {
        "bake": (True, False),
        "count": (False, False),
        "crush_": (True, False),
        "grind": (True, False),
        "mix": (True, False),
        "press": (True, True),
        "sift": (True, False),
    }
    assert not any(method.is_sync for name, method in exposed_methods(Mill()).items() if name != "count")


def test_a_direct_call_of_a_threaded_method_runs_in_the_callers_thread() -> None:
    mill = Mill()
    here = threading.get_ident()
    assert [mill.grind(), mill.press(), mill.crush(), mill.sift(), mill.mix()] == [here] * 5


def test_a_function_of_a_mapping_keeps_its_flags() -> None:
    mill = Mill()
    service = {
        "f": rpc(thread=True)(plain),
        "g": rpc(name="g", thread=True, abandon_on_cancel=True)(lambda: 1),
        "h": lambda: 1,
        "of_object": mill.press,
        "partial": functools.partial(mill.grind),
    }
    assert _threads(service) == {
        "f": (True, False),
        "g": (True, True),
        "h": (False, False),
        "of_object": (True, True),
        "partial": (True, False),
    }


def test_an_override_inherits_the_thread_unless_it_has_a_mark_of_its_own() -> None:
    class Windmill(Mill):
        def grind(self) -> int:
            return 1

        @rpc
        def press(self) -> int:
            return 2

        @rpc(thread=True)
        def count(self) -> int:
            return 3

    found = _threads(Windmill())
    assert (found["grind"], found["press"], found["count"]) == ((True, False), (False, False), (True, False))


def test_an_async_override_without_a_mark_is_refused_and_one_with_a_mark_is_not() -> None:
    class Slow(Mill):
        async def grind(self) -> int:  # type: ignore[override]
            return 1

    class Marked(Mill):
        @rpc
        async def grind(self) -> int:  # type: ignore[override]
            return 1

    with pytest.raises(MalformedRequest, match=r"Slow\.grind is async, and .* leave thread out"):
        exposed_methods(Slow())
    assert _threads(Marked())["grind"] == (False, False)


def test_an_async_decorator_above_a_threaded_method_is_refused_by_name() -> None:
    def later(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        async def call(*args: Any) -> Any:
            return function(*args)

        return call

    class Late:
        @later
        @rpc(thread=True)
        def work(self) -> int:
            return 1

    with pytest.raises(MalformedRequest, match=r"Late\.work is async"):
        exposed_methods(Late())


def test_a_marked_function_keeps_its_type() -> None:
    assert_type(rpc(thread=True)(plain)(1), int)
    assert_type(rpc(thread=True, abandon_on_cancel=True, name="p")(plain)(1), int)
    assert_type(Mill().grind(), int)
