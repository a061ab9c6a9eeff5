"""Whether what is exported can be written where it is to stand, before minutes go into it."""

from __future__ import annotations

import tempfile
from pathlib import Path

from medssl.errors import NO_ROOM, ConfigError


def check_place(out: Path) -> None:
    """Make the folder that `out` stands in.

    Raises:
        ConfigError: `out` is a folder itself, or nothing can be written beside it.
    """
    if out.is_dir():
        raise ConfigError(f"{out} is a folder; name the file in it with --out")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out.parent):
            pass
    except OSError as error:
        if error.errno in NO_ROOM:
            raise
        raise ConfigError(
            f"nothing can be written in {out.parent} ({error.strerror}); choose another --out"
        ) from error
