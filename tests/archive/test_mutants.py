"""Damaged files by the thousand: each ends in a volume that is right, or in a reason."""

from __future__ import annotations

import shutil
import sys
import time
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from medssl.archive.config import IngestConfig
from medssl.archive.identity import make_key_file
from medssl.archive.ingest import ingest
from medssl.archive.pool import Failure, Pool
from medssl.archive.reasons import Reason
from medssl.store.store import open_store

sys.path.append(str(Path(__file__).parent / "mutants"))  # the guarded processes import it too

from mutants_bytes import damaged, layout_of
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
    seconds: float = 0.0

    def __str__(self) -> str:
        """Numbers for whoever runs the slow tests with -s."""
        most = ", ".join(f"{end.strip()}: {n}" for end, n in self.ends.most_common(60))
        return f"{self.number} mutants in {self.seconds:.0f} s, {self.died} died; {most}"


def run(function: Any, trials: Sequence[Any], tally: Tally, workers: int = 2) -> Tally:
    """Every trial in guarded processes, in batches."""
    began = time.monotonic()
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
    tally.seconds += time.monotonic() - began
    return tally


@pytest.fixture(scope="module")
def scratch() -> Iterator[Path]:
    """A folder in memory where there is one."""
    shm = Path("/dev/shm")
    with TemporaryDirectory(dir=shm if shm.is_dir() else None) as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def made(scratch: Path) -> dict[str, list[Path]]:
    return write_made_series(scratch / "made")


@pytest.fixture(scope="module")
def niftis(scratch: Path) -> list[Path]:
    return write_files(scratch / "niftis", made_niftis())


def write_files(folder: Path, contents: dict[str, bytes]) -> list[Path]:
    folder.mkdir(exist_ok=True)
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    return [folder / name for name in contents]


def real_series(real_data: Path) -> dict[str, list[Path]]:
    """Short series of every scanner and encoding that there is."""
    suites = real_data / "dicom_suites"
    folders = {
        "ge": "dicom2nifti/ge/anatomical/001",
        "ge_implicit": "dicom2nifti/ge/anatomical/001_implicit",
        "siemens": "dicom2nifti/siemens/anatomical/001",
        "siemens_implicit": "dicom2nifti/siemens/anatomical/001_implicit",
        "j2k": "dicom2nifti/generic/compressed_j2k/001",
        "increment": "dicom2nifti/failing/sliceincrement/001",
        "colour": "dicom2nifti/generic/rgb/001",
        "ge_epi": "dcm_qa_nih/In/20180918GE/mr_0004",
        "mosaics": "dcm_qa_nih/In/20180918Si/mr_0004",
        "enhanced_siemens": "dcm_qa_enh/In/Siemens/XA10",
        "enhanced_philips": "dcm_qa_enh/In/Philips",
    }
    series = {name: sorted((suites / at).iterdir())[:4] for name, at in folders.items()}
    syntaxes = {f"mosaic_{n}": [suites / f"dcm_qa_ts/In/{n}.dcm"] for n in range(1, 10)}
    return {**series, **syntaxes}


def series_mutants(series: dict[str, list[Path]], number: dict[str, int]) -> list[SeriesTrial]:
    return [
        SeriesTrial(name, tuple(files), seed)
        for name, files in series.items()
        for seed in range(number.get(name, number[""]))
    ]


def test_damaged_series_end_right_or_with_a_reason(
    scratch: Path, made: dict[str, list[Path]]
) -> None:
    tally = run(partial(try_series, scratch), series_mutants(made, {"": 45}), Tally(), workers=1)
    assert tally.wrong == []
    assert tally.number == 315
    assert tally.ends["taken "] > 50
    assert sum(n for end, n in tally.ends.items() if end.startswith("file")) > 50


def test_damaged_nifti_headers_end_right_or_with_a_reason(
    scratch: Path, niftis: list[Path]
) -> None:
    trials = [t for file in niftis[:1] for t in header_mutants(file, 348, 1, seed=1)]
    trials += [NiftiTrial(file, -1, seed) for file in niftis for seed in range(40)]
    tally = run(partial(try_nifti, scratch), trials, Tally(), workers=1)
    assert tally.wrong == []
    assert tally.number == 508


@pytest.mark.slow
@pytest.mark.real
def test_ten_thousand_damaged_series(
    scratch: Path, made: dict[str, list[Path]], real_data: Path
) -> None:
    tally = Tally()
    series = {**made, **real_series(real_data)}
    slow = {"j2k": 500, "enhanced_philips": 400, "colour": 100, "increment": 300}
    trials = series_mutants(series, {"": 700, **slow})
    trials.sort(key=lambda trial: (trial.seed // 50, trial.name))
    run(partial(try_series, scratch), trials, tally)
    print(tally)
    assert tally.wrong == []
    assert tally.number >= 10_000


@pytest.mark.slow
@pytest.mark.real
def test_every_byte_of_nifti_headers(scratch: Path, niftis: list[Path], real_data: Path) -> None:
    tally = Tally()
    real = {
        "hippocampus.nii": sorted((real_data / "hippocampus/images").iterdir())[0],
        "ixi.nii": sorted((real_data / "ixi10/nifti").iterdir())[0],
    }
    files = niftis + write_files(
        scratch / "real", {name: cropped_nifti(path) for name, path in real.items()}
    )
    trials: list[NiftiTrial] = []
    for file in files:
        if file.suffix != ".gz":
            trials += header_mutants(file, 544 if file.name == "two.nii" else 352, 6, seed=2)
        trials += [NiftiTrial(file, -1, seed) for seed in range(200)]
    packed = real["hippocampus.nii"]
    trials += [NiftiTrial(packed, -1, seed) for seed in range(300)]
    run(partial(try_nifti, scratch), trials, tally)
    print(tally)
    assert tally.wrong == []
    assert tally.number >= 10_000


@pytest.mark.slow
@pytest.mark.real
def test_archives_of_damaged_series(
    scratch: Path, made: dict[str, list[Path]], niftis: list[Path], real_data: Path
) -> None:
    """One damaged file in each series of an archive: the run ends, and every file is told."""
    everything = {**made, **real_series(real_data)}
    for twin in ("ge_implicit", "siemens_implicit", *(f"mosaic_{n}" for n in range(2, 10))):
        del everything[twin]
    make_key_file(scratch / "key")
    tally = Tally()
    began = time.monotonic()
    for seed in range(16):
        root = scratch / f"round{seed}"
        for name, files in [*everything.items(), *((file.name, [file]) for file in niftis)]:
            write_damaged(root / "archive" / name, name, files, seed)
            tally.number += 1
        config = {
            "archive": root / "archive",
            "store": root / "store",
            "key_file": scratch / "key",
            "linkage": root / "linkage.parquet",
            "workers": 2,
        }
        ingest(IngestConfig.model_validate(config))
        tally.wrong += [f"round {seed}: {fault}" for fault in faults_of(root, tally)]
        shutil.rmtree(root)
    tally.seconds = time.monotonic() - began
    print(tally)
    assert tally.wrong == []


def write_damaged(folder: Path, name: str, files: Sequence[Path], seed: int) -> None:
    """A series with one of its files damaged."""
    rng = np.random.Generator(np.random.Philox([seed, 7, zlib.crc32(name.encode())]))
    which = int(rng.integers(len(files)))
    folder.mkdir(parents=True)
    for n, file in enumerate(files):
        data = file.read_bytes()
        if n == which:
            data = damaged(rng, data, layout_of(data), [data[::-1]])
        ending = "".join(file.suffixes) if ".nii" in file.name else ".dcm"
        (folder / f"{n + 1:03d}{ending}").write_bytes(data)


def faults_of(root: Path, tally: Tally) -> Iterator[str]:
    """What a finished run left untold: an internal error, or a file that nothing speaks of."""
    store = open_store(root / "store")
    for row in store.rejected.to_dict("records"):
        tally.ends[f"{row['kind']} {row['reason']}"] += 1
        if row["reason"] == Reason.INTERNAL_ERROR:
            yield f"internal error {row['detail']}"
    for corrections in store.manifest["corrections"]:
        tally.ends[f"taken {corrections}"] += 1
    sources = [Path(x) for x in pq.read_table(root / "linkage.parquet")["source"].to_pylist()]
    for file in (root / "archive").rglob("*.*"):
        told = any(source == file or source in file.parents for source in sources)
        if file.is_file() and file.stat().st_size and not told:
            yield f"{file.parent.name}/{file.name} is in no row"


def header_mutants(file: Path, size: int, values: int, seed: int) -> list[NiftiTrial]:
    """Every byte of a header with several values each."""
    rng = np.random.Generator(np.random.Philox(seed))
    original = file.read_bytes()[:size]
    trials = []
    for at, byte in enumerate(original):
        fixed = [0, 255, 1, 127, 128, byte ^ 1, byte ^ 0x80, byte ^ 0x40, (byte + 1) % 256]
        chosen = dict.fromkeys([*fixed, *rng.integers(0, 256, 16).tolist()])
        trials += [NiftiTrial(file, at, v) for v in [c for c in chosen if c != byte][:values]]
    return trials
