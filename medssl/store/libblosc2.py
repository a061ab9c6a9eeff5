"""The C library that the blosc2 wheel carries, called through ctypes: without Python's lock."""

from __future__ import annotations

import ctypes
import os
import threading
from pathlib import Path

_loading = threading.Lock()
_loaded: list[ctypes.CDLL | None] = []


def c_library() -> ctypes.CDLL | None:
    """The library of the installed blosc2, ready for use; None where it is not to be found.

    `library.free` gives back what the library allocated; Windows keeps that from others.
    """
    if not _loaded:
        with _loading:
            if not _loaded:
                _loaded.append(_load())
    return _loaded[0]


def _load() -> ctypes.CDLL | None:
    import blosc2

    for path in sorted(Path(blosc2.__file__).parent.glob("lib*/libblosc2*")):
        try:
            library = ctypes.CDLL(str(path))
            _declare(library)
        except (OSError, AttributeError):  # no shared library, or none of this interface
            continue
        library.blosc2_init()
        return library
    return None


def _declare(library: ctypes.CDLL) -> None:
    """Signatures of blosc2.h and b2nd.h (C-Blosc2 2.x and 3.x), and of C's free."""
    pointer, text, index = ctypes.c_void_p, ctypes.c_char_p, ctypes.POINTER(ctypes.c_int64)
    to_pointer, to_length = ctypes.POINTER(pointer), ctypes.POINTER(ctypes.c_int32)
    signatures: dict[str, tuple[type | None, list[type]]] = {
        "blosc2_init": (None, []),
        "b2nd_open": (ctypes.c_int, [text, to_pointer]),
        "b2nd_get_slice_cbuffer": (
            ctypes.c_int,
            [pointer, index, index, pointer, index, ctypes.c_int64],
        ),
        "b2nd_free": (ctypes.c_int, [pointer]),
        "blosc2_schunk_open": (pointer, [text]),
        "blosc2_vlmeta_exists": (ctypes.c_int, [pointer, text]),
        "blosc2_vlmeta_get": (ctypes.c_int, [pointer, text, to_pointer, to_length]),
        "blosc2_schunk_free": (ctypes.c_int, [pointer]),
    }
    if os.name == "posix":  # found among what the library itself is linked with
        signatures["free"] = (None, [pointer])
    for name, (result, arguments) in signatures.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
