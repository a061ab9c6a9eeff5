"""Damaged files by the thousand: each ends in a volume that is right, or in a reason."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from medssl.archive.pool import Failure, Pool
from medssl.archive.reasons import Reason

sys.path.append(str(Path(__file__).parent / "mutants"))  # the guarded processes import it too

from mutants_made import cropped_nifti, made_niftis, write_made_series
from mutants_trial import NiftiTrial, SeriesTrial, Verdict, try_nifti, try_series

_AT_ONCE = 25


@dataclass
class Tally:
    """What became of many mutants."""

    number: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    died: int = 0
    wrong: list[str] = field(default_factory=list)


def run(function: Any, trials: Sequence[Any], tally: Tally, workers: int = 2) -> Tally:
    """Every trial in guarded processes, in batches."""
    batches = (trials[at : at + _AT_ONCE] for at in range(0, len(trials), _AT_ONCE))
    with Pool(function, workers, max_memory_bytes=2 << 30, time_limit_s=60.0) as pool:
        for trial, answer in pool.map(batches):
            tally.number += 1
            if isinstance(answer, Failure):
                tally.ends[f"process {answer.reason.value}"] += 1
                tally.died += answer.reason is Reason.WORKER_DIED
                if answer.reason is not Reason.WORKER_DIED:
                    tally.wrong.append(f"{trial}: {answer}")
                continue
            assert isinstance(answer, Verdict)
            tally.ends.update(answer.ends)
            tally.wrong += [f"{trial}: {wrong}" for wrong in answer.wrong]
    return tally


@pytest.fixture(scope="module")
def scratch() -> Iterator[Path]:
    """A folder in memory where there is one."""
    shm = Path("/dev/shm")
    with TemporaryDirectory(dir=shm if shm.is_dir() else None) as folder:
        yield Path(folder)
