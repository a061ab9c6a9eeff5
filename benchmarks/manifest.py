"""A made-up manifest of ten million rows: opened, split by patient, looked up.

    python benchmarks/manifest.py [--rows 10000000] [--parts 100] [--folder DIR]

Each step runs in a process of its own, whose peak memory is told. The last line is one JSON object:
seconds and peak megabytes of each step.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from medssl.engine.config import HoldoutConfig
from medssl.engine.population import held_out_patients
from medssl.store import open_store
from medssl.store.parts import write_tables
from medssl.store.schema import MANIFEST
from medssl.store.splits import split_patients
from medssl.store.writer import create_store

VOLUMES_PER_PATIENT = 4
SHARES = {"train": 0.8, "val": 0.1, "test": 0.1}


def made_up(rows: int, parts: int, seed: int = 0) -> Iterator[pa.Table]:
    """Manifest parts with keys as long and as unlike each other as real ones."""
    rng = np.random.Generator(np.random.Philox(seed))
    patients = _hexadecimal(rng.bytes(16 * max(1, rows // VOLUMES_PER_PATIENT)), 32)
    kinds = pa.array(["CT", "MR", "PT"])
    shapes = rng.integers(40, 512, (97, 3))
    for n in range(parts):
        size = rows // parts + (n < rows % parts)
        columns: dict[str, pa.Array] = {}
        which = rng.integers(0, len(shapes), size)
        for field in MANIFEST:
            if field.name in ("volume_uid", "study_key", "series_key"):
                columns[field.name] = _hexadecimal(rng.bytes(16 * size), 32)
            elif field.name in ("pixel_sha256", "perceptual_hash"):
                columns[field.name] = _hexadecimal(rng.bytes(32 * size), 64)
            elif field.name == "patient_key":
                columns[field.name] = patients.take(rng.integers(0, len(patients), size))
            elif field.name == "modality":
                columns[field.name] = kinds.take(pa.array(which % 3))
            elif field.name == "path":
                columns[field.name] = _paths(columns["volume_uid"])
            elif pa.types.is_string(field.type):
                columns[field.name] = pa.array(["OTHER", ""]).take(pa.array(which % 2))
            else:
                columns[field.name] = pa.array(shapes[which, 0]).cast(field.type)
        yield pa.table(columns, schema=MANIFEST)


def write(folder: Path, rows: int, parts: int) -> dict[str, float]:
    create_store(folder, "benchmark", {})
    for n, table in enumerate(made_up(rows, parts)):
        write_tables(folder, "manifest", f"part-{n + 1:08d}", iter([table]))
    size = sum(path.stat().st_size for path in (folder / "manifest").iterdir())
    return {"file_mb": size / 1e6}


def split(folder: Path) -> dict[str, float]:
    """Open the store and give each of its volumes the part of its patient."""
    cases = open_store(folder).columns("patient_key")
    parts = split_patients(cases, SHARES, seed=0)
    assert (parts == "test").mean() > 0.09
    return {"rows": len(cases), "patients": cases["patient_key"].nunique()}


def holdout(folder: Path) -> dict[str, float]:
    """What a pretraining run sets apart."""
    apart = held_out_patients(open_store(folder), HoldoutConfig(fraction=0.1, seed=0))
    return {"patients": len(apart)}


def lookup(folder: Path) -> dict[str, float]:
    """One volume's row, without the others."""
    store = open_store(folder)
    first = next((folder / "manifest").iterdir())
    uid = pa.parquet.read_table(first, columns=["volume_uid"])["volume_uid"][7].as_py()
    assert store.row(uid)["volume_uid"] == uid
    began = time.monotonic()
    assert store.row(uid)["volume_uid"] == uid
    return {"next_ms": 1000 * (time.monotonic() - began)}


STEPS: dict[str, Callable[[Path], dict[str, float]]] = {
    "split": split,
    "holdout": holdout,
    "lookup": lookup,
}


def measured(step: Callable[[], dict[str, float]]) -> dict[str, float]:
    """Seconds of a step, peak memory of this process and how far that is above its start."""
    before = _peak_mb()
    began = time.monotonic()
    told = step()
    peak = _peak_mb()
    return {
        "seconds": round(time.monotonic() - began, 2),
        "peak_mb": round(peak),
        "above_start_mb": round(peak - before),
        **{name: round(value, 1) for name, value in told.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--parts", type=int, default=100)
    parser.add_argument("--folder", type=Path, help="where the store is made, and kept")
    parser.add_argument("--step", choices=["write", *STEPS], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step == "write":
        print(
            json.dumps(measured(lambda: write(arguments.folder, arguments.rows, arguments.parts)))
        )
        return
    if arguments.step:
        print(json.dumps(measured(lambda: STEPS[arguments.step](arguments.folder))))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary) / "store"
        results = {}
        for step in ("write", *STEPS):
            if step == "write" and folder.exists():
                continue
            command = [sys.executable, __file__, "--step", step, "--folder", str(folder)]
            command += ["--rows", str(arguments.rows), "--parts", str(arguments.parts)]
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            results[step] = json.loads(output.splitlines()[-1])
            told = ", ".join(f"{name} {value:g}" for name, value in results[step].items())
            print(f"{step:>8}: {told}", flush=True)
        print(json.dumps({"rows": arguments.rows, **results}))


def _hexadecimal(data: bytes, digits: int) -> pa.Array:
    text = data.hex().encode()
    offsets = np.arange(0, len(text) + 1, digits, dtype=np.int32)
    return pa.StringArray.from_buffers(len(offsets) - 1, pa.py_buffer(offsets), pa.py_buffer(text))


def _paths(uids: pa.Array) -> pa.Array:
    return pa.array([f"volumes/{uid[:2]}/{uid}.b2nd" for uid in uids.to_pylist()])


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
