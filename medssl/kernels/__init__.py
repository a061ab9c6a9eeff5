"""Compiled loops for what array code is slow at: sampling, filtering, values of a patch.

`library()` is None where nothing could be compiled; each caller then does the same in array code,
several times slower. Calls through ctypes release the interpreter's lock, so threads run side by
side.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

_disabled = False


def library() -> ctypes.CDLL | None:
    """The compiled loops, if they are there."""
    return None if _disabled else _loaded()


@contextmanager
def disabled() -> Iterator[None]:
    """Array code alone, as where there is no compiler: to test it and to measure it."""
    global _disabled
    before, _disabled = _disabled, True
    try:
        yield
    finally:
        _disabled = before


@lru_cache(maxsize=1)
def _loaded() -> ctypes.CDLL | None:
    from medssl.kernels.build import library_paths  # here: `python -m` runs that module

    paths = library_paths()
    try:
        lowest = ctypes.CDLL(str(paths[0]))
        level = lowest.medssl_level()
        return ctypes.CDLL(str(paths[min(level, len(paths) - 1)])) if level else lowest
    except OSError:  # not built, or for another system
        return None
