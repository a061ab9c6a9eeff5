"""Memory that does not suffice, told as a fault of the configuration."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from medssl.errors import OutOfMemory


@contextmanager
def shortage_told() -> Iterator[None]:
    """Raise OutOfMemory where what is done within runs out of memory, on the GPU or beside it."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not _is_shortage(error):
            raise
        raise OutOfMemory(
            "training ran out of memory; lower batch_size or augment.patch.size, or raise "
            "optim.accumulate (medssl check says what fits), and begin with another --out"
        ) from error


def _is_shortage(error: BaseException) -> bool:
    # torch's allocator on the CPU has no error of its own.
    known = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return known or "allocate memory" in str(error)
