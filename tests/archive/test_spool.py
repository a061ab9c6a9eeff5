from __future__ import annotations

from contextlib import closing

from medssl.archive.spool import Spool


def test_items_come_back_in_their_order_as_often_as_asked() -> None:
    with closing(Spool[tuple[str, int]]()) as spool:
        items = [("\udce9", 1), ("b", 2), ("a", 3)]
        for item in items:
            spool.append(item)
        assert len(spool) == 3
        assert list(spool) == items
        assert list(spool) == items


def test_an_empty_one_is_empty() -> None:
    with closing(Spool[str]()) as spool:
        assert not spool
        assert list(spool) == []
