"""However a configuration is made, a setting of the wrong type or range is a `ConfigError` that names it."""

from __future__ import annotations

import enum
import math
import types
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trionet import ConfigError, MalformedRequest, NodeAddress, NodeConfig, open_node
from trionet.codec import JSON, MESSAGEPACK
from trionet.config import check_tags
from trionet.conversion import Misfit, converter_for

if TYPE_CHECKING:
    from collections.abc import Iterator

SETTINGS = [field.name for field in msgspec.structs.fields(NodeConfig)]


class Port(enum.IntEnum):
    WEB = 80


class Name(str):
    __slots__ = ()


class Odd:
    """No setting is one; even its text can't be made."""

    def __repr__(self) -> str:
        raise ValueError("don't look at me")

    def __hash__(self) -> int:
        raise ValueError("don't look at me")

    def __eq__(self, other: object) -> bool:
        raise ValueError("don't look at me")


class Unreadable(Mapping[str, str]):
    """A mapping that raises when it is read, and no text either."""

    def __getitem__(self, key: str) -> str:
        raise ValueError("don't look at me")

    def __iter__(self) -> Iterator[str]:
        raise ValueError("don't look at me")

    def __len__(self) -> int:
        return 1

    __repr__ = Odd.__repr__


class Classless:
    """Raises even when it is asked for its class."""

    def __getattribute__(self, name: str) -> Any:
        raise ValueError("don't look at me")


WRONG: dict[str, list[Any]] = {
    "ip": [5, None, b"127.0.0.1", Name("127.0.0.1"), ["127.0.0.1"], "caf\udce9", "", "x" * 254],
    "port": ["80", 80.0, True, None, Port.WEB, -1, 70_000, 2**70, [80]],
    "advertise_ip": [5, b"x", ["x"], "caf\udce9"],
    "advertise_port": ["80", 80.0, True, Port.WEB, 0, -1, 65_536, 2**70, [80]],
    "policy": [5, "no reference", b"a:b", {}, {"allow": []}],
    "on_start": [5, "no reference", b"a:b", {}],
    "insecure": [1, "yes", None, []],
    "key_file": [5, b"cluster.key", ["cluster.key"], "", "a\0b", "caf\udce9", "trionet-key-v1:" + "A" * 48],
    "certificate_file": [5, b"a.pem", ["a.pem"], "", "a\0b", "caf\udce9"],
    "private_key_file": [5, b"a.pem", ["a.pem"], "", "a\0b", "caf\udce9"],
    "ca_file": [5, b"a.pem", ["a.pem"], "", "a\0b", "caf\udce9"],
    "accept": ["sure", "", None, 5, b"both", True, ["both"], Name("both")],
    "send": ["both", "", None, 5, b"plain", True, ["plain"], Name("plain")],
    "trust_code": [1, "yes", None, []],
    "cluster": [5, None, b"shop", ["shop"], "", "Shop", "-shop", "shop.", "a b", "caf\u00e9", "x" * 64, "shop\n"],
    "services": [None, "a:b", ["a:b"], {"a"}, {"a": 5}, {5: "a:b"}, {"a": None}, {"a": "no"}, {"a b": "m:C"}],
    "templates": [None, "a:b", ["a:b"], {"a": 5}, {5: "a:b"}, {"a b": "m:C"}],
    "join": [[Odd()], "127.0.0.1:80", 5, {}, {"127.0.0.1:80"}, [5], [None], ["127.0.0.1"], ["127.0.0.1:0"], b"x", True],
    "profile": [5, None, "moon", ["lan"], Name("lan")],
    "tags": [None, "a", ["a"], {"version": 3}, {3: "version"}, {"a": None}, {"a": "caf\udce9"}, {"a": "x" * 513}],
    "datagrams": [1, None, "true"],
    "transport": ["pigeon", None, 5, b"link", ["link"], {}],
    "busy_poll": [0, None, "no"],
    "max_held_bytes": ["1", 1.5, True, 0, -1, 1024, 2**70],
    "max_message_bytes": ["1", 1.5, True, None, 0, -1, 2**70],
    "max_message_containers": ["1", 1.5, True, None, 0, -1, 2**70],
    "max_calls_per_peer": ["1", 1.5, True, None, 0, -1, 2**70],
    "max_threads": ["1", 1.5, True, None, 0, -1, 2**70],
    "max_connections": ["1", 1.5, True, None, 0, -1, 2**70],
    "idle_timeout_s": ["1", True, None, 0, -1, math.nan, math.inf, 10**400, [1]],
    "body_timeout_s": ["1", True, None, 0, -1, math.nan, math.inf],
    "connect_timeout_s": ["1", True, None, 0, -1, math.nan, math.inf],
    "stop_grace_s": ["1", True, None, -0.1, math.nan, math.inf],
    "launcher": [5, b"ssh:x", ["ssh:x"], "caf\udce9"],
    "child_launcher": [5, b"ssh:x", ["ssh:x"], "caf\udce9"],
    "restart": ["sometimes", None, True, ["never"]],
    "detach": [1, "no", None],
    "log_level": ["loud", None, 10, Name("info")],
    "log_format": ["xml", None, True, Name("json")],
}


def test_the_table_has_every_setting() -> None:
    assert sorted(WRONG) == sorted(SETTINGS)


@pytest.mark.parametrize(
    ("setting", "value"),
    [(setting, value) for setting, values in WRONG.items() for value in [*values, Odd(), Unreadable(), object]],
)
def test_a_wrong_value_is_refused_by_name_and_with_one_text_however_it_comes(setting: str, value: Any) -> None:
    if setting == "on_start" and value is object:
        return  # it can be called
    with pytest.raises(ConfigError, match=setting) as from_python:
        NodeConfig(**{setting: value})
    with pytest.raises(ConfigError) as from_mapping:
        NodeConfig.from_mapping({setting: value}, source="node.toml")
    assert str(from_mapping.value) == f"node.toml: {from_python.value}"
    with pytest.raises(ConfigError, match=setting):
        msgspec.structs.replace(NodeConfig(), **{setting: value})


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_value_that_can_not_even_be_shown_is_refused_by_name(setting: str) -> None:
    values: list[Any] = [Classless(), 10**5000]  # no parameters: pytest looks at these
    for value in values:
        with pytest.raises(ConfigError, match=setting):
            NodeConfig(**{setting: value})


@pytest.mark.parametrize("codec", [JSON, MESSAGEPACK], ids=["json", "messagepack"])
def test_a_wrong_value_is_refused_when_it_comes_over_the_wire(codec: Any) -> None:
    for setting in SETTINGS:
        wire = {"$type": ["trionet:NodeConfig", {setting: [[]]}]}
        with pytest.raises(MalformedRequest, match=setting):
            codec.restore(wire)
        converter = converter_for(NodeConfig)
        assert converter is not None
        with pytest.raises(Misfit, match=setting):
            converter.fit({setting: [[]]}, True)


_values: st.SearchStrategy[Any] = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(),
        st.binary(),
        st.sampled_from([Port.WEB, Name("lan"), 2**100, "\ud800", object(), "127.0.0.1:80", "a:b", "never", "lan"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=3),
    ),
    max_leaves=6,
)


@given(setting=st.sampled_from(SETTINGS), value=_values)
def test_any_value_makes_a_configuration_that_travels_or_an_error_that_names_the_setting(
    setting: str, value: Any
) -> None:
    try:
        config = NodeConfig(**{setting: value})
    except ConfigError as exc:
        refused = exc.text
    else:
        back = JSON.decode(JSON.encode(config))
        assert back == config
        assert type(getattr(back, setting)) is type(getattr(config, setting))
        return
    assert setting in refused


def test_a_configuration_keeps_no_container_that_it_was_given() -> None:
    join, tags, services = ["127.0.0.1:1"], {"a": "b"}, {"s": "m:C"}
    config = NodeConfig(join=join, tags=tags, services=services, templates=services)
    join.append("127.0.0.1:2")
    tags["version"] = 3  # type: ignore[assignment]  # that is what it must not hear of
    services.clear()
    assert config == NodeConfig(join=["127.0.0.1:1"], tags={"a": "b"}, services={"s": "m:C"}, templates={"s": "m:C"})


def test_a_tuple_does_for_a_list_and_any_mapping_for_a_dict_and_they_become_these() -> None:
    config = NodeConfig(
        join=(NodeAddress("127.0.0.1", 1), "localhost:2"),  # type: ignore[arg-type]  # it is taken nevertheless
        tags=types.MappingProxyType({"a": "b"}),  # type: ignore[arg-type]  # likewise
        idle_timeout_s=60,
    )
    assert (config.join, type(config.join)) == (["127.0.0.1:1", "localhost:2"], list)
    assert (config.tags, type(config.tags)) == ({"a": "b"}, dict)
    assert (config.idle_timeout_s, type(config.idle_timeout_s)) == (60.0, float)


@pytest.mark.parametrize("mapping", [5, None, [], "ip", {5: 1}, {Name("prot"): 1}], ids=repr)
def test_what_is_no_table_of_settings_is_refused(mapping: Any) -> None:
    with pytest.raises(ConfigError, match=r"^node\.toml: "):
        NodeConfig.from_mapping(mapping, source="node.toml")


@pytest.mark.parametrize("tags", [5, None, "a", ["a"], {"version": 3}, {3: "a"}, {"a": "\ud800"}, {"a": "x" * 600}])
async def test_wrong_tags_are_refused_at_runtime_as_well(tags: Any) -> None:
    with pytest.raises(ConfigError, match="tags"):
        check_tags(tags)
    async with open_node(NodeConfig(join=[])) as node:
        with pytest.raises(MalformedRequest, match="tags"):
            await node.local.membership.set_tags(tags)
