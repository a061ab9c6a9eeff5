"""Which runs saw a patient, and which started from their weights, by the run folders' own records.

A run folder begins its config.yaml with the name of its stage. What it learned from or was tested
on is in tables with a column patient_key: volumes.parquet (pretraining), cases.parquet
(fine-tuning, cells of a study, studies), pretrain.parquet (a study's encoder), predictions.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml

_WEIGHTS = (".safetensors", ".pt", ".onnx")
_PASSED_OVER = {"checkpoints", "volumes", "manifest", "masks", "mlruns", ".git", "__pycache__"}
_HOW = {
    "train": "trained on",
    "val": "selected by",
    "test": "tested on",
    "encoder": "starts from an encoder trained on",
}
_PARTS = {"dev": "train"}  # a study's word for who is not in its test set
_HEADER = ("run", "stage", "how", "volumes", "weights")


@dataclass(frozen=True)
class Sighting:
    """A run that saw a patient.

    Attributes:
        how: "trained on", "selected by", "tested on", or "started from" with the other run's path.
        volumes: of the patient, that it saw itself.
        weights: the checkpoint files that may remember them.
    """

    run: Path
    stage: str
    how: str
    volumes: int
    weights: tuple[Path, ...]


def sightings(folders: Iterable[Path], patient_key: str) -> list[Sighting]:
    """Every run below `folders` that saw the patient, then those that started from these."""
    runs = sorted({run.resolve(): run for folder in folders for run in _runs(folder)}.values())
    seen = [found for run in runs if (found := _own_sighting(run, patient_key)) is not None]
    known = {found.run.resolve() for found in seen if "trained on" in found.how}
    found_more = True
    while found_more:  # a run may start from one that started from one that saw the patient
        found_more = False
        for run in runs:
            origin = _origin(run)
            if origin is None or origin not in known or run.resolve() in known:
                continue
            note = f"started from {os.path.relpath(origin)}"
            at = next((n for n, found in enumerate(seen) if found.run == run), None)
            if at is None:
                seen.append(Sighting(run, _stage(run), note, 0, _weights(run)))
            else:
                seen[at] = replace(seen[at], how=f"{seen[at].how}; {note}")
            known.add(run.resolve())
            found_more = True
    return seen


def as_csv(found: Iterable[Sighting]) -> str:
    """The list as a table for whoever has to act on it, one line for each run."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_HEADER)
    for one in found:
        weights = " ".join(str(path) for path in one.weights)
        writer.writerow([one.run, one.stage, one.how, one.volumes, weights])
    return text.getvalue()


def _runs(folder: Path) -> Iterator[Path]:
    for place, inner, files in os.walk(folder):
        inner[:] = sorted(name for name in inner if name not in _PASSED_OVER)
        if "store.json" in files:
            inner.clear()
        elif "config.yaml" in files and _stage(Path(place)):
            yield Path(place)


def _stage(run: Path) -> str:
    try:
        with (run / "config.yaml").open(encoding="utf-8") as file:
            first = file.readline()
    except (OSError, UnicodeDecodeError):
        return ""
    return first[2:].strip() if first.startswith("# ") else ""


def _own_sighting(run: Path, patient_key: str) -> Sighting | None:
    volumes: dict[str, set[str]] = {}
    tables = [(run / "volumes.parquet", "train"), (run / "pretrain.parquet", "encoder")]
    tables += [(run / "cases.parquet", ""), *((p, "") for p in run.glob("predictions*.parquet"))]
    for path, part in tables:
        for uid, of in _rows(path, patient_key):
            volumes.setdefault(part or _PARTS.get(of, of), set()).add(uid)
    if not volumes:
        return None
    how = ", ".join(_HOW[part] for part in _HOW if part in volumes) or "has cases of"
    return Sighting(run, _stage(run), how, len(set.union(*volumes.values())), _weights(run))


def _rows(path: Path, patient_key: str) -> list[tuple[str, str]]:
    """(volume_uid, part of the split) of the patient's rows in a table of a run."""
    if not path.is_file():
        return []
    try:
        names = pq.read_schema(path).names
        part = next((n for n in ("split", "role") if n in names), None)
        columns = ["volume_uid", "patient_key", *([part] if part else [])]
        table = pq.read_table(path, columns=columns)
    except (OSError, KeyError, pa.ArrowException):
        return []
    rows = table.filter(pc.equal(table["patient_key"].cast(pa.string()), patient_key)).to_pylist()
    return [(str(row["volume_uid"]), str(row[part]) if part else "") for row in rows]


def _weights(run: Path) -> tuple[Path, ...]:
    inside = (run / "checkpoints").rglob("*") if (run / "checkpoints").is_dir() else ()
    return tuple(sorted(path for path in inside if path.suffix in _WEIGHTS and path.is_file()))


def _origin(run: Path) -> Path | None:
    """The run folder whose weights a run started from, where its configuration says so."""
    try:
        config: Any = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return None
    stated = config.get("init") or config.get("encoder") if isinstance(config, dict) else None
    if not isinstance(stated, str):
        return None
    # A relative path was relative to where the command was given: here, or above the run.
    for place in (Path(), *run.resolve().parents):
        path = (place / stated).resolve()
        if path.is_dir():
            return path
        if path.is_file():
            return path.parent.parent if path.parent.name == "checkpoints" else path.parent
    return None
