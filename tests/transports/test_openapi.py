"""The OpenAPI document: it describes the methods that there are, and requests by it are answered as it says."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import functools
import logging
import typing
import uuid
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal, NamedTuple, NewType, Protocol, TypedDict, TypeVar

import msgspec
import pytest
import schemathesis
import trio
from hypothesis import HealthCheck, Phase, given, settings

import trionet
from tests.transports.keyed_nodes import open_keyed, request, token
from tests.waiting import DEADLINE_S
from trionet.arguments import Method
from trionet.openapi import document
from trionet.openapi.document import MOST_METHODS
from trionet.security.token_scope import Scope

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from trionet import Node

    StartNode = Callable[..., Awaitable[Node]]

T = TypeVar("T")


class Size(enum.Enum):
    SMALL = "small"
    LARGE = "large"


@dataclasses.dataclass
class Cup:
    size: Size
    sugar: int = 0
    saucer: Cup | None = None


class Order(msgspec.Struct, forbid_unknown_fields=True, tag="order"):
    cups: list[Cup]
    price: float = 1.0


class Table(TypedDict):
    seats: int
    name: str


class Place(NamedTuple):
    row: int
    seat: int = 1


Number = NewType("Number", int)


class Coffee:
    @trionet.rpc
    def brew(self, cups: int = 1, *, label: str = "house") -> int:
        """Brew some cups.

        Return how many have been brewed.
        """
        return cups if label else 0

    @trionet.rpc(read=True)
    def pour(self, cup: Cup, order: Order, table: Table, place: Place, number: Number, size: Size) -> list[Any]:
        return [cup.sugar, order.price, table["seats"], place.row, number, size.value]

    @trionet.rpc
    async def note(
        self,
        at: datetime.datetime,
        day: datetime.date,
        id: uuid.UUID,  # noqa: A002  a word of users
        data: bytes,
        share: float,
    ) -> str:
        return f"{at} {day} {id} {data!r} {share}"

    @trionet.rpc
    async def sort(
        self,
        tags: set[str],
        pair: tuple[int, str],
        prices: dict[str, float],
        kind: Literal["a", 1],
        either: int | str | None,
    ) -> str:
        return f"{tags} {pair} {prices} {kind} {either}"

    @trionet.rpc
    async def drip(self, drops: int) -> AsyncIterator[int]:
        for drop in range(min(drops, 3)):
            yield drop

    @trionet.rpc
    def take(self, *cups: int, **names: str) -> int:
        return len(cups) + len(names)


class Bar(trionet.Template):
    @trionet.rpc
    async def total(self, cups: int) -> trionet.Replies[int]:
        """Count all cups."""
        return trionet.Replies({self.context.gid: cups}, {})


async def document_of(node: Node, **headers: str) -> Any:
    answer = await request(node, "/openapi.json", "", method="GET", **headers)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json")
    return answer.json()


def described(**methods: Callable[..., Any]) -> Any:
    """Return the document of a service with these methods."""
    made = document([("local", "service", name, Method(method)) for name, method in methods.items()], ())
    return msgspec.json.decode(made)


def parameters(method: Callable[..., Any]) -> list[Any]:
    """Return the schemas of the positional parameters of a method."""
    body = described(method=method)["paths"]["/local/service/method"]["put"]["requestBody"]
    return [
        {name: value for name, value in schema.items() if name != "title"}
        for schema in body["content"]["application/json"]["schema"].get("prefixItems", [])
    ]


async def test_it_describes_the_methods_of_the_node_of_the_user_and_of_groups(start_node: StartNode) -> None:
    node = await start_node()
    await node.local.routes.put(Coffee(), "coffee")
    await node.local.groups.put("kitchen", [node.address])
    node.register_template("bar", Bar)
    made = await document_of(node)
    assert made["openapi"] == "3.1.0"
    assert {"/local/status/get", "/all/status/get", "/kitchen/comm/send", "/kitchen/bar/total"} <= set(made["paths"])
    assert {"/live", "/ready", "/healthz", "/metrics", "/openapi.json"} <= set(made["paths"])
    operation = made["paths"]["/local/coffee/brew"]["put"]
    assert (operation["summary"], operation["description"]) == ("Brew some cups.", "Return how many have been brewed.")
    assert operation["requestBody"]["content"]["application/json"]["schema"] == {
        "type": "array",
        "prefixItems": [{"title": "cups", "type": "integer", "default": 1}],
        "minItems": 0,
        "maxItems": 1,
    }
    (label,) = operation["parameters"]
    assert (label["name"], label["in"], label["required"]) == ("label", "query", False)
    assert set(operation["responses"]) > {"200", "400", "401", "403", "404", "413", "500", "503", "504"}
    assert made["paths"]["/local/coffee/brew"]["post"]["requestBody"] == operation["requestBody"]
    stream = made["paths"]["/local/coffee/drip"]["put"]["responses"]["200"]
    assert list(stream["content"]) == ["application/x-ndjson"]
    ids = [one["operationId"] for item in made["paths"].values() for one in item.values() if "operationId" in one]
    assert len(ids) == len(set(ids))


async def test_it_follows_what_is_put_and_removed_and_is_made_once_for_each_state(
    start_node: StartNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = await start_node()
    made = 0

    def count(*args: Any) -> bytes:
        nonlocal made
        made += 1
        return document(*args)

    monkeypatch.setattr("trionet.openapi.document", count)
    for _ in range(3):
        assert "/local/coffee/brew" not in (await document_of(node))["paths"]
    assert made == 1
    await node.local.routes.put(Coffee(), "coffee")
    for _ in range(3):
        assert "/local/coffee/brew" in (await document_of(node))["paths"]
    assert made == 2
    await node.local.routes.rem("coffee")
    assert "/local/coffee/brew" not in (await document_of(node))["paths"]
    await node.local.groups.put("kitchen", [node.address])
    assert "/kitchen/comm/send" in (await document_of(node))["paths"]
    await node.local.groups.del_("kitchen")
    assert "/kitchen/comm/send" not in (await document_of(node))["paths"]


async def test_it_needs_the_scope_read_and_names_the_ways_to_prove_oneself(start_node: StartNode) -> None:
    async with open_keyed() as node:
        assert (await request(node, "/openapi.json", "", method="GET")).status_code == 401
        made = await document_of(node, Authorization=f"Bearer {token(Scope.READ)}")
        assert set(made["components"]["securitySchemes"]) == {"bearer", "signature"}
        assert made["security"] == [{"bearer": []}, {"signature": []}]
        assert made["paths"]["/live"]["get"]["security"] == []
        assert "security" not in made["paths"]["/metrics"]["get"]
    assert "security" not in await document_of(await start_node())


def test_annotations_are_schemas() -> None:
    def method(
        one: int,
        two: bytes,
        three: list[str | None],
        four: tuple[int, ...],
        five: dict[str, int],
        six: Literal["a", "b"],
        seven: Number,
        eight: Size,
    ) -> None: ...

    integer, text = {"type": "integer"}, {"type": "string"}
    found = parameters(method)
    assert found[1].pop("pattern")
    assert found == [
        integer,
        text | {"contentEncoding": "base64"},
        {"type": "array", "items": {"anyOf": [text, {"type": "null"}]}},
        {"type": "array", "items": integer},
        {"type": "object", "additionalProperties": integer},
        {"enum": ["a", "b"]},
        integer,
        {"enum": ["small", "large"]},
    ]

    def others(one: Place, two: decimal.Decimal, three: datetime.date) -> None: ...

    assert parameters(others) == [
        {"type": "array", "prefixItems": [integer, integer], "minItems": 1, "maxItems": 2},
        text | {"format": "decimal"},
        text | {"format": "date"},
    ]


def test_types_with_fields_are_components_also_those_that_contain_themselves() -> None:
    def method(cup: Cup, order: Order, table: Table) -> None: ...

    made = described(method=method)["components"]["schemas"]
    assert made["Cup"]["properties"]["saucer"] == {"anyOf": [{"$ref": "#/components/schemas/Cup"}, {"type": "null"}]}
    assert made["Cup"]["required"] == ["size"]
    assert made["Order"]["additionalProperties"] is False
    assert made["Order"]["properties"]["type"] == {"const": "order"}
    assert made["Table"]["required"] == list(made["Table"]["properties"]) == ["seats", "name"]


def test_two_types_of_one_name_are_two_components() -> None:
    def other() -> type:
        @dataclasses.dataclass
        class Cup:
            handle: bool

        return Cup

    def method(one: Cup, two: Any) -> None: ...

    method.__annotations__["two"] = other()
    assert {"Cup", "Cup_2"} <= set(described(method=method)["components"]["schemas"])


# ---- what users may have


class Odd:
    """Whatever is done with it raises."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(f"no {name}")

    def __hash__(self) -> int:
        raise RuntimeError("no hash")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no equality")

    def __repr__(self) -> str:
        raise RuntimeError("no repr")

    def __str__(self) -> str:
        raise RuntimeError("no text")


class Drawable(Protocol):
    def draw(self) -> None: ...


class Holder(Generic[T]):
    held: T


def endless() -> Any:
    found: Any = int
    for _ in range(200):
        found = list[found]
    return found


class Mixed(enum.Enum):
    ONE = 1
    OTHER = (1, 2)


@pytest.mark.parametrize(
    "annotation",
    [
        Odd,
        5,
        "Missing",
        "not an expression (",
        ...,
        Drawable,
        Holder[int],
        T,
        Callable[[int], str],
        type[int],
        Mixed,
        endless(),
        Annotated[int, object()],
        decimal.Decimal,
        Annotated[int, msgspec.Meta(extra_json_schema={"default": float("nan"), "examples": [object()]})],
        Annotated[str, msgspec.Meta(description="\ud800")],
        Literal[b"x"],
        dict[Any, Any],
        dict[int, str],
        typing.Never,
        typing.Self,
        functools.partial(int),
        [int],
        object,
        complex,
        range,
    ],
    ids=lambda annotation: type(annotation).__name__,
)
def test_no_annotation_breaks_it(annotation: Any) -> None:
    def method(one: Any, *rest: Any, two: Any = None, **others: Any) -> Any: ...

    for each in (annotation, Odd()):  # pytest can't bear such a parameter
        method.__annotations__ = dict.fromkeys(("one", "rest", "two", "others", "return"), each)
        made = described(method=method)
        assert "/local/service/method" in made["paths"]
        schemathesis.openapi.from_dict(made).validate()


def test_no_callable_default_value_or_docstring_breaks_it() -> None:
    def with_defaults(one: Any = 1, two: Any = float("nan"), three: Any = b"", four: Any = "\ud800") -> None: ...

    with_defaults.__defaults__ = (Odd(), *(with_defaults.__defaults__ or ())[1:])

    def without_doc() -> None: ...

    without_doc.__doc__ = Odd()  # type: ignore[assignment]  # as users may
    made = described(
        with_defaults=with_defaults,
        without_doc=without_doc,
        partial=functools.partial(lambda one, two: None, 1),
        builtin=print,
        kind=dict,
        callable_object=Calls(),
        lambda_=lambda *args, **kwargs: None,
    )
    schemathesis.openapi.from_dict(made).validate()
    assert len([path for path in made["paths"] if path.startswith("/local/service/")]) == 7


class Calls:
    def __call__(self, one: int) -> int:
        return one


def test_many_methods_make_no_endless_document() -> None:
    method = Method(lambda: None)
    methods = [("local", "service", f"m{number}", method) for number in range(MOST_METHODS + 10)]
    made = msgspec.json.decode(document(methods, ()))
    assert len([path for path in made["paths"] if path.startswith("/local/service/")]) == MOST_METHODS
    assert str(MOST_METHODS) in made["info"]["description"]


# ---- requests by it

_NOT_CALLED = r"/(stop|spawn|leave)$|/keys/"


def requests_by(url: str, *, of_user: bool) -> int:
    """Make requests that fit the document, and some that don't; check the answers; return how many there were."""
    count = 0
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json").exclude(path_regex=_NOT_CALLED).exclude(method="post")
    schema = schema.include(path_regex="/coffee/") if of_user else schema.exclude(path_regex="/coffee/")
    # What fits a schema may be refused for another reason, as a name that no group can have.
    severe, refused = map(schemathesis.checks.CHECKS.get_one, ("not_a_server_error", "positive_data_acceptance"))
    times = settings(
        max_examples=4 if of_user else 2,
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    for found in schema.get_all_operations():
        operation: Any = found.ok()  # type: ignore[union-attr]  # else there is no such method
        has_input = operation.body or operation.query
        for mode in schemathesis.GenerationMode if has_input else [schemathesis.GenerationMode.POSITIVE]:

            @times
            @given(case=operation.as_strategy(generation_mode=mode))
            def check(case: Any) -> None:
                nonlocal count
                count += 1
                response = case.call(headers={"Trionet-Timeout": "0.2"}, timeout=DEADLINE_S)
                excluded = [] if of_user else [refused]
                if response.status_code in (502, 504):  # it called another node, or waits for what does not happen
                    excluded.append(severe)
                case.validate_response(response, excluded_checks=excluded)

            check()
    return count


@pytest.mark.slow
@pytest.mark.parametrize("of_user", [True, False], ids=["of a user", "of trionet"])
async def test_requests_by_the_document_are_answered_as_it_says(
    start_node: StartNode, of_user: bool, caplog: pytest.LogCaptureFixture
) -> None:
    node = await start_node(trionet.NodeConfig(join=[]))
    await node.local.routes.put(Coffee(), "coffee")
    with caplog.at_level(logging.CRITICAL, "trionet"):
        url = f"http://{node.address}"
        count = await trio.to_thread.run_sync(functools.partial(requests_by, url, of_user=of_user))
    assert count > 20
