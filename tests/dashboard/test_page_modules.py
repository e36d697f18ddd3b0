"""The page's modules that need no browser are tested by node: each file of ``page/`` in a process of its own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

STATIC = Path(__file__).parents[2] / "trionet" / "dashboard" / "static"
TESTS = sorted(Path(__file__).with_name("page").glob("*.test.mjs"))
FIRST_PICTURE_BYTES = 256_000
IMPORT = re.compile(r'^(?:import|export)\b[^;]*?from "\./([\w.-]+)";', re.MULTILINE)


def run(*arguments: str, **environment: str) -> None:
    """Run node; its output is the failure's text."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not on PATH")
    done = subprocess.run(
        [node, *arguments], capture_output=True, text=True, timeout=240, env=os.environ | environment, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_the_modules_keep_their_promises() -> None:
    run("--test", *map(str, TESTS))


@pytest.mark.soak
def test_pages_share_their_streams_after_any_coming_and_going() -> None:
    run("--test", str(TESTS[0].with_name("tabs.test.mjs")), TRIONET_PAGE_SEEDS="3000")


def modules_from(name: str) -> set[str]:
    """All modules that loading one loads before anything else, itself included."""
    found, left = {name}, [name]
    while left:
        for imported in IMPORT.findall((STATIC / left.pop()).read_text()):
            if imported not in found:
                found.add(imported)
                left.append(imported)
    return found


def test_all_that_loads_before_the_first_picture_is_at_most_256_kilobytes() -> None:
    index = (STATIC / "index.html").read_text()
    linked = set(re.findall(r'(?:src|href)="dashboard/([\w.-]+)"', index))
    names = {"index.html"} | linked | modules_from("app.js") | modules_from("panel-cluster.js")
    sizes = {name: (STATIC / name).stat().st_size for name in names if (STATIC / name).exists()}
    assert {"app.js", "app.css", "ring.js", "theme.js"} <= sizes.keys()
    assert sum(sizes.values()) <= FIRST_PICTURE_BYTES, sizes


def test_what_the_first_picture_needs_is_asked_for_at_once() -> None:
    preloaded = re.findall(r'rel="modulepreload" href="dashboard/([\w.-]+)"', (STATIC / "index.html").read_text())
    assert preloaded == sorted((modules_from("app.js") | modules_from("panel-cluster.js")) - {"app.js"})


def test_no_module_names_another_host_or_has_inline_code() -> None:
    index = (STATIC / "index.html").read_text()
    assert not re.search(r"<script(?![^>]*\bsrc=)|\sstyle=|\son\w+=|<style", index)
    for path in STATIC.iterdir():
        text = path.read_text()
        hosts = set(re.findall(r"https?://[\w.]+", text)) - {"http://www.w3.org"}
        assert not hosts, path.name
        assert not re.search(r"\binnerHTML\s*=|insertAdjacentHTML|\beval\(|new Function|document\.write", text), (
            path.name
        )


def luminance(colour: str) -> float:
    """The relative luminance of ``#rrggbb`` (WCAG 2.2)."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_texts_and_signs_stand_out_from_their_grounds(theme: int) -> None:
    tokens = re.findall(r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\)", (STATIC / "app.css").read_text())
    colours = {name: both[theme] for name, *both in tokens}
    grounds = ["ground", "surface", "raised", "hover", "accent-soft"]
    for text in ("text", "muted", "accent", "alive", "suspect", "failed", "left", "joining"):
        for ground in grounds:
            assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    for text, ground in (
        ("suspect", "suspect-soft"),
        ("failed", "failed-soft"),
        ("text", "suspect-soft"),
        ("text", "failed-soft"),
        ("muted", "suspect-soft"),
        ("muted", "failed-soft"),
        ("on-accent", "accent"),
        ("ground", "text"),
    ):
        assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    for ground in grounds[:3]:
        assert contrast(colours["line-strong"], colours[ground]) >= 3, ("line-strong", ground)
