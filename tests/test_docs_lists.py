"""The lists of the reference are whole: each is compared with what it lists.

The settings, errors and public names are compared in tests/test_docs.py, and the metrics in tests/transports.
"""

from __future__ import annotations

import importlib
import itertools
import pkgutil
import re
import runpy
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, get_args

import pytest

import trionet
from trionet import protocols
from trionet.cli.cluster.cluster_file import FILE_KEYS, HOST_KEYS
from trionet.cli.cluster.placement import PLACEMENTS
from trionet.maelstrom.call_bodies import CallBody
from trionet.protocols.effects import Proof, ProtocolMessage
from trionet.protocols.link.frames import Frame
from trionet.protocols.link.refusals import Refusal
from trionet.simulation import Fault
from trionet.transports import call_headers, web_errors

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
T = TypeVar("T")
PUBLIC = [getattr(trionet, name) for name in trionet.__all__]
ERRORS = [thing for thing in PUBLIC if isinstance(thing, type) and issubclass(thing, trionet.TrionetError)]


def rows_of(page: str, heading: str) -> list[list[str]]:
    """Return the rows of the table of a page whose first column has that heading."""
    text = (DOCS / page).read_text(encoding="utf-8")
    table = re.search(rf"^\| {re.escape(heading)} \|.*\n\|[-| ]+\n((?:\|.*\n)+)", text, re.MULTILINE)
    assert table is not None, f"{page} has no table that begins with {heading}"
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row.strip())[1:-1]] for row in table[1].splitlines()]


def names_in(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def subclasses(base: type[T]) -> Iterator[type[T]]:
    for kind in base.__subclasses__():
        yield kind
        yield from subclasses(kind)


def test_the_table_of_frames_has_every_frame_with_its_number_and_its_elements() -> None:
    documented = {}
    for numbers, names, elements, *_ in rows_of("link.md", "number"):
        for number, name in zip(numbers.split(", "), names_in(names), strict=True):
            documented[int(number)] = (name, len([part for part in elements.partition(";")[0].split(", ") if part]))
    frames = get_args(Frame)
    real = {
        kind.__struct_config__.tag: (kind.__name__.removesuffix("Frame"), len(kind.__struct_fields__))
        for kind in frames
    }
    assert documented == real


def test_the_table_of_refusals_has_every_byte() -> None:
    assert {int(row[0]) for row in rows_of("link.md", "byte")} == {int(refusal) for refusal in Refusal}


def test_the_table_of_messages_has_every_message_with_its_tag_its_fields_and_its_proof() -> None:
    for module in pkgutil.walk_packages(protocols.__path__, "trionet.protocols."):
        importlib.import_module(module.name)
    real = {
        kind.__struct_config__.tag: (
            kind.__name__,
            list(kind.__struct_fields__),
            kind.needs_proof.name.lower().replace("_", " "),
        )
        for kind in subclasses(ProtocolMessage)
        if kind.__module__.startswith("trionet.")
    }
    documented = {
        names_in(tag)[0]: (names_in(name)[0], fields.split(", ") if fields else [], proof)
        for tag, name, fields, proof, _ in rows_of("packets.md", "tag")
    }
    assert documented == real
    assert {proof for _, _, proof in documented.values()} <= {kind.name.lower().replace("_", " ") for kind in Proof}


def test_the_table_of_headers_has_every_header_of_a_call() -> None:
    real = {value for name, value in vars(call_headers).items() if name.endswith("_HEADER")}
    documented = {name for row in rows_of("http.md", "header of a request") for name in names_in(row[0])}
    assert documented == (real | {"traceparent", "tracestate"}) - {"Trionet-Trace"}
    assert "Trionet-Trace" in (DOCS / "http.md").read_text(encoding="utf-8")


def test_the_table_of_statuses_has_the_status_of_every_error() -> None:
    documented = {int(row[0]): set(names_in(row[2])) for row in rows_of("http.md", "status")}
    own = {401: {"NotPermitted"}, 405: {"MalformedRequest"}}  # of a request that is no call
    statuses = {
        kind.__name__: web_errors.status_of(kind("text")) for kind in ERRORS if kind is not trionet.OrphanedCalls
    }
    for status, names in documented.items():
        for name in names - own.get(status, set()) - {"..."}:
            assert statuses[name] == status, name
    assert set(statuses.values()) <= set(documented)


def test_the_bodies_of_calls_in_maelstrom_are_documented() -> None:
    documented = [name for row in rows_of("maelstrom.md", "field") for name in names_in(row[0])]
    assert documented == list(CallBody.__struct_fields__)
    types = {name for row in rows_of("maelstrom.md", "`type`") for name in names_in(row[0])}
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "trionet" / "maelstrom").glob("*.py"))
    assert types == set(re.findall(r'"(trionet_\w+)"', source))


def test_the_table_of_faults_has_every_fault() -> None:
    kinds = {kind.__name__ for kind in subclasses(Fault) if kind.__module__ == "trionet.simulation.faults"}
    assert {name for row in rows_of("simulation.md", "fault") for name in names_in(row[0])} == kinds


def test_the_codes_of_errors_are_documented_with_their_names() -> None:
    tree = dict(re.findall(r"^ +(\w+): (\d+)", (DOCS / "errors.md").read_text(encoding="utf-8"), re.MULTILINE))
    families = {"TrionetError", "DefiniteError", "IndefiniteError"}
    assert {kind.__name__: str(kind.code) for kind in ERRORS if kind.__name__ not in families} == tree


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.name)
def test_every_example_is_in_the_list_of_examples(path: Path) -> None:
    assert f"(../examples/{path.name})" in (DOCS / "examples.md").read_text(encoding="utf-8")


def test_the_house_has_its_floors_in_the_order_of_the_layers() -> None:
    house = runpy.run_path(str(DOCS / "house.py"))
    layers = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"][0][
        "layers"
    ]
    place = {name: index for index, layer in enumerate(layers) for name in re.findall(r"\w+", layer)}
    floors = [[place[name] for name in modules] for _, modules, _ in house["FLOORS"]]
    for above, below in itertools.pairwise(floors):
        assert max(above) < min(below)
    assert house["PICTURE"].read_text(encoding="utf-8") == house["house"](), "draw it anew: python docs/house.py"


@pytest.mark.soak
def test_the_pictures_of_the_protocols_are_those_that_the_example_draws(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "examples" / "protocol_pictures.py"), str(tmp_path)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)})
    shown = DOCS / "pictures" / "protocols"
    drawn = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.glob("*.svg")}
    assert drawn == {path.name: path.read_text(encoding="utf-8") for path in shown.glob("*.svg")}


def test_the_table_of_m3_names_methods_that_exist() -> None:
    methods = re.findall(
        r"^\| `(local|browncs)\.(\w+)\.(\w+)` \| `await (?:node\.local|group)\.(\w+)\.(\w+)\(",
        (DOCS / "from-m3.md").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    for gid, service, method, here, name in methods:
        assert (service, method) == (here, name.removesuffix("_"))
        folder = "services" if gid == "local" else "templates"
        module = importlib.import_module(f"trionet.{folder}.{service}")
        kind = getattr(module, service.title() if gid == "local" else f"Group{service.title()}")
        assert callable(getattr(kind, name))
    assert len(methods) == 11 + 13


def test_the_tables_of_the_cluster_file_have_every_key() -> None:
    of_file = [name for row in rows_of("hosts.md", "key of the file") for name in names_in(row[0])]
    of_host = [name for row in rows_of("hosts.md", "key of a host") for name in names_in(row[0])]
    assert of_host == list(HOST_KEYS)
    assert of_file == [*FILE_KEYS, *(key for key in HOST_KEYS if key in of_file)]
    assert set(HOST_KEYS) - set(of_file) == {"local", "address"}
    placements = {name for row in rows_of("hosts.md", "`placement`") for name in names_in(row[0])}
    assert placements == set(PLACEMENTS)
