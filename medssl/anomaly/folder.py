"""The folder of a screening: tables that grow row by row, so that nothing is done twice.

scores.csv       one row for each volume, the most unusual first once all are done
maps/<uid>.nii.gz  the map of each volume, on its own grid
usual.json       with `healthy`: what is usual in each modality, by bins of smoothed intensity
usual.jsonl      what each healthy scan added to it; nothing, where it could not be read
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from medssl.anomaly.usual import BinSums, Usual
from medssl.store.writer import write_atomically


@dataclass(frozen=True)
class Score:
    """How unusual one volume is.

    Attributes:
        score_top: mean of the highest hundredth of the map's voxels that count, one at least; NaN
            where none does.
        score_mean: mean of all of them.
        voxels: how many they are, on the scan's own grid.
    """

    volume_uid: str
    patient_key: str
    score_top: float
    score_mean: float
    voxels: int


class Scores:
    """scores.csv and the maps that it speaks of."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.table = out / "scores.csv"
        names = [field.name for field in fields(Score)]
        rows = _whole_lines(self.table, lambda line: next(csv.reader([line])))
        self.rows = {
            row[0]: Score(row[0], row[1], float(row[2]), float(row[3]), int(row[4]))
            for row in rows[1:]
        }
        self._head = ",".join(names) + "\n"

    def map(self, volume_uid: str) -> Path:
        """Where the map of a volume lies."""
        return self.out / "maps" / f"{volume_uid}.nii.gz"

    def is_done(self, volume_uid: str) -> bool:
        """Whether it has its row and its map."""
        return volume_uid in self.rows and self.map(volume_uid).is_file()

    def keep(self, volume_uids: Iterable[str]) -> None:
        """Forget the rows and maps of other volumes: their patients have left the store."""
        for gone in set(self.rows) - set(map(str, volume_uids)):
            del self.rows[gone]
            self.map(gone).unlink(missing_ok=True)

    def add(self, score: Score) -> None:
        """Keep a row; its map is there already."""
        fresh = not self.table.is_file()
        self.rows[score.volume_uid] = score
        with self.table.open("a", encoding="utf-8", newline="") as file:
            file.write((self._head if fresh else "") + _line(score))

    def finish(self) -> None:
        """Write the table anew, the highest score_top first; NaN last."""
        rows = sorted(self.rows.values(), key=lambda s: (math.isnan(s.score_top), -s.score_top))
        write_atomically(self.table, self._head + "".join(map(_line, rows)))


class UsualSoFar:
    """What the healthy scans that are done add up to.

    Attributes:
        done: what each added; None where it could not be read.
    """

    def __init__(self, out: Path) -> None:
        self._edges, self._sums = out / "usual.json", out / "usual.jsonl"
        known = _whole_lines(self._sums, json.loads)
        names = [field.name for field in fields(BinSums)]
        self.done: dict[str, BinSums | None] = {
            row["volume_uid"]: BinSums(*(np.array(row[n]) for n in names))
            if names[0] in row
            else None
            for row in known
        }

    def edges(self, modality: str, make: Callable[[], list[float]]) -> list[float]:
        """The bins' edges of a modality; `make` is asked the first time alone."""
        known: dict[str, Any] = {}
        if self._edges.is_file():
            known = json.loads(self._edges.read_text("utf-8"))
        if modality not in known:
            known[modality] = {"edges": make()}
            write_atomically(self._edges, json.dumps(known) + "\n")
        edges: list[float] = known[modality]["edges"]
        return edges

    def add(self, volume_uid: str, sums: BinSums | None) -> None:
        """Keep what one scan adds; None where it could not be read."""
        self.done[volume_uid] = sums
        added = {} if sums is None else asdict(sums)
        told = {name: value.tolist() for name, value in added.items()}
        with self._sums.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"volume_uid": volume_uid, **told}) + "\n")

    def finish(self, usual: Mapping[str, Usual]) -> None:
        """Write what came of it, by modality."""
        told = {
            modality: {"edges": one.edges, "mean": one.mean.tolist(), "sd": one.sd.tolist()}
            for modality, one in usual.items()
        }
        write_atomically(self._edges, json.dumps(told, indent=2) + "\n")


def _line(score: Score) -> str:
    line = io.StringIO()
    uid, patient, top, mean, voxels = astuple(score)
    csv.writer(line, lineterminator="\n").writerow(
        [uid, patient, f"{top:.6g}", f"{mean:.6g}", voxels]
    )
    return line.getvalue()


def _whole_lines(path: Path, read: Callable[[str], Any]) -> list[Any]:
    """The lines of a table, read; a last one that a crash tore is taken out of the file."""
    if not path.is_file():
        return []
    text = path.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        write_atomically(path, whole)
    return [read(line) for line in whole.splitlines()]
