"""How findings are put into words."""

from __future__ import annotations

from collections.abc import Iterable, Sized

_SHOWN = 4


def listed(items: Iterable[str], separator: str = "; ") -> str:
    """The first few items, and how many more there are."""
    every = list(items)
    more = [f"and {len(every) - _SHOWN} more"] if len(every) > _SHOWN else []
    return separator.join([*every[:_SHOWN], *more])


def counted(things: Sized | int, noun: str) -> str:
    """`1 case`, `3 cases`."""
    number = things if isinstance(things, int) else len(things)
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def key(text: str) -> str:
    """The first digits of a key or hash: enough to find it, short enough to read."""
    return text[:12] or "(none)"
