"""Settings of the decoded voxels that are kept while a run lasts."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from medssl.config import Config


class CacheConfig(Config):
    """Decoded voxels in a nameless file of this process, which is gone when the process is."""

    gigabytes: float = Field(
        4.0,
        ge=0,
        description="How much is kept at most, by each process; never more than half of what is "
        "free in the folder. Pays where it holds a good part of the voxels in use and the "
        "machine's memory has room for it. 0 reads every patch from the store.",
    )
    folder: Path | None = Field(
        None,
        description="Where that file lies: a folder on a local disk. null takes the system's "
        "folder for temporary files.",
    )
