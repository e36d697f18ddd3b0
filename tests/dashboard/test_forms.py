"""What a form needs to know of a method."""

from __future__ import annotations

import enum
import json
import re
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
import pytest

from trionet.arguments import Method
from trionet.dashboard.topics.told_forms import services_told
from trionet.openapi.forms import form_of


class Size(enum.Enum):
    SMALL = "small"
    LARGE = "large"


class Pair(NamedTuple):
    one: int
    other: str


@dataclass
class Order:
    cups: int


ODD = object()

KINDS: list[tuple[Any, str]] = [
    *[(int, "int"), (float, "float"), (bool, "bool"), (str, "str"), (bytes, "bytes"), (datetime, "datetime")],
    *[(uuid.UUID, "uuid"), (list[int], "list"), (dict[str, int], "dict"), (Size, "choice"), (Order, "dict")],
    *[(Literal["x", "y", 3], "choice"), (Pair, "list"), (set[int], "list"), (date, "str"), (int | str, "json")],
    *[(Annotated[int, msgspec.Meta(ge=0)], "int"), (Any, "json"), (Callable[[], None], "json"), (3.5, "json")],
    *[(int | None, "int"), (Literal["x"] | None, "choice"), (Mapping[str, int], "dict"), ("Unknown", "json")],
]


def parameters(function: Callable[..., Any]) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in form_of(Method(function))["parameters"]}


def taking(annotation: Any) -> dict[str, Any]:
    """Return what a form knows of a parameter with an annotation."""

    def method(x: Any) -> None: ...

    method.__annotations__ = {"x": annotation}
    return parameters(method)["x"]


@pytest.mark.parametrize(
    ("annotation", "kind"), KINDS, ids=[re.sub(" at 0x[0-9a-f]+", "", str(annotation)) for annotation, _ in KINDS]
)
def test_each_type_has_its_kind_of_input(annotation: Any, kind: str) -> None:
    assert taking(annotation)["type"] == kind


def test_choices_and_nulls_are_told() -> None:
    assert sorted(taking(Size)["choices"]) == ["large", "small"]
    assert sorted(map(str, taking(Literal["x", "y", 3])["choices"])) == ["3", "x", "y"]
    assert [taking(kind).get("is_optional") for kind in (int, int | None, Literal["x"] | None)] == [None, True, True]
    assert taking(int)["annotation"] == "int"


def test_kinds_of_parameters_and_defaults_are_told() -> None:
    def method(a: int, /, b: int = 1, *rest: str, c: str | None = None, d: Any = ODD, **named: float) -> None:
        """Do it.

        At length.
        """

    found = parameters(method)
    assert [one["kind"] for one in found.values()] == ["positional", "either", "rest", "keyword", "keyword", "named"]
    assert [one.get("default") for one in found.values()] == [None, "1", None, "null", None, None]
    assert found["d"]["shown_default"].startswith("<object object")
    assert form_of(Method(method))["doc"] == "Do it."


def test_a_form_is_plain_data_without_nulls() -> None:
    async def stream(count: int = 3) -> AsyncIterator[int]:
        yield count

    form = form_of(Method(stream, is_read=True))
    assert (form["is_stream"], form["is_read"]) == (True, True)
    for each in (form, form_of(Method(print))):
        assert "null" not in json.dumps(each).replace('"null"', "")


class Rude:
    """A default whose representation raises."""

    def __repr__(self) -> str:
        raise RuntimeError("no")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no")

    __hash__ = None  # type: ignore[assignment]


RUDE = Rude()


def test_what_a_user_writes_raises_nothing_and_is_cut() -> None:
    def rude(a: Any = RUDE, b: str = "x" * 10_000, c: Unknown = 1, d: 5 = 2, e: Any = float("nan")) -> None: ...  # type: ignore[valid-type, name-defined]  # noqa: F821

    rude.__doc__ = "word " * 10_000
    found = parameters(rude)
    assert all(len(str(one)) < 1000 for one in found.values())
    assert "default" not in found["e"]
    assert len(json.dumps(form_of(Method(rude)))) < 5000
    many: dict[str, Any] = {}
    exec(f"def many({', '.join(f'a{i}=0' for i in range(200))}): ...", many)
    assert len(form_of(Method(many["many"]))["parameters"]) <= 64
    assert form_of(Method(many["many"]))["signature"].endswith("…")


def test_a_method_without_a_signature_has_no_parameters() -> None:
    assert "parameters" not in form_of(Method(max))
    assert form_of(Method(print))["parameters"][0]["kind"] == "rest"


ABOUT = {"origin": "put", "scope": "call"}
GOOD: dict[str, Any] = {"signature": "f()", "is_read": False, "is_stream": False, "parameters": [], **ABOUT}
PARAMETER: dict[str, Any] = {"name": "a", "kind": "either", "type": "int"}


def told(form: object) -> dict[str, Any]:
    return services_told({"s": {"m": form}})["s"]


@pytest.mark.parametrize(("annotation", "kind"), KINDS, ids=str)
def test_what_a_correct_node_tells_arrives_whole(annotation: Any, kind: str) -> None:
    def method(x: Any = None, *, y: int | None = 3) -> None:
        """Do it."""

    method.__annotations__ = {"x": annotation, "y": int | None}
    form = form_of(Method(method)) | ABOUT
    assert told(form) == {"m": form}
    assert form["parameters"][0]["type"] == kind


ODD_PARAMETERS: list[Any] = [
    *["x", [5], [PARAMETER] * 65, [PARAMETER | {"kind": "odd"}], [PARAMETER | {"name": None}]],
    *[[PARAMETER | {"choices": [[]]}], [PARAMETER | {"default": 5}]],
]
ODD_FORMS: list[Any] = [
    *[None, 5, "x", [], {}, GOOD | {"scope": "root"}, GOOD | {"signature": 5}, GOOD | {"signature": "x" * 1000}],
    *[GOOD | {"parameters": parameters} for parameters in ODD_PARAMETERS],
]


@pytest.mark.parametrize("form", ODD_FORMS)
def test_a_form_of_another_kind_is_left_out(form: object) -> None:
    assert told(GOOD) == {"m": GOOD}
    assert told(form) == {}


@pytest.mark.parametrize("answer", [None, [], {"s": None}, {1: {2: GOOD}}, {"s" * 1000: {"m" * 1000: GOOD}}])
def test_services_of_another_kind_do_no_harm(answer: object) -> None:
    assert len(json.dumps(services_told(answer))) < 1000


def test_methods_are_bounded_in_number() -> None:
    many = {f"s{i}": {f"m{j}": GOOD for j in range(100)} for i in range(100)}
    assert sum(map(len, services_told(many).values())) == 1000
