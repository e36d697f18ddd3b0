import contextvars
import dataclasses
from collections.abc import Callable, Generator
from typing import Any

import msgspec
import pytest
import trio
import trio.lowlevel
from trio.testing import MockClock

from trionet import (
    CallTimeout,
    GroupNotFound,
    KeyDoesNotExist,
    MalformedRequest,
    MethodNotFound,
    NodeAddress,
    RemoteError,
    ServiceNotFound,
    TemporarilyUnavailable,
    current_call,
)
from trionet.message import Call
from trionet.router import Method, Router, is_awaitable

CALLER = NodeAddress("127.0.0.1", 8080)


def _router(*functions: Callable[..., Any]) -> Router:
    router = Router()
    router.put("local", "shop", {function.__name__: Method(function) for function in functions})
    return router


async def _call(function: Callable[..., Any], *args: Any, timeout_s: float | None = None, **kwargs: Any) -> Any:
    """Return what a node answers to a call of `function`."""
    return await _router(function).call(
        Call(
            gid="local",
            service="shop",
            method=function.__name__,
            args=args,
            kwargs=kwargs,
            id="call-1",
            caller=CALLER,
            timeout_s=timeout_s,
        )
    )


@dataclasses.dataclass
class Order:
    item: str
    amount: int = 1


class Address(msgspec.Struct):
    street: str


class Picky(msgspec.Struct):
    size: int

    def __post_init__(self) -> None:
        raise KeyError(self.size)


class Waiting:
    def __await__(self) -> Generator[None]:
        yield


class Proxy:
    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)


def _kind(value: Picky) -> None:
    """Take a type that may not like a value, in its own way."""


async def test_an_argument_that_its_type_refuses_in_whatever_way_does_not_fit() -> None:
    with pytest.raises(MalformedRequest, match="argument 'value'"):
        await _call(_kind, {"size": 3})


def test_whether_a_value_can_be_awaited_is_not_asked_of_the_value() -> None:
    assert not is_awaitable(Proxy())
    assert is_awaitable(Waiting())


_color: contextvars.ContextVar[str] = contextvars.ContextVar("color", default="none")


async def test_what_a_plain_handler_sets_in_its_context_is_its_own() -> None:
    def paint(color: str) -> tuple[str, str]:
        before = _color.get()
        _color.set(color)
        return before, current_call().id

    router = _router(paint)
    call = Call("local", "shop", "paint", ["red"], {}, "call-1", CALLER, None)
    for _ in range(2):
        assert router.prepare(call).begin() == ("none", "call-1")
    assert _color.get() == "none"
    with pytest.raises(RuntimeError):
        current_call()


async def test_sync_and_async_handlers_answer() -> None:
    def half(number: int) -> float:
        return number / 2

    async def double(number: int) -> int:
        await trio.lowlevel.checkpoint()
        return number * 2

    assert await _call(half, 3) == 1.5
    assert await _call(double, 3) == 6


async def test_a_sync_handler_that_returns_an_awaitable_is_awaited() -> None:
    async def later() -> str:
        await trio.lowlevel.checkpoint()
        return "later"

    def begin() -> Any:
        return later()

    assert await _call(begin) == "later"


async def test_arguments_bind_as_in_python() -> None:
    def show(first: Any, /, second: Any = 2, *rest: Any, named: Any = None, **more: Any) -> list[Any]:
        return [first, second, rest, named, more]

    assert await _call(show, 1) == [1, 2, (), None, {}]
    assert await _call(show, 1, "b", "c", named="n", other="o") == [1, "b", ("c",), "n", {"other": "o"}]
    assert await _call(show, 1, second="by name") == [1, "by name", (), None, {}]


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [((), {}), ((1, 2, 3), {}), ((1,), {"third": 3}), ((1,), {"first": 1}), (("1",), {}), ((1.0,), {}), ((1, "2"), {})],
)
async def test_arguments_that_do_not_fit_are_refused_before_the_handler_runs(
    args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    ran = []

    def add(first: int, second: int = 0) -> None:
        ran.append((first, second))

    with pytest.raises(MalformedRequest, match="add"):
        await _call(add, *args, **kwargs)
    assert not ran


async def test_annotated_arguments_are_made_from_their_json_form() -> None:
    async def order(order: Order, where: Address | None = None, *more: Order, **named: Order) -> list[Any]:
        await trio.lowlevel.checkpoint()
        return [order, where, more, named]

    assert await _call(order, {"item": "tea"}) == [Order("tea"), None, (), {}]
    assert await _call(order, {"item": "tea"}, {"street": "Main"}, {"item": "cup", "amount": 2}) == [
        Order("tea"),
        Address("Main"),
        (Order("cup", 2),),
        {},
    ]
    assert await _call(order, {"item": "tea"}, extra={"item": "pot"}) == [
        Order("tea"),
        None,
        (),
        {"extra": Order("pot")},
    ]


async def test_an_argument_that_is_that_type_already_is_left_alone() -> None:
    given: list[Order] = []

    def note(order: Order) -> None:
        given.append(order)

    tea = Order("tea")
    await _call(note, tea)
    assert given[0] is tea


async def test_a_nested_argument_that_does_not_fit_is_refused_with_its_place() -> None:
    def order(order: Order) -> None: ...

    with pytest.raises(MalformedRequest, match=r"argument 'order' of order.*\$\.amount"):
        await _call(order, {"item": "tea", "amount": "much"})


async def test_an_annotation_for_the_type_checker_alone_is_not_in_the_way_of_the_others() -> None:
    def order(order: "Order", where: "Nowhere" = None) -> "Nowhere":  # type: ignore[name-defined]  # noqa: F821
        return [order, where]

    assert await _call(order, {"item": "tea"}, 5) == [Order("tea"), 5]
    with pytest.raises(MalformedRequest, match="argument 'order'"):
        await _call(order, 5)


async def test_parameters_without_annotation_take_anything() -> None:
    def show(thing, other: Any = None):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202  its subject
        return [thing, other]

    assert await _call(show, {"a": 1}, b"x") == [{"a": 1}, b"x"]


async def test_a_builtin_without_a_signature_can_be_called() -> None:
    router = Router()
    router.put("local", "shop", {"max": Method(max)})
    assert await router.call(Call(gid="local", service="shop", method="max", args=[1, 3, 2])) == 3


async def test_what_a_handler_raises_is_a_remote_error_with_type_message_and_traceback() -> None:
    def fail() -> None:
        raise ZeroDivisionError("by zero")

    with pytest.raises(RemoteError, match=r"^ZeroDivisionError: by zero$") as caught:
        await _call(fail)
    assert caught.value.type_name == "ZeroDivisionError"
    assert "in fail" in caught.value.traceback
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


async def test_an_error_of_ours_that_a_handler_raises_is_its_answer() -> None:
    async def read() -> None:
        await trio.lowlevel.checkpoint()
        raise KeyDoesNotExist("no such key")

    with pytest.raises(KeyDoesNotExist, match="no such key"):
        await _call(read)


async def test_an_error_of_a_call_that_the_handler_made_tells_of_that_call_and_not_of_this_one() -> None:
    def relay() -> None:
        error = CallTimeout("the other node was slow")
        error.node = "127.0.0.1:9"
        raise error

    with pytest.raises(RemoteError, match="the other node was slow") as caught:
        await _call(relay)
    assert caught.value.type_name == "trionet.errors.CallTimeout"


async def test_a_group_of_exceptions_is_a_remote_error_too() -> None:
    async def fail() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.lowlevel.checkpoint)
            raise ValueError("in a nursery")

    with pytest.raises(RemoteError, match="ExceptionGroup") as caught:
        await _call(fail)
    assert "ValueError: in a nursery" in caught.value.traceback


class Rude(BaseException):
    pass


@pytest.mark.parametrize(
    "exc", [SystemExit(3), GeneratorExit(), Rude("rude"), BaseExceptionGroup("g", [Rude()])], ids=repr
)
async def test_a_base_exception_of_a_handler_is_a_remote_error(exc: BaseException) -> None:
    def fail() -> None:
        raise exc

    with pytest.raises(RemoteError) as caught:
        await _call(fail)
    assert caught.value.type_name.endswith(type(exc).__qualname__)


async def test_a_keyboard_interrupt_gets_past() -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    def interrupt_in_group() -> None:
        raise BaseExceptionGroup("both", [KeyboardInterrupt(), ValueError("lost")])

    with pytest.raises(KeyboardInterrupt):
        await _call(interrupt)
    with pytest.raises(BaseExceptionGroup) as caught:
        await _call(interrupt_in_group)
    assert [type(leaf) for leaf in caught.value.exceptions] == [KeyboardInterrupt]


async def test_cancellation_gets_past() -> None:
    ended = []

    async def wait() -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.append(True)

    with trio.CancelScope() as scope:
        scope.cancel()
        await _call(wait)
    assert scope.cancelled_caught
    assert ended


async def test_the_callers_deadline_ends_the_handler(autojump_clock: MockClock) -> None:
    async def wait() -> None:
        await trio.sleep(10)

    began = trio.current_time()
    with pytest.raises(CallTimeout, match="local/shop/wait"):
        await _call(wait, timeout_s=3)
    assert trio.current_time() - began == pytest.approx(3)


async def test_a_handler_that_ends_in_time_answers(autojump_clock: MockClock) -> None:
    async def wait() -> str:
        await trio.sleep(2.9)
        return "in time"

    assert await _call(wait, timeout_s=3) == "in time"


@pytest.mark.parametrize("timeout_s", [0, -1])
async def test_a_call_whose_time_is_over_does_not_run(timeout_s: float) -> None:
    ran = []

    def run() -> None:
        ran.append(True)

    with pytest.raises(CallTimeout):
        await _call(run, timeout_s=timeout_s)
    assert not ran


async def test_a_handlers_own_timeout_is_not_the_callers(autojump_clock: MockClock) -> None:
    async def hurry() -> None:
        with trio.fail_after(1):
            await trio.sleep_forever()

    with pytest.raises(RemoteError, match="TooSlowError"):
        await _call(hurry, timeout_s=3)


async def test_a_handler_reads_its_call(autojump_clock: MockClock) -> None:
    async def describe() -> Any:
        await trio.lowlevel.checkpoint()
        return current_call()

    call = await _call(describe, timeout_s=3)
    assert (call.id, call.caller, call.gid) == ("call-1", CALLER, "local")
    assert call.deadline == pytest.approx(trio.current_time() + 3)
    assert (await _call(describe)).deadline == float("inf")


async def test_a_handler_under_an_earlier_deadline_reads_that_one(autojump_clock: MockClock) -> None:
    async def deadline() -> float:
        await trio.lowlevel.checkpoint()
        return current_call().deadline

    with trio.fail_after(1):
        assert await _call(deadline, timeout_s=3) == pytest.approx(trio.current_time() + 1)


async def test_outside_of_a_handler_there_is_no_call() -> None:
    def nothing() -> None: ...

    with pytest.raises(RuntimeError, match="no call"):
        current_call()
    await _call(nothing)
    with pytest.raises(RuntimeError, match="no call"):
        current_call()


@pytest.mark.parametrize(
    ("gid", "service", "method", "error"),
    [
        ("nowhere", "shop", "open", GroupNotFound),
        ("local", "nothing", "open", ServiceNotFound),
        ("local", "shop", "nothing", MethodNotFound),
    ],
)
async def test_an_unknown_name_is_an_error_that_says_which(
    gid: str, service: str, method: str, error: type[Exception]
) -> None:
    def open_() -> None: ...

    router = Router()
    router.put("local", "shop", {"open": Method(open_)})
    with pytest.raises(error, match="'no"):
        await router.call(Call(gid=gid, service=service, method=method))
    assert router.served == 0


async def test_a_service_can_be_replaced_and_removed() -> None:
    router = Router()
    router.put("local", "shop", {"name": Method(lambda: "old")})
    router.put("local", "shop", {"name": Method(lambda: "new")})
    call = Call(gid="local", service="shop", method="name")
    assert await router.call(call) == "new"
    router.remove("local", "shop")
    router.remove("local", "shop")
    with pytest.raises(ServiceNotFound):
        await router.call(call)
    router.remove("local")
    router.remove("local")
    with pytest.raises(GroupNotFound):
        await router.call(call)


async def test_calls_that_were_taken_on_are_counted() -> None:
    def fail() -> None:
        raise ValueError

    router = _router(fail)
    for count in (1, 2):
        with pytest.raises(RemoteError):
            await router.call(Call(gid="local", service="shop", method="fail"))
        assert router.served == count
    with pytest.raises(MalformedRequest):
        await router.call(Call(gid="local", service="shop", method="fail", args=["too many"]))
    assert router.served == 2


async def test_a_node_that_refuses_takes_no_call_but_to_stop() -> None:
    router = _router(lambda: None)
    router.put("local", "shop", {"open": Method(lambda: "open")})
    router.put("local", "status", {"stop": Method(lambda: "stopped"), "get": Method(lambda: 1)})
    router.refusing = "the node is stopping"
    for service, method in (("shop", "open"), ("status", "get")):
        with pytest.raises(TemporarilyUnavailable, match="the node is stopping"):
            await router.call(Call(gid="local", service=service, method=method))
    assert await router.call(Call(gid="local", service="status", method="stop")) == "stopped"
