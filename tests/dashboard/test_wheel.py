"""An installed package has the files of the page."""

from __future__ import annotations

import zipfile
from pathlib import Path

from hatchling.builders.wheel import WheelBuilder

import trionet.dashboard

STATIC = Path(trionet.dashboard.__file__).parent / "static"


def test_the_wheel_has_each_file_of_the_page(tmp_path: Path) -> None:
    builder = WheelBuilder(str(STATIC.parents[2]))
    wheel = next(builder.build(directory=str(tmp_path), versions=["standard"]))
    with zipfile.ZipFile(wheel) as archive:
        found = {Path(name).name for name in archive.namelist() if name.startswith("trionet/dashboard/static/")}
    assert found == {path.name for path in STATIC.iterdir() if path.is_file()}
    assert "index.html" in found
