"""The screen of ``trionet top``: it fits any terminal, and shows what was chosen."""

from __future__ import annotations

import functools
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.top.made_up import call_figures, figures, look
from trionet.cli.top.columns import MEMBER_COLUMNS, clipped, fitting, short_number
from trionet.cli.top.keys import decoded_keys
from trionet.cli.top.looks import View, view_of
from trionet.cli.top.screen import help_lines, screen_lines, text_lines
from trionet.cli.top.state import INTERVALS_S, State

_STYLE = re.compile(r"\x1b\[[0-9;]*m")


def plain(line: str) -> str:
    return _STYLE.sub("", line)


@functools.cache
def made_view(count: int = 12, methods: int = 5) -> View:
    names = [f"10.0.{number // 250}.{number % 250}:8080" for number in range(count)]
    served = [call_figures(f"service_{number}/method", *[0.01] * (number + 1)) for number in range(methods)]
    before = look({name: figures(0.0) for name in names})
    return view_of(before, look({name: figures(1.0, served) for name in names}))


@pytest.mark.parametrize("width", [1, 5, 20, 40, 60, 80, 120, 200])
@pytest.mark.parametrize("height", [1, 2, 5, 24, 60])
def test_no_line_is_wider_than_the_terminal_and_there_are_no_more_than_fit(width: int, height: int) -> None:
    state = State()
    state.note = "a long note " * 20
    for count, methods in ((0, 0), (1, 0), (12, 5), (80, 40)):
        lines = screen_lines(made_view(count, methods), state, width, height)
        assert len(lines) <= height
        assert max(len(plain(line)) for line in lines) <= width, lines
    assert len(help_lines(width, height)) <= height
    assert max(map(len, help_lines(width, height)), default=0) <= width


def test_forty_columns_show_the_calls_and_two_hundred_show_all() -> None:
    narrow = plain(screen_lines(made_view(), State(), 40, 24)[2])
    assert narrow.split() == ["MEMBER", "STATE", "CALLS/S", "P99", "MS"]
    wide = plain(screen_lines(made_view(), State(), 200, 24)[2])
    assert all(column.title in wide for column in MEMBER_COLUMNS)


@given(st.integers(1, 300), st.integers(0, 30))
def test_columns_go_by_their_rank(width: int, least: int) -> None:
    kept, first = fitting(MEMBER_COLUMNS, width, least)
    assert first >= 1
    ranks = [column.rank for column in kept]
    dropped = {column.rank for column in MEMBER_COLUMNS} - set(ranks)
    assert not dropped or max(ranks) < min(dropped)


@settings(max_examples=30)
@given(st.sampled_from([1, 2, 9, 60]), st.lists(st.sampled_from(["up", "down", "home", "end", "k", "j"]), max_size=40))
def test_the_selected_member_is_always_shown(count: int, keys: list[str]) -> None:
    view, state = made_view(count, 3), State()
    for key in [*keys, "down"]:
        state.press(key, view)
        lines = [plain(line) for line in screen_lines(view, state, 80, 14, coloured=False)]
        (marked,) = [line for line in lines if line.startswith(">")]
        assert state.selected is not None
        assert state.selected[1:] in marked


def test_control_characters_never_reach_the_terminal() -> None:
    evil = figures(1.0, [call_figures("x\x1b[2J/y", 0.1)])
    view = view_of(look({"a:1": figures(0.0)}), look({"a:1": evil, "b\x07:2": None}))
    lines = screen_lines(view, State(), 100, 30, coloured=False) + text_lines(view, 100)
    assert not any("\x1b" in line or "\x07" in line for line in lines)
    assert any("x?[2J/y" in line for line in lines)


def test_without_colours_there_are_no_escapes_and_the_selection_is_marked() -> None:
    view, state = made_view(), State()
    state.press("j", view)
    lines = screen_lines(view, state, 80, 24, coloured=False)
    assert not any("\x1b" in line for line in lines)
    assert lines[3].startswith(">0.0.0.0:8080")


def test_a_plain_table_has_all_members_and_the_reasons_of_those_without_figures() -> None:
    after = look({"a:1": figures(1.0, [call_figures("x/y", 0.1)]), "b:2": None}, b_2="suspect")
    lines = text_lines(view_of(look({"a:1": figures(0.0)}), after), None)
    assert lines[0].startswith("a:1  ")
    assert "1 alive, 1 suspect  1.00 calls/s" in lines[0]
    assert lines[-1] == "b:2: CallTimeout: no answer"
    assert any(line.startswith("x/y") for line in lines)


def test_a_silent_member_is_not_shown_as_alive() -> None:
    lines = text_lines(view_of(None, look({"a:1": None})), 80)
    assert "silent" in lines[2]


def test_keys_change_the_choice() -> None:
    view, state = made_view(3), State()
    state.press("c", view)
    assert (state.order, state.is_reversed) == ("calls", False)
    state.press("r", view)
    assert state.is_reversed
    state.press("s", view)
    assert (state.order, state.is_reversed) == ("latency", False)
    state.press("enter", view)
    assert state.picked is None  # nothing is selected
    state.press("down", view)
    state.press("enter", view)
    assert state.picked == state.selected == view.members[0].address
    state.press("enter", view)
    assert state.picked is None
    state.press("up", view)
    state.press("escape", view)
    assert state.selected is None
    state.press(" ", view)
    assert state.is_paused
    state.press("h", view)
    assert state.is_help
    state.press("c", view)
    assert (state.is_help, state.order) == (False, "latency")  # any key closes the help, and does nothing else
    state.press("q", view)
    assert state.is_over


def test_intervals_have_bounds() -> None:
    state = State(2.0)
    for _ in range(20):
        state.press("-", None)
    assert state.interval_s == INTERVALS_S[0]
    for _ in range(20):
        state.press("+", None)
    assert state.interval_s == INTERVALS_S[-1]


@given(st.lists(st.sampled_from(["q", "up", "c", "enter", " ", "x", "escape", "s", "end"]), max_size=20))
def test_no_key_fails_before_the_first_look_or_without_members(keys: list[str]) -> None:
    state = State()
    for view in (None, made_view(0, 0)):
        for key in keys:
            state.press(key, view)


@pytest.mark.parametrize(
    ("data", "keys"),
    [
        (b"q", ["q"]),
        (b"jk", ["j", "k"]),
        (b"\x1b[A\x1b[B", ["up", "down"]),
        (b"\x1bOA", ["up"]),
        (b"\x1b", ["escape"]),
        (b"\r", ["enter"]),
        (b"\x1b[1;5Cq", ["q"]),
        (b"\x1b[", []),
        ("ü".encode(), []),
        (b"\x00\x7f", []),
        (b"", []),
    ],
)
def test_keys_are_read_from_bytes(data: bytes, keys: list[str]) -> None:
    assert decoded_keys(data) == keys


@given(st.binary(max_size=30))
def test_any_bytes_are_keys_or_nothing(data: bytes) -> None:
    assert all(len(key) == 1 or key.isalpha() for key in decoded_keys(data))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (0, "0"),
        (7, "7"),
        (0.123, "0.12"),
        (12.34, "12.3"),
        (1234.5, "1234"),
        (12_345, "12.3k"),
        (1.25e6, "1250k"),
        (2.5e7, "25.0M"),
        (3.2e15, "3200T"),
    ],
)
def test_numbers_are_short(value: float | None, text: str) -> None:
    assert short_number(value) == text


@given(st.floats(0, 1e15))
def test_no_number_has_more_than_five_characters(value: float) -> None:
    assert len(short_number(value)) <= 5


def test_long_texts_are_cut_with_a_mark() -> None:
    assert (clipped("abcdef", 4), clipped("abc", 3), clipped("abc", 0), clipped("abc", 1)) == ("abc~", "abc", "", "~")
