from __future__ import annotations

from trionet.protocols.recent import remember


def test_the_oldest_entry_is_dropped_and_one_put_again_is_the_newest() -> None:
    table: dict[str, int] = {}
    for number, key in enumerate("abcad"):
        remember(table, key, number, 3)
    assert list(table.items()) == [("c", 2), ("a", 3), ("d", 4)]
