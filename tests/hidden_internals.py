"""A plugin for pytest that hides Trio's private parts, so that trionet uses the public fallbacks.

The order of tasks is left to follow from seeds: the tests of simulations depend on it.
"""

from __future__ import annotations

from typing import Any

import trio


class _Scheduler:
    """Trio's scheduler with its random numbers, and nothing else that trionet reads."""

    def __init__(self, real: Any) -> None:
        self._real = real
        self._r = real._r  # noqa: SLF001

    @property
    def _ALLOW_DETERMINISTIC_SCHEDULING(self) -> bool:  # noqa: N802
        return bool(self._real._ALLOW_DETERMINISTIC_SCHEDULING)  # noqa: SLF001

    @_ALLOW_DETERMINISTIC_SCHEDULING.setter
    def _ALLOW_DETERMINISTIC_SCHEDULING(self, value: bool) -> None:  # noqa: N802
        self._real._ALLOW_DETERMINISTIC_SCHEDULING = value  # noqa: SLF001


trio._core._run = _Scheduler(trio._core._run)  # type: ignore[assignment]  # noqa: SLF001

from trionet import trio_internals, trio_tasks, trio_waits  # noqa: E402  they look for the private parts when they are imported

assert trio_internals.time_left_s.__name__ == "_time_left_by_trio_s"
assert not trio_internals._HAS_LOOP  # noqa: SLF001
assert trio_tasks.wait_woken.__name__ == "_wait_by_trio"
assert trio_tasks.is_as_entered.__name__ == "_is_never_as_entered"
assert not trio_waits._HAS_WAIT  # noqa: SLF001
