"""Typical mistakes of the first day: each is answered with what to write. `docs/mistakes.md` lists them."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import re
import subprocess
import sys
import textwrap
import warnings
from collections.abc import AsyncGenerator, Generator
from typing import TYPE_CHECKING, Any

import pytest
import trio

import trionet
from trionet import MalformedRequest, MethodNotFound, Node, NodeConfig, NodeUnreachable, Remote, RemoteError, rpc
from trionet.simulation import open_cluster

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

AWAIT = "an 'await' is missing"


class Counter:
    @rpc
    async def add(self, amount: int = 1) -> int:
        return amount

    @rpc
    async def count(self) -> AsyncGenerator[int]:
        yield 1

    @rpc
    def plain_generator(self) -> Generator[int]:
        yield 1

    @rpc
    def runs_trio(self) -> None:
        trio.run(trio.sleep, 0)

    @rpc
    async def runs_asyncio(self) -> None:
        await asyncio.sleep(1)

    @trionet.rpc
    def calls_from_no_thread(self) -> None:
        trio.from_thread.run(trio.sleep, 0)

    @rpc(thread=True)
    def waits_in_a_thread(self) -> None:
        trio.lowlevel.current_task()

    @rpc
    async def forgets_await(self) -> int:
        use_unawaited(self.add(1), lambda total: total + 1)
        return 0

    def unmarked(self) -> int:
        return 1


@pytest.fixture
async def node() -> AsyncGenerator[Node]:
    async with trionet.open_node() as node:
        await node.local.routes.put(Counter(), "counter")
        await node.local.groups.put("counters", [node])
        yield node


def on(node: Node, method: str, service: str = "counter") -> Remote:
    return Remote(node=node.address, service=service, method=method)


async def ask(node: Node, method: str, service: str = "counter") -> Any:
    return await node.local.comm.send([], on(node, method, service))


def forget(_: object) -> None: ...


def use_unawaited(coroutine: Any, use: Callable[[Any], Any]) -> None:
    """Use a coroutine as if it were a value; without Python's warning, which would come whenever it is collected."""
    try:
        use(coroutine)
    finally:
        coroutine.close()


async def ask_other(node: Node, other: Node) -> Any:
    return await node.local.comm.send(["nid"], on(other, "get", "status"))


# ---- a forgotten ``async with``

BLOCKS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "open_node": (lambda _: trionet.open_node(), "async with trionet.open_node(...) as node:"),
    "stream": (
        lambda node: node.local.comm.stream([], on(node, "count")),
        "async with node.local.comm.stream(...) as items:",
    ),
    "stream of a group": (
        lambda node: node.group("counters").comm.stream([], Remote(service="counter", method="add")),
        "async with group.comm.stream(...) as answers:",
    ),
    "member": (lambda node: node.group("counters").member(node.sid), "async with group.member(sid) as scope:"),
    "member of the cluster": (
        lambda node: node.local.membership.scope(node.sid),
        "async with node.member(sid) as scope:",
    ),
    "member of a node": (lambda node: node.member(node.sid), "async with node.member(sid) as scope:"),
    "stream of a method": (
        lambda node: node.stream(node.address, Counter.count),
        "async with node.stream(...) as items:",
    ),
    "stream of a method of a group": (
        lambda node: node.group("counters").stream(Counter.count),
        "async with group.stream(...) as items:",
    ),
    "map": (lambda node: node.group("counters").map(Counter.add, [1]), "async with group.map(...) as results:"),
    "simulated cluster": (lambda _: open_cluster(1), "async with open_cluster(...) as sim:"),
}


async def _await(block: Any) -> None:
    await block


async def _iterate(block: Any) -> None:
    async for _ in block:
        pass


async def _iterate_plainly(block: Any) -> None:
    for _ in block:
        pass


async def _enter_plainly(block: Any) -> None:
    with block:
        pass


MISUSES = {"'await'": _await, "'async for'": _iterate, "'for'": _iterate_plainly, "'with'": _enter_plainly}


@pytest.mark.parametrize("misuse", MISUSES)
@pytest.mark.parametrize("what", BLOCKS)
async def test_whatever_is_done_with_a_block_but_entering_it_the_text_says_async_with(
    node: Node, what: str, misuse: str
) -> None:
    make, line = BLOCKS[what]
    with pytest.raises(TypeError, match=re.escape(f"{misuse} instead of 'async with': write '{line}'")):
        await MISUSES[misuse](make(node))


@pytest.mark.parametrize("what", BLOCKS)
async def test_an_attribute_of_a_block_that_was_not_entered_says_async_with(node: Node, what: str) -> None:
    make, line = BLOCKS[what]
    block = make(node)
    with pytest.raises(AttributeError, match=re.escape(f"no 'receive' before the block is entered: write '{line}'")):
        _ = block.receive
    assert line in repr(block)
    assert not hasattr(block, "__wrapped__")


@pytest.mark.parametrize("what", BLOCKS)
async def test_a_block_that_is_never_entered_is_a_warning(node: Node, what: str) -> None:
    make, line = BLOCKS[what]
    with pytest.warns(RuntimeWarning, match=re.escape(f"a block was never entered: write '{line}'")):
        forget(make(node))


async def test_a_block_that_was_entered_is_no_warning_and_is_entered_once(node: Node) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        block = node.local.comm.stream([], on(node, "count"))
        async with block as items:
            assert [item async for item in items] == [1]
        with pytest.raises(RuntimeError, match="can be entered once: write 'async with"):
            await block.__aenter__()
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(node.group("counters").member(node.sid))
        del block
        gc.collect()


async def test_events_are_iterated_over_by_async_for(node: Node) -> None:
    for misuse in (_iterate_plainly, _await):
        with pytest.raises(TypeError, match=r"write 'async for event in node\.events"):
            await misuse(node.events())


# ---- a forgotten ``await``


@pytest.mark.parametrize(
    "use",
    [
        lambda total: total + 1,
        lambda total: 1 + total,
        list,
        lambda total: total.values,
        lambda total: total[0],
        lambda total: total < 1,
    ],
    ids=["add", "added", "iterate", "attribute", "index", "compare"],
)
async def test_a_program_that_ends_because_of_a_forgotten_await_is_told(use: Callable[[Any], Any]) -> None:
    with pytest.raises((TypeError, AttributeError)) as caught:
        async with trionet.open_node() as node:
            use_unawaited(node.local.comm.send([], on(node, "get", "status")), use)
    assert any(AWAIT in note for note in caught.value.__notes__)


async def test_a_note_is_added_once_in_groups_too_and_to_nothing_else() -> None:
    async def run() -> None:
        async with trionet.open_node() as node, trionet.open_node(), trio.open_nursery() as nursery:
            nursery.start_soon(use, node)

    async def use(node: Node) -> None:
        use_unawaited(node.local.comm.send([], on(node, "get", "status")), lambda total: total + 1)

    with pytest.raises(ExceptionGroup) as caught:
        await run()
    (inner,) = caught.value.exceptions
    assert len(inner.__notes__) == 1
    with pytest.raises(TypeError) as other:
        async with trionet.open_node():
            raise TypeError("3 is no text")
    assert not hasattr(other.value, "__notes__")


async def test_the_warning_of_a_forgotten_await_names_the_method(node: Node) -> None:
    with pytest.warns(RuntimeWarning, match=r"coroutine 'Routes\.put' was never awaited"):
        forget(node.local.routes.put(Counter(), "other"))


@pytest.mark.parametrize("of", ["node", "group"])
async def test_a_forgotten_await_of_a_call_by_method_is_told(of: str) -> None:
    async def run() -> None:
        async with trionet.open_node() as node:
            made = node.call(node.address, Counter.add, 1) if of == "node" else node.all.call(Counter.add, 1)
            use_unawaited(made, lambda total: total + 1)

    with pytest.raises(TypeError) as caught:
        await run()
    assert any(AWAIT in note for note in caught.value.__notes__)


# ---- results


@pytest.mark.parametrize(
    ("use", "note"),
    [
        ("map", "write 'async for'"),
        ("stream", "write 'async for'"),
        ("stream of a group", "write 'async for'"),
        ("answers", "write 'async for'"),
        ("sum of replies", "two maps with SIDs as keys: replies.values"),
        ("one of replies", "two maps with SIDs as keys: replies.values"),
        ("group by index", r"write node.group(gid)"),
        ("service by name", "a service is called by node.call(address, Class.method)"),
    ],
)
async def test_a_program_that_ends_because_it_misuses_a_result_is_told(use: str, note: str) -> None:
    async def run() -> None:
        async with trionet.open_node() as node:
            await node.local.routes.put(Counter())
            await _misuse(use, node)

    with pytest.raises((TypeError, AttributeError)) as caught:
        await run()
    assert any(note in each for each in caught.value.__notes__)


async def _misuse(use: str, node: Any) -> None:
    blocks: dict[str, Callable[[], Any]] = {
        "map": lambda: node.all.map(Counter.add, [1]),
        "stream": lambda: node.stream(node.address, Counter.count),
        "stream of a group": lambda: node.all.stream(Counter.count),
        "answers": lambda: node.all.comm.stream(["nid"], Remote(service="status", method="get")),
    }
    if use in blocks:
        async with blocks[use]() as items:
            await _iterate_plainly(items)
    replies: Any = await node.all.call(Counter.add, 1)
    uses: dict[str, Callable[[], Any]] = {
        "sum of replies": lambda: sum(replies),
        "one of replies": lambda: replies[0],
        "group by index": lambda: node["counters"],
        "service by name": lambda: node.counter.add(1),
    }
    uses[use]()


# ---- handlers


@pytest.mark.parametrize(
    ("method", "text"),
    [
        ("runs_trio", "Trio runs this already: write 'await function(...)', in an async function"),
        ("runs_asyncio", "no running event loop; Trio runs this, not asyncio: use Trio's functions"),
        ("waits_in_a_thread", "Trio does not run in this thread: use trio.from_thread.run(function)"),
        ("calls_from_no_thread", "where Trio runs, as in a handler, write 'await function(...)'"),
        ("forgets_await", AWAIT),
        ("plain_generator", "to stream, make the method async: 'async def' with 'yield'"),
    ],
)
async def test_a_handler_that_misuses_trio_is_told_so_at_the_caller(node: Node, method: str, text: str) -> None:
    with pytest.raises(RemoteError, match=re.escape(text)) as caught:
        await ask(node, method)
    assert text not in caught.value.message or method == "plain_generator"  # that is Python's own


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("wait", "options of a call come before it: options(wait=...).call(...)"),
        ("service", "options of a call come before it: options(service=...).call(...)"),
        ("timeout", "deadlines are Trio's: put 'with trio.fail_after(seconds):' around the call"),
        ("amuont", None),
    ],
)
async def test_an_option_among_the_arguments_is_told_from_one(node: Node, name: str, text: str | None) -> None:
    anything: Any = node
    for call in (
        lambda: anything.call(node, Counter.add, 1, **{name: 1}),
        lambda: node.all.call(Counter.add, **{name: 1}),
    ):
        with pytest.raises(MalformedRequest) as caught:
            await call()
        assert caught.value.text.endswith(f"unexpected keyword argument '{name}'" + (f"; {text}" if text else ""))


async def test_a_method_without_a_mark_and_a_misspelled_name_are_told(node: Node) -> None:
    with pytest.raises(MethodNotFound, match=r"'unmarked': methods that others may call are marked with @trionet\.rpc"):
        await ask(node, "unmarked")
    with pytest.raises(MethodNotFound, match="'ad': did you mean 'add'"):
        await ask(node, "ad")
    with pytest.raises(trionet.ServiceNotFound, match="'countr': did you mean 'counter'"):
        await ask(node, "add", "countr")
    with pytest.raises(trionet.ServiceNotFound, match=r"'shop': register it on that node, by routes\.put"):
        await ask(node, "add", "shop")
    with pytest.raises(MethodNotFound) as caught:
        await ask(node, "x" * 100)
    assert "did you mean" not in caught.value.text


async def test_names_are_not_suggested_where_callers_have_different_rights() -> None:
    async with trionet.open_node(NodeConfig(policy=lambda *_: True)) as node:
        await node.local.routes.put(Counter(), "counter")
        with pytest.raises(MethodNotFound) as caught:
            await ask(node, "ad")
        assert "did you mean" not in caught.value.text


async def test_a_stream_is_told_from_a_call(node: Node) -> None:
    with pytest.raises(MalformedRequest, match=r"counter/count is a stream: use comm\.stream"):
        await ask(node, "count")
    with pytest.raises(MalformedRequest, match=r"counter/add is no stream: use comm\.send"):
        async with node.local.comm.stream([], on(node, "add")):
            pass


# ---- names and addresses


async def test_a_service_comes_before_its_name(node: Node) -> None:
    put: Any = node.local.routes.put
    with pytest.raises(MalformedRequest, match=r"the service comes first.*routes\.put\(Counter\(\), 'counter'\)"):
        await put("counter", Counter())


async def test_a_service_of_ones_own_is_no_attribute(node: Node) -> None:
    local: Any = node.local
    with pytest.raises(AttributeError, match=r"no 'counter': call yours by node\.call\(address, Class\.method\)"):
        local.counter.add(1)
    group: Any = node.group("counters")
    with pytest.raises(AttributeError, match=r"no 'counter': call yours by group\.call\(Class\.method\)"):
        group.counter.add(1)
    assert not hasattr(local, "__wrapped__")


ADDRESSES: dict[Any, str] = {
    "127.0.0.1": "use 'ip:port', as in '127.0.0.1:8080'",
    8080: "use 'ip:port', as in '127.0.0.1:8080'",
    "http://127.0.0.1:8080": "leave the scheme and the path out",
    ("127.0.0.1", 8080): r"use trionet\.NodeAddress\(ip, port\)",
    "801a8c253e": r"it is a SID: use node\.all\.members\(\)\[sid\]",
}


@pytest.mark.parametrize("given", ADDRESSES, ids=str)
async def test_what_is_no_address_is_told_what_one_is(node: Node, given: Any) -> None:
    with pytest.raises(MalformedRequest, match=ADDRESSES[given]):
        await node.local.comm.send([], Remote(node=given, service="counter", method="add"))


@pytest.mark.parametrize(("given", "meant"), [("host", "ip"), ("seeds", "join"), ("prot", "port")])
def test_a_setting_by_its_name_in_other_libraries_is_understood(given: str, meant: str) -> None:
    settings: dict[str, Any] = {given: "x"}
    with pytest.raises(trionet.ConfigError, match=f"there is no setting '{given}'; there is '{meant}'"):
        NodeConfig(**settings)


# ---- where Trio does not run


async def test_a_node_that_has_stopped_says_where_its_calls_belong() -> None:
    async with trionet.open_node() as other:
        async with trionet.open_node() as node:
            pass
        with pytest.raises(NodeUnreachable, match=r"has stopped: make its calls within the block of 'async with trion"):
            await ask_other(node, other)


async def _enter(block: Any) -> None:
    async with block:
        raise AssertionError("was entered")


OUTSIDE: dict[str, Callable[[Any, Any], Any]] = {
    "send": ask_other,
    "send to itself": lambda node, _: ask_other(node, node),
    "send to a group": lambda node, _: node.all.comm.send([], Remote(service="status", method="get")),
    "call": lambda node, other: node.call(other.address, Counter.add, 1),
    "call of itself": lambda node, _: node.call(node.address, Counter.add, 1),
    "call of a group": lambda node, _: node.all.call(Counter.add, 1),
    "gossip": lambda node, _: node.all.gossip.call(Counter.add, 1),
    "spawn": lambda node, _: node.spawn(NodeConfig()),
    "join": lambda node, other: node.join([other.address]),
    "events": lambda node, _: anext(node.events()),
    "map": lambda node, _: _enter(node.all.map(Counter.add, [1])),
    "stream": lambda node, other: _enter(node.stream(other.address, Counter.count)),
    "member": lambda node, _: _enter(node.member(node.sid)),
    "open_node": lambda _, __: _enter(trionet.open_node()),
}


@pytest.mark.parametrize("where", ["asyncio", "thread"])
@pytest.mark.parametrize("what", OUTSIDE)
async def test_what_needs_trio_tells_outside_of_it_what_runs_there(node: Node, where: str, what: str) -> None:
    async def use(other: Node) -> Any:
        return await OUTSIDE[what](node, other)

    def run(other: Node) -> Any:
        return asyncio.run(use(other)) if where == "asyncio" else use(other).send(None)

    text = {
        "asyncio": r" needs Trio, and asyncio runs this: start the program by trio\.run",
        "thread": r" needs Trio, and this thread runs without it: use trio\.from_thread\.run",
    }
    async with trionet.open_node() as other:
        with pytest.raises(RuntimeError, match=text[where]):
            await trio.to_thread.run_sync(run, other)
        assert await ask_other(node, other)  # nothing is broken


def test_a_notebook_can_run_a_node_in_a_thread() -> None:
    async def main(node: Node) -> str:
        return str(await node.local.status.get("sid"))

    async def cell() -> str | None:
        with pytest.raises(RuntimeError, match=r"in a notebook, await asyncio\.to_thread\(trionet\.run, main\)"):
            async with trionet.open_node():
                pass
        return await asyncio.to_thread(trionet.run, main)

    assert len(asyncio.run(cell()) or "") == 10


def test_a_main_without_the_node_is_told_its_form() -> None:
    async def main() -> None:
        raise AssertionError("was run")

    with pytest.raises(TypeError, match=r"trionet\.run calls .*main with the node, as in 'async def .*main\(node\)'"):
        trionet.run(main)


# ---- programs of several processes


@pytest.mark.slow
def test_what_is_in_main_is_told_to_be_put_into_a_module(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(
        textwrap.dedent("""
            import trionet

            class Counter:
                @trionet.rpc
                async def add(self) -> int: return 1

            async def main(node):
                for reference in ("__main__:Counter", "nowhere:Counter"):
                    try:
                        await node.spawn(trionet.NodeConfig(services={"counter": reference}))
                    except trionet.SpawnError as exc:
                        print(exc)

            if __name__ == "__main__":
                trionet.run(main)
        """),
        encoding="utf-8",
    )
    said = subprocess.run(
        [sys.executable, "program.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
    ).stdout
    assert "'__main__' has no 'Counter': that is another program in each process. Put it into a module" in said
    assert "No module named 'nowhere': each node that imports it needs it installed, or its folder in PYTH" in said
