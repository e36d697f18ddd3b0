import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import samples
from trionet import ConfigError, EncodeError, MalformedRequest, NodeConfig
from trionet.codec import JSON, MESSAGEPACK
from trionet.import_paths import import_reference, reference_to


def test_the_defaults_are_a_free_port_on_loopback_without_anything_on_it() -> None:
    config = NodeConfig()
    assert (config.ip, config.port, config.insecure) == ("127.0.0.1", 0, False)
    assert (config.on_start, config.services, config.templates) == (None, {}, {})
    config.check_bind()


def test_a_configuration_is_frozen() -> None:
    config: Any = NodeConfig()
    with pytest.raises(AttributeError):
        config.port = 1


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("ip", ""),
        ("port", -1),
        ("port", 65_536),
        ("on_start", "no reference"),
        ("on_start", "module:"),
        ("on_start", 5),
        ("services", {"name": "module"}),
        ("templates", {"name": "mod ule:Class"}),
        ("max_message_bytes", 0),
        ("max_connections", -1),
        ("idle_timeout_s", 0),
        ("idle_timeout_s", float("nan")),
        ("body_timeout_s", 0),
        ("connect_timeout_s", 0),
        ("stop_grace_s", -0.1),
        ("stop_grace_s", float("nan")),
        ("restart", "sometimes"),
        ("log_level", "loud"),
        ("log_format", "xml"),
    ],
)
def test_a_wrong_value_is_refused_by_name_from_python_and_from_a_mapping(setting: str, value: Any) -> None:
    with pytest.raises(MalformedRequest, match=setting):
        NodeConfig(**{setting: value})
    with pytest.raises(ConfigError, match=rf"^node\.toml: .*{setting}"):
        NodeConfig.from_mapping({setting: value}, source="node.toml")


@pytest.mark.parametrize("setting", ["services", "templates"])
def test_a_service_has_a_well_formed_name(setting: str) -> None:
    with pytest.raises(ConfigError, match=r"a service name is .*'a b'"):
        NodeConfig.from_mapping({setting: {"a b": "module:Class"}})


def test_an_unknown_setting_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"^configuration: there is no setting 'prot'; there is 'port'$"):
        NodeConfig.from_mapping({"prot": 80})
    with pytest.raises(ConfigError, match=r"^there is no setting 'prot'; there is 'port'$"):
        NodeConfig(prot=80)  # type: ignore[call-arg]
    with pytest.raises(ConfigError, match=r"^there is no setting 'timeout_seconds_of_calls'$"):
        NodeConfig(timeout_seconds_of_calls=80)  # type: ignore[call-arg]
    with pytest.raises(ConfigError, match=r"by name: trionet\.NodeConfig"):
        NodeConfig("127.0.0.1", 8080)  # type: ignore[call-arg, arg-type]
    with pytest.raises(ConfigError, match=r"^configuration: there is no setting 3$"):
        NodeConfig.from_mapping({3: 80})  # type: ignore[dict-item]


@pytest.mark.parametrize("setting", ["services", "templates"])
def test_a_service_is_given_by_its_import_path(setting: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{setting}.mine is 'package.module:Class', not <class 'pathlib"):
        NodeConfig(**{setting: {"mine": Path}})  # type: ignore[arg-type]


def test_a_value_of_the_wrong_type_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"port"):
        NodeConfig.from_mapping({"port": "80"})
    with pytest.raises(ConfigError, match=r"insecure"):
        NodeConfig.from_mapping({"insecure": "yes"})


def test_an_empty_mapping_gives_the_defaults() -> None:
    assert NodeConfig.from_mapping({}) == NodeConfig()


def test_settings_are_read_from_toml(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_text('port = 8080\nlog_level = "debug"\n[services]\ncounter = "shop:Counter"\n', encoding="utf-8")
    config = NodeConfig.from_mapping(NodeConfig.settings_from_file(path))
    assert config == NodeConfig(port=8080, log_level="debug", services={"counter": "shop:Counter"})


def test_settings_are_read_from_json_when_the_name_says_so(tmp_path: Path) -> None:
    path = tmp_path / "node.json"
    path.write_text(json.dumps({"port": 8080, "stop_grace_s": 0}), encoding="utf-8")
    config = NodeConfig.from_mapping(NodeConfig.settings_from_file(path))
    assert config == NodeConfig(port=8080, stop_grace_s=0)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("node.toml", b"port = "),
        ("node.toml", b'{"port": 80}'),
        ("node.toml", b"ip = '\xff'"),
        ("node.json", b"port = 80"),
        ("node.json", b"[80]"),
        ("node.json", b'{"ip": "\xff"}'),
        ("node.json", b""),
    ],
)
def test_a_broken_file_is_an_error_that_names_it(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=name):
        NodeConfig.settings_from_file(path)


def test_a_missing_file_or_a_directory_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.toml: No such file"):
        NodeConfig.settings_from_file(tmp_path / "nowhere.toml")
    with pytest.raises(ConfigError, match=tmp_path.name):
        NodeConfig.settings_from_file(tmp_path)


@pytest.mark.parametrize(
    ("variable", "text", "expected"),
    [
        ("TRIONET_IP", "::1", {"ip": "::1"}),
        ("TRIONET_PORT", "8080", {"port": 8080}),
        ("TRIONET_ADVERTISE_IP", "10.0.0.1", {"advertise_ip": "10.0.0.1"}),
        ("TRIONET_ON_START", "shop:begin", {"on_start": "shop:begin"}),
        ("TRIONET_INSECURE", "true", {"insecure": True}),
        ("TRIONET_INSECURE", "1", {"insecure": True}),
        ("TRIONET_INSECURE", "YES", {"insecure": True}),
        ("TRIONET_INSECURE", "no", {"insecure": False}),
        ("TRIONET_INSECURE", "false", {"insecure": False}),
        ("TRIONET_SERVICES", '{"counter": "shop:Counter"}', {"services": {"counter": "shop:Counter"}}),
        ("TRIONET_TEMPLATES", '{"census": "shop:Census"}', {"templates": {"census": "shop:Census"}}),
        ("TRIONET_STOP_GRACE_S", "0.5", {"stop_grace_s": 0.5}),
        ("TRIONET_LOG_LEVEL", "debug", {"log_level": "debug"}),
        ("TRIONET_LOG_FORMAT", "json", {"log_format": "json"}),
        ("TRIONET_TRANSPORT", "http", {"transport": "http"}),
        ("TRIONET_RESTART", "on_failure", {"restart": "on_failure"}),
        ("TRIONET_LAUNCHER", "ssh:far", {"launcher": "ssh:far"}),
        ("TRIONET_CONFIG", "node.toml", {}),
        ("PORT", "8080", {}),
    ],
)
def test_settings_are_read_from_the_environment(variable: str, text: str, expected: dict[str, Any]) -> None:
    settings = NodeConfig.settings_from_environment({variable: text})
    assert settings == expected
    NodeConfig.from_mapping(settings)


@pytest.mark.parametrize(
    ("variable", "text"),
    [("TRIONET_PORT", "http"), ("TRIONET_PORT", ""), ("TRIONET_SERVICES", "shop:Counter"), ("TRIONET_INSECURE", "?")],
)
def test_a_variable_with_no_such_value_is_an_error_that_names_it(variable: str, text: str) -> None:
    with pytest.raises(ConfigError, match=variable):
        NodeConfig.settings_from_environment({variable: text})


@pytest.mark.parametrize("ip", ["0.0.0.0", "::", "192.168.1.1", "example.com"])
def test_listening_beyond_loopback_without_insecure_is_refused_and_says_what_to_do(ip: str) -> None:
    with pytest.raises(ConfigError, match=rf"{ip}.*insecure=True \(--insecure\)"):
        NodeConfig(ip=ip, advertise_ip="192.168.1.1").check_bind()
    NodeConfig(ip=ip, advertise_ip="192.168.1.1", insecure=True).check_bind()


@pytest.mark.parametrize("ip", ["0.0.0.0", "::"])
def test_listening_on_every_address_needs_one_to_tell_others(ip: str) -> None:
    with pytest.raises(ConfigError, match="advertise_ip"):
        NodeConfig(ip=ip, insecure=True).check_bind()


def test_addresses_are_taken_in_the_form_that_all_nodes_know() -> None:
    config = NodeConfig(ip="[::]", advertise_ip="Node.Example.", insecure=True)
    assert (config.ip, config.advertise_ip) == ("::", "node.example")
    config.check_bind()
    NodeConfig(ip="LOCALHOST.").check_bind()
    NodeConfig(ip="::ffff:127.0.0.1").check_bind()
    with pytest.raises(ConfigError, match=r"a.json: ip is '\[::1\]:8080'.* use '\[::1\]', port 8080"):
        NodeConfig.from_mapping({"ip": "[::1]:8080"}, source="a.json")
    with pytest.raises(ConfigError, match="advertise_ip is the address that others connect to"):
        NodeConfig(ip="0.0.0.0", insecure=True, advertise_ip="0.0.0.0")


def test_a_portable_configuration_names_its_on_start_by_import_path() -> None:
    assert NodeConfig(on_start=samples.note_node, port=5).portable() == NodeConfig(
        on_start="tests.samples:note_node", port=5
    )
    assert NodeConfig(on_start="shop:begin").portable() == NodeConfig(on_start="shop:begin")
    assert NodeConfig().portable() == NodeConfig()


def test_an_on_start_that_no_other_process_can_import_is_not_portable() -> None:
    with pytest.raises(EncodeError, match="can't be imported by another process") as caught:
        NodeConfig(on_start=lambda _: None).portable()
    assert caught.value.path == "$.on_start"


@pytest.mark.parametrize("codec", [JSON, MESSAGEPACK])
def test_a_configuration_travels(codec: Any) -> None:
    config = NodeConfig(ip="::1", port=5, on_start="shop:begin", services={"counter": "shop:Counter"}, stop_grace_s=0.5)
    assert codec.decode(codec.encode(config)) == config


def test_a_reference_is_imported() -> None:
    assert import_reference("tests.samples:Counter") is samples.Counter
    assert import_reference("tests.samples:Counter.add") is samples.Counter.add


def test_a_reference_that_leads_nowhere_is_an_error_that_says_where_it_ended() -> None:
    with pytest.raises(ConfigError, match=r"expected 'package\.module:name', got 'tests\.samples'"):
        import_reference("tests.samples")
    with pytest.raises(ConfigError, match=r"can't import 'tests\.nowhere': ModuleNotFoundError"):
        import_reference("tests.nowhere:Counter")
    with pytest.raises(ConfigError, match=r"'tests\.samples' has no 'Nothing'"):
        import_reference("tests.samples:Nothing")


def test_a_module_that_raises_when_imported_is_an_error_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "trionet_test_broken.py").write_text("raise RuntimeError('no licence')", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match="RuntimeError: no licence") as caught:
        import_reference("trionet_test_broken:thing")
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_what_another_process_can_import_has_a_reference() -> None:
    assert reference_to(samples.Counter) == "tests.samples:Counter"
    assert reference_to(samples.note_node) == "tests.samples:note_node"


def _local_function() -> Callable[[], None]:
    def inner() -> None: ...

    return inner


@pytest.mark.parametrize(
    "thing",
    [lambda: None, _local_function(), samples.Counter(), 5, None],
    ids=["lambda", "local function", "object", "number", "none"],
)
def test_what_no_other_process_can_import_has_none(thing: Any) -> None:
    assert reference_to(thing) is None


def test_what_was_defined_in_the_main_program_has_no_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    def begin() -> None: ...

    begin.__module__, begin.__qualname__ = "__main__", "begin"
    monkeypatch.setattr(sys.modules["__main__"], "begin", begin, raising=False)
    assert reference_to(begin) is None


def test_a_function_that_hides_behind_anothers_name_has_no_reference() -> None:
    def impostor() -> None: ...

    impostor.__module__, impostor.__qualname__ = "tests.samples", "note_node"
    assert reference_to(impostor) is None
