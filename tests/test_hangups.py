"""SIGHUP."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

import pytest

from trionet.cli import hangups

if TYPE_CHECKING:
    from collections.abc import Callable


def failing(number: int) -> Callable[..., Any]:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize(("number", "has_terminal"), [(errno.ENXIO, False), (errno.EMFILE, True), (errno.ENFILE, True)])
def test_a_process_without_a_free_descriptor_does_not_take_its_terminal_for_gone(
    monkeypatch: pytest.MonkeyPatch, number: int, has_terminal: bool
) -> None:
    monkeypatch.setattr(os, "open", failing(number))
    assert hangups._has_terminal() is has_terminal  # noqa: SLF001  it needs a terminal otherwise
