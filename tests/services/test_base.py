from typing import Any

import pytest

from tests.samples import Counter, Mute, Needy, make_nothing
from trionet import MalformedRequest, rpc
from trionet.services.base import exposed_methods, service_from


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
